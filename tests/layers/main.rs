//! The recurrent layers: on the tape against the readable reference, the reference against PyTorch
//! and central differences, and what they say of shapes that do not fit.

#[cfg(feature = "cuda")]
#[path = "../gpu/mod.rs"]
mod gpu;

mod dense;
mod fused;
mod golden;
mod gradients;
mod memory_order;
mod shapes;
mod stack;

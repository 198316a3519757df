//! The recurrent layers: on the tape against the readable reference, the reference against PyTorch
//! and central differences, and what they say of shapes that do not fit.

mod dense;
mod fused;
mod golden;
mod gradients;
mod shapes;
mod stack;

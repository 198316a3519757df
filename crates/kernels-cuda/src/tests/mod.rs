//! What a GPU computes in a training step, run on the CPU, against the fused step of the CPU.
//!
//! The kernels' own text is compiled by the C compiler. This shows that sizes, indices, formulas and
//! barriers are right. It does not show what only a GPU can: that NVIDIA's compiler takes it, how fast it
//! is, and the order in which memory is seen.

mod comparison;
mod fused;
mod graph;

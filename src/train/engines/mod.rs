//! What computes a training: fused kernels on the CPU, dfdx's tape, and fused kernels on a GPU.

pub(super) mod fused;
#[cfg(any(test, feature = "cuda"))]
pub(super) mod gpu;
pub(super) mod tape;

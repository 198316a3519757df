//! Recurrent layers over time.
//!
//! [`mod@reference`] holds them in plain dfdx operations, on any device: easy to hold against the
//! formulas. [`cpu`] holds them fused, the whole of a layer or of a training step in one call, and
//! [`RecurrentDevice`] puts the fastest that a device has on dfdx's tape. With feature `cuda`, `cuda` has
//! the training step for GPUs.

pub mod reference;
mod tape;

pub use seq2seq_kernels as cpu;
pub use seq2seq_kernels::DecoderInput;
#[cfg(feature = "cuda")]
pub use seq2seq_kernels::cuda;
pub(crate) use tape::values;
pub use tape::{Head, RecurrentDevice};

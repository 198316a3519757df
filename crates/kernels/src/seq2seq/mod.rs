//! The fused training step of the encoder-decoder.
//!
//! ```text
//! past (P, D) → encoder layer 0 → … → layer L−1      every final state starts the decoder's layer
//!                                        │
//! zeros, or the last encoder output ─► decoder layer 0 → … → layer L−1 → dense → future (F, O)
//! ```
//!
//! | module | its one idea |
//! |---|---|
//! | `network` | two stacks, and one tile's way through them |
//! | `workspace` | the activations of one tile |
//! | `step` | tiles and pieces of the gradient over threads, then the optimiser |
//! | `predict` | the forward pass alone |

mod network;
mod predict;
mod step;
mod workspace;

pub use crate::dropout::Dropout;
pub use network::{Network, NetworkShape};
pub use step::{Loss, TrainStep, Windows};

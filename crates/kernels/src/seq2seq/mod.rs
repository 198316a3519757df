//! The fused training step of the encoder-decoder.
//!
//! ```text
//! past (P, D) → encoder GRU 0 → … → GRU L−1        every final state starts the decoder's layer
//!                                      │
//! zeros, or the last encoder output ─► decoder GRU 0 → … → GRU L−1 → dense → future (F, O)
//! ```
//!
//! | module | its one idea |
//! |---|---|
//! | `network` | the model's shape, its flat weights, their packed form |
//! | `workspace` | the activations of one tile |
//! | `pass` | forward and backward of one tile through all layers |
//! | `step` | tiles and pieces of the gradient over threads, then the optimiser |
//! | `predict` | the forward pass alone |

mod network;
mod pass;
mod predict;
mod step;
mod workspace;

pub use network::{Network, NetworkShape};
pub use step::{Loss, TrainStep, Windows};

//! Recurrent layers over time.
//!
//! [`mod@reference`] holds them in plain dfdx operations, on any device: easy to hold against the
//! formulas. [`cpu`] holds them fused, the whole of a layer or of a training step in one call, and
//! [`RecurrentDevice`] puts the fastest that a device has on dfdx's tape.

pub mod cpu;
pub mod reference;
mod tape;

pub use tape::RecurrentDevice;
pub(crate) use tape::values;

use serde::{Deserialize, Serialize};

/// What the decoder reads at each of the F steps, beside the states that it starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoderInput {
    /// The encoder's last output, `(B, H)`, at every step (G. Chevalier).
    #[default]
    RepeatLast,
    /// Zeros, as wide as the decoder's input (L. Tonin).
    Zeros,
}

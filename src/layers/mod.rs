//! The layers that a network is put together from. Sizes are run-time values, weights are plain
//! dfdx tensors under PyTorch's names, and `forward` records on dfdx's tape.

mod dense;
mod gru;
mod initializer;
mod lstm;
mod parameters;
mod simple_rnn;
mod stack;

pub use dense::Dense;
pub use gru::{Gru, GruWeights};
pub use initializer::Initializer;
pub use lstm::{Lstm, LstmState, LstmWeights};
pub(crate) use parameters::prefixed;
pub use parameters::{Parameter, ParameterMut, Parameters};
pub use simple_rnn::{SimpleRnn, SimpleRnnWeights};
pub use stack::{LastAndStates, OutputsAndStates, RecurrentWeights};

//! The layers that a network is put together from. Sizes are run-time values, weights are plain
//! dfdx tensors under PyTorch's names, and `forward` records on dfdx's tape.

mod attention;
mod cell;
mod dense;
mod dropout;
mod fused;
mod gru;
mod initializer;
mod lstm;
mod parameters;
mod recurrent;
pub mod reference;
mod request;
mod reverse_time;
mod simple_rnn;
mod stack;

pub use crate::kernels::recurrent::CellKind as Cell;
pub use attention::Attention;
pub use cell::{LayerState, RecurrentCell, RecurrentWeights};
pub use dense::Dense;
pub use dropout::Dropout;
pub(crate) use dropout::Evaluation;
pub use fused::RecurrentDevice;
pub use gru::{Gru, GruCell, GruWeights};
pub use initializer::Initializer;
pub use lstm::{Lstm, LstmCell, LstmState, LstmWeights};
pub use parameters::{Parameter, ParameterMut, Parameters};
pub(crate) use parameters::{flat_weights, prefixed, set_flat_weights};
pub use recurrent::Recurrent;
pub use request::{Head, Input, Request, Response, Wanted};
pub use reverse_time::reverse_time;
pub use simple_rnn::{SimpleRnn, SimpleRnnCell, SimpleRnnWeights};
pub use stack::{LastAndStates, OutputsAndStates, Stack};

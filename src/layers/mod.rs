//! The layers that a network is put together from. Sizes are run-time values, weights are plain
//! dfdx tensors under PyTorch's names, and `forward` records on dfdx's tape.

mod attention;
mod dense;
mod dropout;
mod fused;
mod gru;
mod initializer;
mod lstm;
mod parameters;
mod recurrent;
pub mod reference;
mod reverse_time;
mod simple_rnn;
mod stack;

pub use crate::kernels::recurrent::CellKind as Cell;
pub use attention::Attention;
pub use dense::Dense;
pub use dropout::Dropout;
pub(crate) use dropout::Evaluation;
pub(crate) use fused::values;
pub use fused::{Head, RecurrentDevice};
pub(crate) use gru::GATES as GRU_GATES;
pub use gru::{Gru, GruWeights};
pub use initializer::Initializer;
pub use lstm::{Lstm, LstmState, LstmWeights};
pub use parameters::{Parameter, ParameterMut, Parameters};
pub(crate) use parameters::{flat_weights, prefixed, set_flat_weights};
pub use recurrent::Recurrent;
pub use reverse_time::reverse_time;
pub use simple_rnn::{SimpleRnn, SimpleRnnWeights};
pub use stack::{LastAndStates, OutputsAndStates, RecurrentWeights};
pub(crate) use stack::{last, layer_by_layer};

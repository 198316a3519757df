//! The layers that a network is put together from. Sizes are run-time values, weights are plain
//! dfdx tensors under PyTorch's names, and `forward` records on dfdx's tape.

mod attention;
mod dense;
mod gru;
mod initializer;
mod parameters;

pub use attention::Attention;
pub use dense::Dense;
pub use gru::{Gru, GruWeights, OutputsAndStates};
pub use initializer::Initializer;
pub(crate) use parameters::prefixed;
pub use parameters::{Parameter, ParameterMut, Parameters};

//! placeholder

mod arguments;
mod kernel;
mod plan;
mod step;

use crate::DecoderInput;
use crate::optimizer::{BETA_1, BETA_2, EPSILON, Optimizer, Settings};
use crate::seq2seq::NetworkShape;
use cudarc::driver::DriverError;
use std::fmt;

pub use plan::Limits;
pub use step::TrainStep;

/// What NVIDIA's driver or compiler says, with its own name of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// [`std::result::Result`] with this module's [`Error`](enum@Error).
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The text that NVIDIA's compiler gets for a network, the steps of past and future, and batches of so
/// many series, on a GPU with these limits; none if it does not fit. For those who want to look at what
/// becomes of it.
pub fn source(
    shape: &NetworkShape,
    [past_steps, future_steps]: [usize; 2],
    batch: usize,
    limits: Limits,
) -> Option<String> {
    let plan = plan::Plan::new(shape, past_steps, future_steps, batch, limits)?;
    Some(format!("{}{}", plan.defines(), kernel::SOURCE))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Error(format!("{error:?}"))
    }
}

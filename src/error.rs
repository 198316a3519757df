//! One error type for the whole crate, written for a learner who reads it below a cell.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Device;

/// What went wrong, with the value that was given and what is allowed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range.
    Setting {
        /// The setting, as it is spelled in the struct or in the function's signature.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Two sizes that have to agree do not.
    Shape {
        /// The tensor and the axis that do not fit.
        what: String,
        /// The size that is needed.
        expected: usize,
        /// The size that was given.
        found: usize,
    },
    /// The data cannot be used as they are.
    Data(String),
    /// A training diverged: its loss or its error on the training part is no longer a number. The model has
    /// the weights of the last epoch before, and its first ones where there was none.
    Diverged {
        /// Number of the epoch, from 1, that it happened in.
        epoch: usize,
        /// What is no number: the loss, or the training MSE.
        what: &'static str,
        /// What it is instead.
        value: f64,
        /// The learning rate of the hyperparameters.
        learning_rate: f64,
    },
    /// A training cannot begin, be looked at, or give its model back.
    Training(String),
    /// A file of weights cannot be read or does not fit the model.
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of prices cannot be read or used.
    Prices {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line and the value.
        reason: String,
    },
    /// A training was interrupted, by Ctrl-C or *Interrupt the kernel*. The model keeps the weights that
    /// it had after the last step.
    Interrupted {
        /// Number of the epoch, from 1, that the interrupt came in.
        epoch: usize,
        /// The epochs that were asked for.
        epochs: usize,
        /// How many steps of that epoch were done.
        step: usize,
        /// The steps of an epoch.
        steps: usize,
    },
    /// A prediction was interrupted, by Ctrl-C or *Interrupt the kernel*.
    PredictionInterrupted,
    /// No source gave the prices.
    Fetch(String),
    /// The file system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own message.
        source: std::io::Error,
    },
    /// A device cannot be used.
    Device {
        /// The one that was asked for.
        device: Device,
        /// What is wrong with it.
        reason: String,
    },
    /// dfdx could not allocate or compute.
    Tensor(String),
    /// polars refused.
    Frame(String),
    /// A picture could not be drawn.
    Picture(String),
}

/// [`std::result::Result`] with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether a training or a prediction was interrupted, by Ctrl-C or *Interrupt the kernel*.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::PredictionInterrupted)
    }

    /// Whether a training diverged.
    pub fn is_diverged(&self) -> bool {
        matches!(self, Self::Diverged { .. })
    }

    pub(crate) fn setting(
        name: &'static str,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Setting { name, value: value.to_string(), allowed: allowed.into() }
    }

    pub(crate) fn weights(path: &Path, reason: impl Into<String>) -> Self {
        Self::Weights { path: path.to_owned(), reason: reason.into() }
    }

    #[cfg(feature = "polars")]
    pub(crate) fn prices(path: &Path, reason: impl Into<String>) -> Self {
        Self::Prices { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Refuses a size that differs from the one that is needed.
pub(crate) fn check_size(what: impl fmt::Display, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Shape { what: what.to_string(), expected, found })
}

/// Refuses a tensor `(B, T, D)` of another shape than the one that is needed.
pub(crate) fn check_shape(
    what: &str,
    expected: (usize, usize, usize),
    found: (usize, usize, usize),
) -> Result<()> {
    check_size(format_args!("the batch axis of {what}"), expected.0, found.0)?;
    check_size(format_args!("the time axis of {what}"), expected.1, found.1)?;
    check_size(format_args!("the features axis of {what}"), expected.2, found.2)
}

/// Refuses a size of 0.
pub(crate) fn check_sizes<const N: usize>(sizes: [(&'static str, usize); N]) -> Result<()> {
    match sizes.into_iter().find(|&(_, size)| size == 0) {
        Some((name, size)) => Err(Error::setting(name, size, "at least 1")),
        None => Ok(()),
    }
}

/// Refuses a number that is not from 1 to `most`; `what` says what `most` is.
pub(crate) fn check_number(
    name: &'static str,
    number: usize,
    most: usize,
    what: &str,
) -> Result<()> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(Error::setting(name, number, format!("from 1 to {most}{what}")))
}

/// Refuses the index of something that is not there; `what` names what is counted.
pub(crate) fn check_index(
    name: &'static str,
    index: usize,
    count: usize,
    what: &str,
) -> Result<()> {
    if index < count {
        return Ok(());
    }
    Err(Error::setting(name, index, format!("below {count}, the number of {what}")))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, allowed } => {
                write!(f, "{name} is {value}, but it must be {allowed}")
            }
            Self::Shape { what, expected, found } => {
                write!(f, "{what} is {found}, but {expected} is needed here")
            }
            Self::Data(reason) => write!(f, "the data cannot be used: {reason}"),
            Self::Diverged { epoch, what, value, learning_rate } => write!(
                f,
                "the training diverged, and the model has the weights of before epoch {epoch}: the \
                 {what} is {value} after epoch {epoch}; smaller values in the data, a clip_norm or a \
                 learning_rate below {learning_rate} may help"
            ),
            Self::Training(reason) => f.write_str(reason),
            Self::Weights { path, reason } => {
                write!(f, "the weights in {}: {reason}", path.display())
            }
            Self::Prices { path, reason } => {
                write!(f, "the prices in {}: {reason}", path.display())
            }
            Self::Interrupted { epoch, epochs, step, steps } => {
                let of = format!("epoch {epoch} of {epochs}");
                match step {
                    0 => write!(f, "interrupted before the first step of {of}")?,
                    _ if step < steps => {
                        write!(f, "interrupted in {of}, after step {step} of {steps}")?
                    }
                    _ => write!(f, "interrupted after {of}")?,
                }
                f.write_str(": the model keeps the weights it had then")
            }
            Self::PredictionInterrupted => write!(f, "interrupted: nothing was predicted"),
            Self::Fetch(reasons) => write!(f, "the prices could not be fetched: {reasons}"),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Device { device, reason } => {
                write!(f, "{device}, cannot be used: {reason}; Device::Cpu always can")
            }
            Self::Tensor(reason) => write!(f, "dfdx: {reason}"),
            Self::Frame(reason) => write!(f, "polars: {reason}"),
            Self::Picture(reason) => write!(f, "the picture could not be drawn: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<dfdx::tensor::CpuError> for Error {
    fn from(error: dfdx::tensor::CpuError) -> Self {
        Self::Tensor(error.to_string())
    }
}

#[cfg(feature = "polars")]
impl From<polars::error::PolarsError> for Error {
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Frame(error.to_string())
    }
}

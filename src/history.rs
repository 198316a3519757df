//! The epochs of a training, as plain data that trainings and pictures read.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// The losses and errors measured after one epoch. All errors are on the data as it was given to
/// [`fit`](crate::train::fit), measured after the epoch with one and the same set of weights. Of the
/// training part, the first 20 000 series are measured. In a training without a validation part, the errors
/// on it are NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean over the epoch's batches of the [`loss`](crate::train::loss()), with the penalty λ · ½ Σ w² on the
    /// weights after the epoch.
    pub loss: f64,
    /// Mean squared error of feature 0 on the training part.
    pub train_mse: f64,
    /// Mean squared error of feature 0 on the validation part.
    #[serde(deserialize_with = "null_is_nan")]
    pub validation_mse: f64,
    /// Mean squared error over all features on the training part.
    pub train_mse_all: f64,
    /// Mean squared error over all features on the validation part.
    #[serde(deserialize_with = "null_is_nan")]
    pub validation_mse_all: f64,
    /// Seconds that the epoch took.
    pub seconds: f64,
}

/// JSON has no NaN: `serde_json` writes `null`.
fn null_is_nan<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(number)?.unwrap_or(f64::NAN))
}

impl Epoch {
    /// Whether there was a validation part.
    pub(crate) fn is_validated(&self) -> bool {
        !self.validation_mse.is_nan()
    }

    /// Whether this epoch is better than another one: by the validation error over all features, and by the
    /// training error where there is no validation part. It is the one meaning of "best": early stopping,
    /// [`History::best`] and the pictures share it.
    pub(crate) fn is_better_than(&self, other: &Epoch) -> bool {
        let error = |epoch: &Epoch| match epoch.validation_mse_all {
            mse if mse.is_nan() => epoch.train_mse_all,
            mse => mse,
        };
        let (mse, lowest) = (error(self), error(other));
        mse < lowest || (lowest.is_nan() && !mse.is_nan())
    }

    /// The index of the best epoch, the first one of equals; `None` when there is no epoch.
    pub(crate) fn best_of(epochs: &[Epoch]) -> Option<usize> {
        (0..epochs.len()).reduce(|best, index| match epochs[index].is_better_than(&epochs[best]) {
            true => index,
            false => best,
        })
    }
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// All epochs were done.
    Epochs,
    /// The validation error had not fallen for `patience` epochs.
    Patience,
    /// `max_seconds` were over.
    Seconds,
    /// [`Training::stop`](crate::train::Training::stop) was called, or
    /// [`Training::finish`](crate::train::Training::finish) was interrupted.
    Stopped,
}

/// The epochs of one training, in order. There is at least one; the last one may have been cut short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    epochs: Vec<Epoch>,
    kept: usize,
    end: End,
}

impl History {
    /// Wraps the epochs of a training of one's own; `None` when there is none.
    pub fn new(epochs: Vec<Epoch>) -> Option<Self> {
        let kept = epochs.len().checked_sub(1)?;
        Some(Self { epochs, kept, end: End::Epochs })
    }

    /// The epochs of [`fit`](crate::train::fit), which refuses to train none.
    pub(crate) fn of(epochs: Vec<Epoch>, kept: usize, end: End) -> Self {
        debug_assert!(kept < epochs.len());
        Self { epochs, kept, end }
    }

    /// The epochs, in order.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The last epoch. Its weights are those of the model, unless a patience was set: see
    /// [`kept`](History::kept).
    pub fn last(&self) -> Epoch {
        self.epochs[self.epochs.len() - 1]
    }

    /// The epoch whose weights the model has: with a patience the [`best`](History::best) one, and
    /// otherwise the last one.
    pub fn kept(&self) -> Epoch {
        self.epochs[self.kept]
    }

    /// Why the training ended.
    pub fn end(&self) -> End {
        self.end
    }

    /// The epoch with the lowest validation error over all features, the first one of equals. With more
    /// than one feature, another epoch may have the lowest error of feature 0. Without a validation part,
    /// the training error decides.
    pub fn best(&self) -> Epoch {
        self.epochs[self.best_index()]
    }

    fn best_index(&self) -> usize {
        Epoch::best_of(&self.epochs).unwrap_or(0)
    }

    /// Seconds that the training took.
    pub fn seconds(&self) -> f64 {
        self.epochs.iter().map(|e| e.seconds).sum()
    }
}

impl fmt::Display for History {
    /// The errors of feature 0 on the parts, after the last and after the best epoch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last();
        let (best, at) = (self.best(), self.best_index() + 1);
        writeln!(f, "last train MSE       {:.6}", last.train_mse)?;
        write!(f, "best train MSE       {:.6} (epoch {at})", best.train_mse)?;
        if last.is_validated() {
            writeln!(f, "\nlast validation MSE  {:.6}", last.validation_mse)?;
            write!(f, "best validation MSE  {:.6} (epoch {at})", best.validation_mse)?;
        }
        let number = self.epochs.len();
        match self.end {
            End::Epochs => {}
            End::Patience => {
                let silent = number - 1 - self.kept;
                write!(
                    f,
                    "\nended after epoch {number}: no better validation for {silent} epochs"
                )?;
            }
            End::Seconds => write!(f, "\nended in epoch {number}: max_seconds were over")?,
            End::Stopped => write!(f, "\nended in epoch {number}: it was stopped")?,
        }
        if self.kept + 1 < number {
            write!(f, "\nthe model has the weights of epoch {}", self.kept + 1)?;
        }
        Ok(())
    }
}

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Instant;

use super::Hyperparameters;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{mse, mse_of_feature};

/// How many series of the training part its error is measured on: to predict them all again after each
/// epoch would take a third as long as the epoch.
const MEASURED: usize = 20_000;

/// The losses and errors measured after one epoch. All errors are on the data as it was given to
/// [`fit`](crate::train::fit), measured after the epoch with one and the same set of weights. Of the
/// training part, the first 20 000 series are measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean of the loss that was minimised, with the penalty, over the epoch's batches.
    pub loss: f64,
    /// Mean squared error of feature 0 on the training part.
    pub train_mse: f64,
    /// Mean squared error of feature 0 on the validation part.
    pub validation_mse: f64,
    /// Mean squared error over all features on the training part.
    pub train_mse_all: f64,
    /// Mean squared error over all features on the validation part.
    pub validation_mse_all: f64,
    /// Seconds that the epoch took.
    pub seconds: f64,
}

impl Epoch {
    /// The series of the training part that are measured.
    pub(super) fn measured(train: &Dataset) -> Result<Dataset> {
        train.select(0..train.len().min(MEASURED))
    }

    /// Measures what the network predicts after epoch `number`, `(n, F, O)`, of the
    /// [`measured`](Epoch::measured) series of the training part and of the validation part.
    ///
    /// # Errors
    /// [`Error::Data`] when the training has diverged.
    pub(super) fn measure(
        number: usize,
        loss: f64,
        [(train, of_train), (validation, of_validation)]: [(&Dataset, Vec<f32>); 2],
        start: Instant,
        hyperparameters: &Hyperparameters,
    ) -> Result<Self> {
        let (of_train, of_validation) =
            (train.forecast(of_train)?, validation.forecast(of_validation)?);
        let epoch = Epoch {
            loss,
            train_mse: mse_of_feature(&of_train, train, 0)?,
            validation_mse: mse_of_feature(&of_validation, validation, 0)?,
            train_mse_all: mse(&of_train, train)?,
            validation_mse_all: mse(&of_validation, validation)?,
            seconds: start.elapsed().as_secs_f64(),
        };
        if !(loss.is_finite() && epoch.train_mse_all.is_finite()) {
            return Err(Self::diverged(number, loss, epoch.train_mse_all, hyperparameters));
        }
        if !epoch.validation_mse_all.is_finite() {
            return Err(Error::Data(format!(
                "the validation MSE is {} after epoch {number}, and the training MSE {}: the network \
                 cannot compute with values as large as those of the validation part",
                epoch.validation_mse_all, epoch.train_mse_all
            )));
        }
        Ok(epoch)
    }

    /// Whether this epoch is better than another one: by the validation error over all features. It is the
    /// one meaning of "best": early stopping, [`History::best`] and the pictures share it.
    pub(super) fn is_better_than(&self, other: &Epoch) -> bool {
        let (mse, lowest) = (self.validation_mse_all, other.validation_mse_all);
        mse < lowest || (lowest.is_nan() && !mse.is_nan())
    }

    /// The index of the best epoch, the first one of equals; `None` when there is no epoch.
    pub(crate) fn best_of(epochs: &[Epoch]) -> Option<usize> {
        (0..epochs.len()).reduce(|best, index| match epochs[index].is_better_than(&epochs[best]) {
            true => index,
            false => best,
        })
    }

    /// The error of a training whose loss or training error is no number after epoch `number`.
    pub(super) fn diverged(
        number: usize,
        loss: f64,
        train_mse: f64,
        hyperparameters: &Hyperparameters,
    ) -> Error {
        Error::Data(format!(
            "the loss is {loss} and the training MSE {train_mse} after epoch {number}: the training \
             diverged; smaller values in the data, a clip_norm or a learning_rate below {} may help",
            hyperparameters.learning_rate
        ))
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
    pub(super) fn of(epochs: Vec<Epoch>, kept: usize, end: End) -> Self {
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
    /// than one feature, another epoch may have the lowest error of feature 0.
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
    /// The errors of feature 0 on both parts, after the last and after the best epoch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last();
        let (best, at) = (self.best(), self.best_index() + 1);
        writeln!(f, "last train MSE       {:.6}", last.train_mse)?;
        writeln!(f, "best train MSE       {:.6} (epoch {at})", best.train_mse)?;
        writeln!(f, "last validation MSE  {:.6}", last.validation_mse)?;
        write!(f, "best validation MSE  {:.6} (epoch {at})", best.validation_mse)?;
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

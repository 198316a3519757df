//! Short names of the usual trainings. [`Trainer`] combines what they have apart.

use dfdx::tensor_ops::Device;
use std::path::Path;

use super::background::Training;
use super::engines::tape::Traced;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::error::Result;
use crate::history::{Epoch, History};
use crate::layers::{Parameters, RecurrentCell};
use crate::model::Seq2Seq;
use crate::settings::Hyperparameters;

/// Trains `model` on `train` and measures it on `validation` after each epoch, and shows the progress.
///
/// Minimises the mean over each batch of ½ Σ (prediction − future)², summed over the F steps and O targets,
/// plus the penalty λ · ½ Σ w² over all weights w; λ is `weight_decay`. Scale both parts first.
///
/// After an interrupt the model keeps the weights of the last step. After a divergence, or any other error, it
/// has the weights of the last epoch before. [`Trainer`] tells the rest, and combines it with checkpoints.
///
/// # Errors
/// As [`Trainer`].
pub fn fit<C: RecurrentCell>(
    model: &mut Seq2Seq<C>,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<History> {
    Trainer::new(hyperparameters).validation(validation).fit(model, train)
}

/// As [`fit`], and keeps a checkpoint at `path`: see [`Trainer::checkpoint`].
///
/// # Errors
/// As [`Trainer`].
pub fn fit_with_checkpoint<C: RecurrentCell>(
    model: &mut Seq2Seq<C>,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    path: impl AsRef<Path>,
) -> Result<History> {
    Trainer::new(hyperparameters).validation(validation).checkpoint(path).fit(model, train)
}

/// Goes on with the training whose checkpoint is at `path`, from the last epoch in the file, on the same series:
/// see [`Trainer::resume`], which goes on with a model of other cells than GRUs, too.
///
/// # Errors
/// As [`Trainer::resume`] and [`Trainer`].
pub fn resume(
    path: impl AsRef<Path>,
    train: &Dataset,
    validation: &Dataset,
) -> Result<(Seq2Seq, History)> {
    let trainer = Trainer::resume(&path)?.validation(validation);
    let mut model = Seq2Seq::load(path)?;
    let history = trainer.fit(&mut model, train)?;
    Ok((model, history))
}

/// As [`fit`], but prints nothing: `after_epoch` is told the number of each epoch, from 1, and its errors. For
/// sweeps, and for progress of one's own.
///
/// # Errors
/// As [`Trainer`].
pub fn fit_with<C: RecurrentCell>(
    model: &mut Seq2Seq<C>,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    after_epoch: impl FnMut(usize, &Epoch),
) -> Result<History> {
    let trainer = Trainer::new(hyperparameters).validation(validation).quiet();
    trainer.after_epoch(after_epoch).fit(model, train)
}

/// Trains any network that a cell has put together, on dfdx's tape, and prints nothing: see
/// [`Trainer::fit_on_tape`].
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut init = Initializer::new(42);
/// let gru = Gru::new(1, &[8], &mut init, &dev)?;
/// let dense = Dense::new(8, 1, &mut init, &dev)?;
///
/// let (train, validation) = noisy_waves(NoisyWaves { series: 200, ..Default::default() })?.split(0.2)?;
/// let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
/// let mut model = (gru, dense);
/// let history = fit_on_tape(&mut model, &train, &validation, &hyperparameters, |(gru, dense), past| {
///     let (outputs, _) = gru.forward(past, None)?;
///     let series = outputs.shape().0;
///     let index = vec![49; series]; // the last of 50 steps
///     let last = outputs.select(dev.tensor_from_vec(index, (series,)));
///     Ok(dense.forward_step(last)?.reshape_like(&(series, 1, 1)))
/// })?;
/// assert_eq!(history.epochs().len(), 2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`Trainer::fit_on_tape`].
pub fn fit_on_tape<M: Parameters<f32, D>, D: Device<f32>>(
    model: &mut M,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<History> {
    let trainer = Trainer::new(hyperparameters).validation(validation).quiet();
    trainer.fit_on_tape(model, train, forward)
}

/// As [`fit_on_tape`], for a network that predicts the next F steps at every step of the past: see
/// [`Trainer::at_every_step`].
///
/// # Errors
/// As [`Trainer::fit_on_tape`].
pub fn fit_at_every_step<M: Parameters<f32, D>, D: Device<f32>>(
    model: &mut M,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<History> {
    let trainer = Trainer::new(hyperparameters).validation(validation).quiet();
    trainer.at_every_step().fit_on_tape(model, train, forward)
}

impl<C: RecurrentCell> Training<Seq2Seq<C>> {
    /// Starts to train a copy of `model`: see [`Trainer::spawn`].
    ///
    /// # Errors
    /// As [`Trainer::spawn`].
    pub fn spawn(
        model: &Seq2Seq<C>,
        train: &Dataset,
        validation: &Dataset,
        hyperparameters: &Hyperparameters,
    ) -> Result<Self> {
        Trainer::new(hyperparameters).validation(validation).spawn(model, train)
    }
}

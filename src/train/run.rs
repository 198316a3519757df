//! The one loop of all trainings. Whatever computes, it owns the course (schedule, patience, time limit), the
//! checkpoint, and what is left after an end of any kind.

use dfdx::tensor_ops::Device;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use super::checkpoint::{Checkpoint, Found};
use super::course::Course;
use super::engine::{Engine, Steps, Watch};
use super::loss::penalty;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{mse, mse_of_feature};
use crate::history::{Epoch, History};
use crate::layers::{Parameters, flat_weights, set_flat_weights};
use crate::model::Layout;
use crate::settings::Hyperparameters;

/// How many series of the training part its error is measured on: to predict them all again after each
/// epoch would take a third as long as the epoch.
const MEASURED: usize = 20_000;

/// A model with its forward pass.
pub(super) trait Trainable {
    /// Refuses parts that do not fit the model or each other, and settings that it cannot be trained with.
    fn check(
        &self,
        train: &Dataset,
        validation: Option<&Dataset>,
        hyperparameters: &Hyperparameters,
    ) -> Result<()>;

    /// The form of its file.
    fn layout(&self) -> Layout;

    /// Takes over the weights of a checkpoint.
    fn load(&mut self, found: &Found) -> Result<()>;

    /// Says where it is trained, before the training, and what it is.
    fn describe(&self, hyperparameters: &Hyperparameters) -> [String; 2];

    /// Makes its engine and trains with [`run`]; at any end, it has the weights that that leaves.
    fn train(&mut self, job: &mut Job<'_>, watch: &mut Watch<'_>) -> Result<History>;
}

/// A training that has been checked.
pub(super) struct Job<'a> {
    pub(super) hyperparameters: &'a Hyperparameters,
    pub(super) train: &'a Dataset,
    pub(super) validation: Option<&'a Dataset>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Trains until the last epoch, or until `watch` ends it. `weights` are those of the model: on an error, those
/// of the last epoch that was completed; after an interrupt, those of the last step; otherwise those of the
/// epoch that is kept.
pub(super) fn run(
    engine: &mut dyn Engine,
    weights: &mut Vec<f32>,
    job: &mut Job<'_>,
    watch: &mut Watch<'_>,
) -> Result<History> {
    let Job { hyperparameters, train, validation, ref mut checkpoint } = *job;
    let measured = train.select(0..train.len().min(MEASURED))?;
    let mut course = match checkpoint {
        Some(checkpoint) => checkpoint.restore(engine),
        None => Course::new(hyperparameters),
    };
    while let Some(number) = course.next_epoch() {
        let start = Instant::now();
        let order = train.shuffled(hyperparameters.seed, number);
        let mut steps = Steps::new(number, &order, hyperparameters, &course, watch);
        let trained = engine.train(&mut steps);
        let epoch = trained.and_then(|()| measure(engine, &steps, &measured, validation, start));
        let (flow, whole) = (steps.flow, steps.taken == steps.number());
        let mut written = Ok(());
        if let Some(checkpoint) = checkpoint
            && (epoch.is_err() || !whole)
        {
            // This epoch is not for the file, but those before it are.
            written = checkpoint.finish(weights, &course);
        }
        match epoch {
            Err(error) => {
                if error.is_interrupted() {
                    *weights = engine.weights();
                }
                return written.and(Err(error));
            }
            Ok(epoch) => {
                *weights = engine.weights();
                (watch.after_epoch)(number, &epoch);
                course.take(epoch, flow, weights);
            }
        }
        written?;
        if let Some(checkpoint) = checkpoint
            && whole
        {
            checkpoint.after_epoch(weights, engine.memory(), &course)?;
        }
    }
    let (history, best) = course.finish();
    if let Some(best) = best {
        *weights = best;
    }
    Ok(history)
}

/// Trains a model on a copy of its weights, and writes them back even after a panic, as one in the forward pass
/// of a cell.
pub(super) fn with_weights<D: Device<f32>, M: Parameters<f32, D> + ?Sized>(
    model: &mut M,
    train: impl FnOnce(&mut M, &mut Vec<f32>) -> Result<History>,
) -> Result<History> {
    let mut weights = flat_weights(model);
    // What a panic leaves half done are the model's weights, which are replaced.
    let outcome = catch_unwind(AssertUnwindSafe(|| train(model, &mut weights)));
    set_flat_weights(model.parameters_mut(), &weights);
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The errors after the steps of an epoch, with the weights that they have led to.
///
/// # Errors
/// [`Error::Diverged`]; [`Error::Interrupted`] when there was an interrupt in the steps or there is one now;
/// [`Error::Data`] when the validation part has values that the network cannot compute with.
fn measure(
    engine: &dyn Engine,
    steps: &Steps<'_>,
    train: &Dataset,
    validation: Option<&Dataset>,
    start: Instant,
) -> Result<Epoch> {
    let (epoch, Hyperparameters { weight_decay, learning_rate, .. }) =
        (steps.epoch, *steps.hyperparameters);
    let finite = |what, value: f64| match value.is_finite() {
        true => Ok(value),
        false => Err(Error::Diverged { epoch, what, value, learning_rate }),
    };
    let loss = finite("loss", steps.mean_loss() + penalty(&engine.weights(), weight_decay))?;
    if steps.is_interrupted {
        return Err(steps.interrupt());
    }
    let errors = |data: &Dataset| -> Result<_> {
        let prediction = engine.predict(data, steps.interrupted).map_err(|error| match error {
            Error::PredictionInterrupted => steps.interrupt(),
            other => other,
        })?;
        let prediction = data.forecast(prediction)?;
        Ok((mse_of_feature(&prediction, data, 0)?, mse(&prediction, data)?))
    };
    let (train_mse, train_mse_all) = errors(train)?;
    finite("training MSE", train_mse_all)?;
    let (validation_mse, validation_mse_all) =
        validation.map_or(Ok((f64::NAN, f64::NAN)), errors)?;
    if validation.is_some() && !validation_mse_all.is_finite() {
        return Err(Error::Data(format!(
            "the validation MSE is {validation_mse_all} after epoch {epoch}, and the training MSE \
             {train_mse_all}: the network cannot compute with values as large as those of the validation \
             part"
        )));
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Epoch { loss, train_mse, validation_mse, train_mse_all, validation_mse_all, seconds })
}

//! What the loop of a training asks of a network, wherever it computes.

use std::ops::ControlFlow;

use super::course::Course;
use super::descent::Memory;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::history::{End, Epoch};
use crate::settings::Hyperparameters;

/// A network and its optimiser, on the CPU, on dfdx's tape or on a GPU.
pub(super) trait Engine {
    /// Takes a step on every batch of `steps`, and reports the loss of each. Where steps wait in a queue,
    /// several batches may be taken before the first loss is reported.
    fn train(&mut self, steps: &mut Steps<'_>) -> Result<()>;

    /// What the network predicts for every series, `(n, F, O)`, with the weights after the last step.
    ///
    /// # Errors
    /// [`Error::PredictionInterrupted`] as soon as `interrupted` returns true.
    fn predict(&self, data: &Dataset, interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>>;

    /// The weights after the last step, in the model's order.
    fn weights(&self) -> Vec<f32>;

    /// What the optimiser remembers, for a checkpoint.
    fn memory(&self) -> Memory;

    /// Takes up what the optimiser of another training remembered.
    fn set_memory(&mut self, memory: Memory);
}

/// Who is told how a training goes on.
pub(super) struct Watch<'a> {
    /// Told of every step; may end the training.
    pub(super) after_step: &'a mut (dyn FnMut(&Step) -> ControlFlow<End> + Send),
    /// Told the number of every epoch, from 1, and its errors.
    pub(super) after_epoch: &'a mut dyn FnMut(usize, &Epoch),
    /// Asked after every step, and while the errors are measured.
    pub(super) interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Whether other work on the thread pool comes first. Otherwise an epoch holds a thread of the pool
    /// until its steps are done.
    pub(super) yields: bool,
}

/// One step of an epoch.
pub(super) struct Step {
    /// Number of the epoch, from 1.
    pub(super) epoch: usize,
    /// Number of the step in its epoch, from 1.
    pub(super) number: usize,
    /// Steps of an epoch.
    pub(super) steps: usize,
    /// Loss of the batch, before the step.
    pub(super) loss: f64,
}

/// The batches of an epoch, until the training has to end.
pub(super) struct Steps<'a> {
    /// The series in the order of the epoch.
    pub(super) order: &'a [usize],
    pub(super) hyperparameters: &'a Hyperparameters,
    course: &'a Course,
    /// Number of the epoch, from 1.
    pub(super) epoch: usize,
    after_step: &'a mut (dyn FnMut(&Step) -> ControlFlow<End> + Send),
    pub(super) interrupted: &'a (dyn Fn() -> bool + Sync),
    yields: bool,
    /// Batches that were given out.
    given: usize,
    /// Steps that were reported, the sum of their losses, and whether there will be more.
    pub(super) taken: usize,
    total: f64,
    pub(super) flow: ControlFlow<End>,
    pub(super) is_interrupted: bool,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        epoch: usize,
        order: &'a [usize],
        hyperparameters: &'a Hyperparameters,
        course: &'a Course,
        watch: &'a mut Watch<'_>,
    ) -> Self {
        Self {
            order,
            hyperparameters,
            course,
            epoch,
            after_step: &mut *watch.after_step,
            interrupted: watch.interrupted,
            yields: watch.yields,
            given: 0,
            taken: 0,
            total: 0.0,
            flow: ControlFlow::Continue(()),
            is_interrupted: false,
        }
    }

    /// The steps of a whole epoch.
    pub(super) fn number(&self) -> usize {
        self.order.len().div_ceil(self.hyperparameters.batch_size)
    }

    /// The series of the next batch, and the learning rate of its step; `None` when the epoch or the training
    /// is over. Batches are consecutive parts of the order.
    pub(super) fn next(&mut self) -> Option<(&'a [usize], f64)> {
        let Hyperparameters { batch_size, epochs, .. } = *self.hyperparameters;
        let number = self.number();
        if self.flow.is_break() || self.given == number {
            return None;
        }
        let first = self.given * batch_size;
        let end = first.saturating_add(batch_size).min(self.order.len());
        let done = (self.epoch - 1) * number + self.given;
        self.given += 1;
        let learning_rate = self.course.learning_rate(done, number.saturating_mul(epochs));
        Some((&self.order[first..end], learning_rate))
    }

    /// Reports the step on the first batch that was not yet reported.
    pub(super) fn took(&mut self, loss: f64) {
        self.total += loss;
        self.taken += 1;
        if self.flow.is_break() {
            return;
        }
        let (epoch, number, steps) = (self.epoch, self.taken, self.number());
        self.flow = (self.after_step)(&Step { epoch, number, steps, loss });
        if self.yields {
            rayon::yield_now();
        }
        self.is_interrupted = (self.interrupted)();
        if self.is_interrupted {
            self.flow = ControlFlow::Break(End::Stopped);
        } else if self.flow.is_continue() {
            self.flow = self.course.in_time();
        }
    }

    /// The mean loss of the steps.
    pub(super) fn mean_loss(&self) -> f64 {
        self.total / self.taken as f64
    }

    /// The error of a training that an interrupt ends here.
    pub(super) fn interrupt(&self) -> Error {
        let (epoch, epochs) = (self.epoch, self.hyperparameters.epochs);
        Error::Interrupted { epoch, epochs, step: self.taken, steps: self.number() }
    }
}

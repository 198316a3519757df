use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::history::{End, Epoch, History};
use crate::settings::{Hyperparameters, Schedule};

/// A training under way: its epochs so far, its learning rate, and whether it goes on.
pub(super) struct Course {
    epochs: Vec<Epoch>,
    wanted: usize,
    patience: Option<usize>,
    schedule: Schedule,
    learning_rate: f64,
    started: Instant,
    /// How long the training may take.
    limit: Option<Duration>,
    /// Index of the epoch with the lowest validation error, and its weights; with a patience only.
    best: Option<(usize, Vec<f32>)>,
    end: Option<End>,
}

impl Course {
    pub(super) fn new(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { epochs, patience, max_seconds, schedule, learning_rate, .. } =
            *hyperparameters;
        Self {
            epochs: Vec::new(),
            wanted: epochs,
            patience,
            schedule,
            learning_rate,
            started: Instant::now(),
            // So many seconds that no clock counts them are no limit.
            limit: max_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            best: None,
            end: None,
        }
    }

    /// The learning rate of step number `step`, counted from 0, of the `steps` of all epochs. Where
    /// `max_seconds` may end the training earlier, the schedule follows the clock as soon as that is
    /// further than the steps: a rate that falls towards zero does so by the end of either.
    pub(super) fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let by_clock = self.limit.map_or(0.0, |limit| {
            self.started.elapsed().as_secs_f64() / limit.as_secs_f64() * steps as f64
        });
        self.schedule.rate(self.learning_rate, step.max(by_clock as usize), steps)
    }

    /// Goes on from these epochs, of which the best one had these weights.
    pub(super) fn resumed(
        hyperparameters: &Hyperparameters,
        epochs: Vec<Epoch>,
        best: Option<(usize, Vec<f32>)>,
    ) -> Self {
        let mut course = Self { epochs, best, ..Self::new(hyperparameters) };
        course.end = course.reached();
        course
    }

    /// The epochs so far, and the best of them, where there is a patience.
    pub(super) fn so_far(&self) -> (&[Epoch], Option<(usize, &[f32])>) {
        (&self.epochs, self.best.as_ref().map(|(index, weights)| (*index, &weights[..])))
    }

    /// The number of the epoch that is next, from 1, unless the training has ended.
    pub(super) fn next_epoch(&self) -> Option<usize> {
        self.end.is_none().then_some(self.epochs.len() + 1)
    }

    /// Whether there is time for another step.
    pub(super) fn in_time(&self) -> ControlFlow<End> {
        match self.limit {
            Some(limit) if self.started.elapsed() >= limit => ControlFlow::Break(End::Seconds),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Takes in an epoch, after which the network has these weights; `flow` tells whether it was cut
    /// short.
    pub(super) fn take(&mut self, epoch: Epoch, flow: ControlFlow<End>, weights: &[f32]) {
        let index = self.epochs.len();
        self.epochs.push(epoch);
        let best = self.best.as_ref().map(|(index, _)| &self.epochs[*index]);
        if self.patience.is_some() && best.is_none_or(|best| epoch.is_better_than(best)) {
            self.best = Some((index, weights.to_vec()));
        }
        self.end = self.reached().or(flow.break_value());
    }

    /// Why the training is over: all epochs are done, or the patience is exhausted. Time limits and
    /// [`stop`](crate::train::Training::stop) end it elsewhere.
    fn reached(&self) -> Option<End> {
        if self.epochs.len() >= self.wanted {
            return Some(End::Epochs);
        }
        let (best, _) = self.best.as_ref()?;
        (self.epochs.len() - 1 - best >= self.patience?).then_some(End::Patience)
    }

    /// The history, and the weights that the network gets back when its last ones are not the best.
    pub(super) fn finish(self) -> (History, Option<Vec<f32>>) {
        let last = self.epochs.len() - 1;
        let (kept, weights) = match self.best {
            Some((best, weights)) if best < last => (best, Some(weights)),
            _ => (last, None),
        };
        (History::of(self.epochs, kept, self.end.unwrap_or(End::Epochs)), weights)
    }
}

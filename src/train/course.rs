use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{End, Epoch, History, Hyperparameters};

/// A training under way: what it has come to, and whether it goes on.
pub(super) struct Course {
    epochs: Vec<Epoch>,
    wanted: usize,
    patience: Option<usize>,
    deadline: Option<Instant>,
    /// Index of the epoch with the lowest validation error, and its weights; with a patience only.
    best: Option<(usize, Vec<f32>)>,
    end: Option<End>,
}

impl Course {
    pub(super) fn new(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { epochs, patience, max_seconds, .. } = *hyperparameters;
        // So many seconds that they are no time of the clock are no limit.
        let deadline = max_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .and_then(|seconds| Instant::now().checked_add(seconds));
        Self { epochs: Vec::new(), wanted: epochs, patience, deadline, best: None, end: None }
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
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => ControlFlow::Break(End::Seconds),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Takes in an epoch, after which the network has these weights; `flow` tells whether it was cut
    /// short.
    pub(super) fn take(
        &mut self,
        epoch: Epoch,
        flow: ControlFlow<End>,
        weights: impl FnOnce() -> Vec<f32>,
    ) {
        let index = self.epochs.len();
        self.epochs.push(epoch);
        if self.patience.is_some() {
            let lowest = self.best.as_ref().map(|(best, _)| self.epochs[*best].validation_mse_all);
            // Written so that a number is lower than none, and than NaN.
            if !lowest.is_some_and(|lowest| lowest <= epoch.validation_mse_all) {
                self.best = Some((index, weights()));
            }
        }
        self.end = self.reached().or(flow.break_value());
    }

    /// What has ended the training, if it is not the clock or a hand.
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

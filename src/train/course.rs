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
        if index + 1 == self.wanted {
            self.end = Some(End::Epochs);
        }
        if let Some(patience) = self.patience {
            let error = |index: usize| self.epochs[index].validation_mse_all;
            match self.best {
                Some((best, _)) if error(best) <= error(index) => {
                    if index - best >= patience {
                        self.end = self.end.or(Some(End::Patience));
                    }
                }
                _ => self.best = Some((index, weights())),
            }
        }
        if let ControlFlow::Break(end) = flow {
            self.end = self.end.or(Some(end));
        }
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

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::fit::{Step, Watched, check, run};
use super::progress::seconds_left;
use super::{End, Epoch, History, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::Seq2Seq;

/// How often [`Training::finish`] looks for an interrupt.
const POLL: Duration = Duration::from_millis(20);

/// A training in the background: one cell starts it and returns at once, others look at it, stop it,
/// and take the trained model. It is the training of [`fit`](super::fit), with the same result, but what
/// the cells compute comes first: after each step it lets them have the threads.
///
/// Dropped, it stops: a cell that is run again replaces the training of before.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let hyperparameters = Hyperparameters { epochs: 3, ..Default::default() };
/// let data = sine_cosine(SineCosine { series: 100, ..Default::default() })?;
/// let (train, validation) = data.split(0.15)?;
/// let model = Seq2Seq::stacked(2, &hyperparameters)?;
///
/// let training = Training::spawn(&model, &train, &validation, &hyperparameters)?;
/// println!("{training}");
/// let (model, history) = training.finish()?;
/// assert_eq!(history.epochs().len(), 3);
/// # Ok::<(), Error>(())
/// ```
pub struct Training {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(Seq2Seq, History)>>>,
    /// Disconnected when the thread ends. In a mutex, so that threads can share the training.
    ended: Mutex<Receiver<()>>,
    hyperparameters: Hyperparameters,
}

/// What the training and whoever looks at it both see.
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    started: Instant,
    /// The epochs that are done.
    epochs: Vec<Epoch>,
    /// Steps that are done in the one after them, and all its steps.
    step: (usize, usize),
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Training {
    /// Starts to train a copy of `model`.
    ///
    /// # Errors
    /// As [`fit`](super::fit), for what it refuses before it trains; and [`Error::Data`] when the
    /// system has no thread left.
    pub fn spawn(
        model: &Seq2Seq,
        train: &Dataset,
        validation: &Dataset,
        hyperparameters: &Hyperparameters,
    ) -> Result<Self> {
        check(model, train, validation, hyperparameters)?;
        let progress = Progress { started: Instant::now(), epochs: Vec::new(), step: (0, 1) };
        let shared =
            Arc::new(Shared { stop: AtomicBool::new(false), progress: Mutex::new(progress) });
        let watched = Arc::clone(&shared);
        let (mut model, train, validation) = (model.clone(), train.clone(), validation.clone());
        let hyperparameters = *hyperparameters;
        let (ends, ended) = channel();
        let work = move || {
            let _ends = ends;
            let after_step = |step: &Step| {
                watched.progress().step = (step.number, step.steps);
                if watched.stop.load(Ordering::Relaxed) {
                    return ControlFlow::Break(End::Stopped);
                }
                ControlFlow::Continue(())
            };
            let after_epoch = |_, epoch: &Epoch| {
                let mut progress = watched.progress();
                progress.epochs.push(*epoch);
                progress.step.0 = 0;
            };
            // An interrupt is for the cell that runs, which is another one.
            let interrupted = || false;
            let watched = Watched { after_step, after_epoch, interrupted, yields: true };
            let history = run(&mut model, &train, &validation, &hyperparameters, None, watched)?;
            Ok((model, history))
        };
        let thread = thread::Builder::new()
            .name("training".to_owned())
            .spawn(work)
            .map_err(|error| Error::Data(format!("no thread for the training: {error}")))?;
        Ok(Self { shared, thread: Some(thread), ended: Mutex::new(ended), hyperparameters })
    }

    /// The epochs so far.
    ///
    /// # Errors
    /// [`Error::Data`] until the first one is done.
    pub fn history(&self) -> Result<History> {
        let epochs = self.shared.progress().epochs.clone();
        let none = || Error::Data("no epoch of this training is done yet".to_owned());
        History::new(epochs).ok_or_else(none)
    }

    /// Whether it still trains.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Asks the training to end after the current step. The model keeps what it has learnt.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end, and returns the trained model. An interrupt while it waits stops the training as
    /// [`stop`](Training::stop) does: the model is not lost, and the history ends with
    /// [`End::Stopped`].
    ///
    /// # Errors
    /// As [`fit`](super::fit), and [`Error::Data`] when the training panicked.
    pub fn finish(mut self) -> Result<(Seq2Seq, History)> {
        let work = interrupt::watch();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(POLL) {
            if work.interrupted() {
                self.shared.stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::Data("the training panicked; its message stands above".to_owned())),
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Display for Training {
    /// How far it is, and how long it will take.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.shared.progress();
        let (step, steps) = progress.step;
        let done = progress.epochs.len() as f64 + step as f64 / steps as f64;
        let elapsed = progress.started.elapsed();
        write!(f, "epoch {:.1} of {}", done, self.hyperparameters.epochs)?;
        if let Some(epoch) = progress.epochs.last() {
            let Epoch { train_mse, validation_mse, .. } = epoch;
            write!(f, ", train MSE {train_mse:.5}, validation MSE {validation_mse:.5}")?;
        }
        if !self.is_running() {
            return write!(f, ", ended");
        }
        write!(f, ", {:.0} s so far", elapsed.as_secs_f64())?;
        if done > 0.0 {
            let left = seconds_left(&self.hyperparameters, elapsed, done, 0.0);
            write!(f, ", {left:.0} s to go")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Training").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SineCosine, sine_cosine};
    use std::time::Duration;

    #[test]
    fn a_training_that_nobody_holds_ends() {
        let endless = Hyperparameters { epochs: usize::MAX, ..Default::default() };
        let data = sine_cosine(SineCosine { series: 100, ..Default::default() }).unwrap();
        let (train, validation) = data.split(0.15).unwrap();
        let model = Seq2Seq::stacked(2, &endless).unwrap();
        let training = Training::spawn(&model, &train, &validation, &endless).unwrap();
        let shared = Arc::clone(&training.shared);
        drop(training);
        while Arc::strong_count(&shared) > 1 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!shared.progress().epochs.is_empty() || shared.progress().step.0 > 0);
    }
}

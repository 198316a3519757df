use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::engine::{Step, Watch};
use super::progress::Facts;
use crate::error::{Error, Result};
use crate::history::{End, History};
use crate::interrupt;
use crate::model::Seq2Seq;

/// How often [`Training::finish`] looks for an interrupt.
const POLL: Duration = Duration::from_millis(20);

/// A training in the background: one cell starts it and returns at once, others look at it, stop it,
/// and take the trained model. It is the training of [`fit`](super::fit), with the same result, but what
/// the cells compute comes first: after each step it lets them have the threads.
/// [`Trainer::spawn_on_tape`](super::Trainer::spawn_on_tape) starts one of any network.
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
pub struct Training<M = Seq2Seq> {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(M, History)>>>,
    /// Disconnected when the thread ends. In a mutex, so that threads can share the training.
    ended: Mutex<Receiver<()>>,
}

/// What the training and whoever looks at it both see.
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Facts>,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Facts> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Send + 'static> Training<M> {
    /// Starts `work`, a training of which these are the facts, in a thread.
    pub(super) fn start(
        facts: Facts,
        work: impl FnOnce(&mut Watch<'_>) -> Result<(M, History)> + Send + 'static,
    ) -> Result<Self> {
        let (stop, progress) = (AtomicBool::new(false), Mutex::new(facts));
        let shared = Arc::new(Shared { stop, progress });
        let watched = Arc::clone(&shared);
        let (ends, ended) = channel();
        let work = move || {
            let _ends = ends;
            work(&mut Watch {
                after_step: &mut |step: &Step| {
                    watched.progress().after_step(step);
                    match watched.stop.load(Ordering::Relaxed) {
                        true => ControlFlow::Break(End::Stopped),
                        false => ControlFlow::Continue(()),
                    }
                },
                after_epoch: &mut |_, epoch| watched.progress().epochs.push(*epoch),
                // An interrupt is for the cell that runs, which is another one.
                interrupted: &|| false,
                yields: true,
            })
        };
        let thread = thread::Builder::new().name("training".to_owned()).spawn(work);
        let none = |error| Error::Training(format!("there is no thread for the training: {error}"));
        let thread = Some(thread.map_err(none)?);
        Ok(Self { shared, thread, ended: Mutex::new(ended) })
    }
}

impl<M> Training<M> {
    /// The epochs so far.
    ///
    /// # Errors
    /// [`Error::Training`] until the first one is done.
    pub fn history(&self) -> Result<History> {
        let epochs = self.shared.progress().epochs.clone();
        let none = || Error::Training("no epoch of this training is done yet".to_owned());
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
    /// As [`Trainer`](super::Trainer), and [`Error::Training`] when the training panicked.
    pub fn finish(mut self) -> Result<(M, History)> {
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
            _ => Err(Error::Training("the training panicked: see the message above".to_owned())),
        }
    }
}

impl<M> Drop for Training<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<M> fmt::Display for Training<M> {
    /// How far it is, and how long it will take.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.progress().line(self.is_running()))
    }
}

impl<M> fmt::Debug for Training<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Training").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SineCosine, sine_cosine};
    use crate::settings::Hyperparameters;

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
        assert!(shared.progress().has_begun());
    }
}

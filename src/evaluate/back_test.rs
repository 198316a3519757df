use std::ops::Range;

use crate::error::{Error, Result, check_number, check_sizes};

/// How a series in time is cut for a rolling-origin back-test: train on what came before an origin,
/// test on what comes next, then move the origin on (L. J. Tashman, *Out-of-sample tests of
/// forecasting accuracy*, 2000).
///
/// ```text
/// window: None                          window: Some(4)
/// train  train  train  train  test      train  train  train  train  test
/// train  train  train  train  train  test       train  train  train  train  test
/// ```
///
/// ```
/// use seq2seq::prelude::*;
///
/// let folds = RollingOrigin { first: 100, test: 20, window: None }.folds(150)?;
/// assert_eq!(folds.len(), 2);
/// assert_eq!((folds[1].train.clone(), folds[1].test.clone()), (0..120, 120..140));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingOrigin {
    /// Steps before the first origin.
    pub first: usize,
    /// Steps from one origin to the next: the size of each test part.
    pub test: usize,
    /// Steps to train on, the latest ones; `None` trains on all of the past.
    pub window: Option<usize>,
}

/// One origin of a back-test: steps to train on, and the steps after them to test on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Steps to train on; they end where the test begins.
    pub train: Range<usize>,
    /// Steps to test on.
    pub test: Range<usize>,
}

impl RollingOrigin {
    /// The folds of a series of `steps` steps, in the order of time. No test part is used twice, and
    /// a rest that is smaller than a test part is left out. Make windows inside each part
    /// ([`Dataset::windows`](crate::data::Dataset::windows)), so that none crosses an origin.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is 0, the window is longer than the first past, or the series
    /// too short for one fold.
    pub fn folds(&self, steps: usize) -> Result<Vec<Fold>> {
        let Self { first, test, window } = *self;
        check_sizes([("first", first), ("test", test)])?;
        if let Some(size) = window {
            check_number("window", size, first, ", the steps before the first origin")?;
        }
        let origins = (first..).step_by(test).take_while(|origin| origin + test <= steps);
        let folds: Vec<_> = origins
            .map(|origin| Fold {
                train: window.map_or(0, |size| origin - size)..origin,
                test: origin..origin + test,
            })
            .collect();
        if folds.is_empty() {
            let allowed = format!("at least {first} + {test}, for one origin and one test part");
            return Err(Error::setting("steps", steps, allowed));
        }
        Ok(folds)
    }
}

//! What a model or a baseline says will come.

use dfdx::shapes::HasShape;
use std::fmt;
use std::slice::ChunksExact;

use crate::Sequence;
use crate::error::{Error, Result, check_index, check_size, check_sizes};

/// A prediction of the future of n series, `(n, F, O)`, row-major. Models and baselines return one,
/// and metrics, scalers and plots take it; they refuse one that is not of the size of their data.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 2.0, 3.0, 4.0], vec![0.0; 6], 2, 3, 1)?;
/// let forecast = repeat_last(&data);
/// assert_eq!((forecast.len(), forecast.steps(), forecast.targets()), (2, 3, 1));
/// assert_eq!(forecast.series(1)?, [4.0, 4.0, 4.0]);
/// assert_eq!(forecast.step(0)?, [2.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    values: Vec<f32>,
    steps: usize,
    targets: usize,
}

impl Forecast {
    /// A forecast of F `steps` and O `targets` from its `values`, `(n, F, O)`; n follows from the length.
    /// For some data, [`Dataset::forecast`](crate::data::Dataset::forecast) knows the sizes.
    ///
    /// # Errors
    /// [`Error::Setting`] when F or O is 0, [`Error::Data`] when there is no value, and
    /// [`Error::Shape`] when the number of values is not a multiple of F x O.
    pub fn new(values: Vec<f32>, steps: usize, targets: usize) -> Result<Self> {
        check_sizes([("steps", steps), ("targets", targets)])?;
        if values.is_empty() {
            return Err(Error::Data("there is no value in the forecast".into()));
        }
        let what = format!("the number of values (n x F x O, F = {steps}, O = {targets})");
        let size = steps.saturating_mul(targets);
        let fitting = values.len().checked_next_multiple_of(size).unwrap_or(size);
        check_size(what, fitting, values.len())?;
        Ok(Self::of_size(values, steps, targets))
    }

    /// As [`Forecast::new`], where the sizes fit by construction.
    pub(crate) fn of_size(values: Vec<f32>, steps: usize, targets: usize) -> Self {
        debug_assert!(!values.is_empty() && values.len().is_multiple_of(steps * targets));
        Self { values, steps, targets }
    }

    /// Number of series, n.
    #[allow(clippy::len_without_is_empty)] // a forecast is never empty
    pub fn len(&self) -> usize {
        self.values.len() / (self.steps * self.targets)
    }

    /// Number of predicted steps, F.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Number of predicted features, O.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// All values, `(n, F, O)`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// What is predicted for series number `index`, `(F, O)`.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such series.
    pub fn series(&self, index: usize) -> Result<&[f32]> {
        check_index("index", index, self.len(), "series")?;
        let size = self.steps * self.targets;
        Ok(&self.values[index * size..][..size])
    }

    /// What is predicted for step number `index`, from 0, of every series: `(n, O)`.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such step.
    pub fn step(&self, index: usize) -> Result<Vec<f32>> {
        check_index("index", index, self.steps, "steps")?;
        let of_series = |series: &[f32]| series[index * self.targets..][..self.targets].to_vec();
        Ok(self.iter().flat_map(of_series).collect())
    }

    /// What is predicted for one feature of every series: `(n, F)`.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such feature.
    pub fn target(&self, index: usize) -> Result<Vec<f32>> {
        check_index("index", index, self.targets, "targets")?;
        Ok(self.values.iter().skip(index).step_by(self.targets).copied().collect())
    }

    /// The predictions series by series, `(F, O)` each.
    pub fn iter(&self) -> ChunksExact<'_, f32> {
        self.values.chunks_exact(self.steps * self.targets)
    }

    /// The forecasts of the series with the given indices, in that order.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such series, [`Error::Data`] when there is no index.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Result<Self> {
        let series: Vec<_> = indices.into_iter().map(|i| self.series(i)).collect::<Result<_>>()?;
        if series.is_empty() {
            return Err(Error::Data("no series was selected".into()));
        }
        Ok(Self { values: series.concat(), ..*self })
    }

    /// A forecast of the same size, each value of which comes from its step (from 0), its target and
    /// the value here.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let forecast = Forecast::new(vec![10.0, 20.0, 30.0, 40.0], 2, 1)?;
    /// let later = forecast.map(|step, _, value| value + step as f32);
    /// assert_eq!(later.values(), [10.0, 21.0, 30.0, 41.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map(&self, value: impl Fn(usize, usize, f32) -> f32) -> Self {
        let (steps, targets) = (self.steps, self.targets);
        let one = |(i, &old): (usize, &f32)| value(i / targets % steps, i % targets, old);
        Self { values: self.values.iter().enumerate().map(one).collect(), ..*self }
    }

    /// The mean of several forecasts, value by value: often better than each of them, because they err
    /// in different directions.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, [`Error::Shape`] when they differ in size.
    pub fn mean(forecasts: &[Forecast]) -> Result<Self> {
        let [first, ..] = forecasts else {
            return Err(Error::Data("there is no forecast to take the mean of".into()));
        };
        let mut mean = vec![0.0; first.values.len()];
        for forecast in forecasts {
            forecast.check("a forecast", (first.len(), first.steps, first.targets))?;
            let values = mean.iter_mut().zip(&forecast.values);
            values.for_each(|(mean, value)| *mean += value / forecasts.len() as f32);
        }
        Ok(Self { values: mean, ..*first })
    }

    /// Refuses a forecast of another size than (n, F, O); `what` names it.
    pub(crate) fn check(&self, what: &str, size: (usize, usize, usize)) -> Result<()> {
        check_size(format!("the number of series of {what}"), size.0, self.len())?;
        check_size(format!("the number of steps of {what}"), size.1, self.steps)?;
        check_size(format!("the number of targets of {what}"), size.2, self.targets)
    }
}

impl<'a> IntoIterator for &'a Forecast {
    type Item = &'a [f32];
    type IntoIter = ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The output of a network, `(B, F, O)`, as a forecast.
///
/// # Errors
/// As [`Forecast::new`].
impl TryFrom<Sequence> for Forecast {
    type Error = Error;

    fn try_from(tensor: Sequence) -> Result<Self> {
        let (n, steps, targets) = *tensor.shape();
        // dfdx cannot read a tensor that is empty.
        let values = if n * steps * targets == 0 { Vec::new() } else { tensor.as_vec() };
        Self::new(values, steps, targets)
    }
}

impl fmt::Display for Forecast {
    /// The shape, with the names of its axes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, steps, targets) = (self.len(), self.steps, self.targets);
        write!(f, "forecast ({n}, {steps}, {targets})  (series, future steps, targets)")
    }
}

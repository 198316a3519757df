use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, TensorFromVec};
use rand::seq::SliceRandom;
use std::fmt;

use crate::Sequence;
use crate::error::{Error, Result, check_index, check_number, check_size, check_sizes};
use crate::forecast::Forecast;
use crate::random::{Stream, stream};

/// Pairs of a known past `(n, P, D)` and the future `(n, F, O)` that follows it.
///
/// Values are held batch-first, in row-major order. P and F need not be equal. The targets, which are
/// the features of the future, are the first O features of the past: all D of them, unless
/// [`Dataset::with_targets`] has left some out.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let past = vec![0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
/// let future = vec![3.0, 4.0, 13.0, 14.0];
/// let data = Dataset::new(past, future, 3, 2, 1)?;
/// assert_eq!(data.len(), 2);
/// assert_eq!(data.window(1)?.future, [13.0, 14.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    past: Vec<f32>,
    future: Vec<f32>,
    past_steps: usize,
    future_steps: usize,
    features: usize,
    /// Features of the future: the first ones of the past.
    targets: usize,
}

/// One series: its past `(P, D)` and its future `(F, O)`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What the network is shown, `(P, D)`.
    pub past: Vec<f32>,
    /// What it has to predict, `(F, O)`.
    pub future: Vec<f32>,
}

impl Dataset {
    /// Puts together a data set from `past`, `(n, P, D)`, and `future`, `(n, F, D)`, where P is
    /// `past_steps`, F is `future_steps` and D is `features`; n follows from the lengths. All features
    /// are targets (O = D).
    ///
    /// # Errors
    /// [`Error::Setting`] when P, F or D is 0, [`Error::Shape`] when the lengths do not fit them,
    /// [`Error::Data`] when there is no window or a value is not finite.
    pub fn new(
        past: Vec<f32>,
        future: Vec<f32>,
        past_steps: usize,
        future_steps: usize,
        features: usize,
    ) -> Result<Self> {
        check_sizes([
            ("past_steps", past_steps),
            ("future_steps", future_steps),
            ("features", features),
        ])?;
        let series = past.len() / (past_steps * features);
        if series == 0 {
            return Err(Error::Data(format!(
                "there is no window: {} values are less than P x D = {past_steps} x {features}",
                past.len()
            )));
        }
        check_size(
            format!("the length of past (n x P x D, P = {past_steps}, D = {features})"),
            series * past_steps * features,
            past.len(),
        )?;
        check_size(
            format!("the length of future (n x F x D, F = {future_steps}, D = {features})"),
            series * future_steps * features,
            future.len(),
        )?;
        Self { past, future, past_steps, future_steps, features, targets: features }.finite()
    }

    /// The same windows, if all values are finite.
    fn finite(self) -> Result<Self> {
        for (part, values, steps, width) in [
            ("past", &self.past, self.past_steps, self.features),
            ("future", &self.future, self.future_steps, self.targets),
        ] {
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::Data(format!(
                    "the {part} of series {} has the value {} at step {}, feature {}; all values \
                     must be finite",
                    i / (steps * width),
                    values[i],
                    i / width % steps,
                    i % width
                )));
            }
        }
        Ok(self)
    }

    /// The same windows, of whose future only the first O = `targets` features have to be predicted:
    /// `(n, F, O)`. The other features of the past are inputs alone.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// // A price, and the month as an input.
    /// let series = [100.0, 1.0, 101.0, 2.0, 102.0, 3.0];
    /// let data = Dataset::windows(&series, 2, 1, 2)?.with_targets(1)?;
    /// assert_eq!(data.past(), [100.0, 1.0, 101.0, 2.0]);
    /// assert_eq!(data.future(), [102.0]);
    /// assert_eq!((data.features(), data.targets()), (2, 1));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] when `targets` is 0 or above the number of features of the future.
    pub fn with_targets(&self, targets: usize) -> Result<Dataset> {
        check_number("targets", targets, self.targets, ", the features of the future")?;
        let future = self.future.chunks(self.targets).flat_map(|step| &step[..targets]);
        let (past, future) = (self.past.clone(), future.copied().collect());
        Ok(Self { past, future, targets, ..*self })
    }

    /// Cuts one long series, `(T, D)`, into all of its windows, one from each step on: T − P − F + 1
    /// of them, the last one included. The windows overlap, so split the series in time *before* it
    /// is cut: otherwise both parts hold the same steps, and the validation part is no longer unseen.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let data = Dataset::windows(&[0.0, 1.0, 2.0, 3.0, 4.0], 2, 1, 1)?;
    /// assert_eq!(data.len(), 3);
    /// let last = data.window(2)?;
    /// assert_eq!((last.past, last.future), (vec![2.0, 3.0], vec![4.0]));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] when P, F or D is 0, [`Error::Shape`] when the number of values is not a
    /// multiple of D, [`Error::Data`] when the series is shorter than one window or a value is not
    /// finite.
    pub fn windows(
        series: &[f32],
        past_steps: usize,
        future_steps: usize,
        features: usize,
    ) -> Result<Self> {
        check_sizes([("features", features)])?;
        let whole = series.len() / features * features;
        check_size("the number of values (a multiple of the features)", whole, series.len())?;
        let (p, f) = (past_steps * features, future_steps * features);
        let (mut past, mut future) = (Vec::new(), Vec::new());
        for start in (0..series.len()).step_by(features) {
            let Some(window) = series.get(start..start + p + f) else { break };
            past.extend(&window[..p]);
            future.extend(&window[p..]);
        }
        if past.is_empty() && past_steps * future_steps > 0 {
            return Err(Error::Data(format!(
                "there is no window: {} steps are less than P + F = {past_steps} + {future_steps}",
                series.len() / features
            )));
        }
        Self::new(past, future, past_steps, future_steps, features)
    }

    /// Number of series, n.
    #[allow(clippy::len_without_is_empty)] // a data set is never empty
    pub fn len(&self) -> usize {
        self.past.len() / (self.past_steps * self.features)
    }

    /// Number of past steps, P.
    pub fn past_steps(&self) -> usize {
        self.past_steps
    }

    /// Number of future steps, F: the horizon.
    pub fn future_steps(&self) -> usize {
        self.future_steps
    }

    /// Number of features, D.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of targets, O: the features of the future, which a model has to predict. It is D, unless
    /// [`Dataset::with_targets`] has lowered it.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// All past values, `(n, P, D)`.
    pub fn past(&self) -> &[f32] {
        &self.past
    }

    /// All future values, `(n, F, O)`.
    pub fn future(&self) -> &[f32] {
        &self.future
    }

    /// Series number `index`.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such series.
    pub fn window(&self, index: usize) -> Result<Window> {
        check_index("index", index, self.len(), "series")?;
        let (p, f) = self.sizes();
        Ok(Window {
            past: self.past[index * p..][..p].to_vec(),
            future: self.future[index * f..][..f].to_vec(),
        })
    }

    /// Sets the last `validation_fraction` of the series aside: `(train, validation)`.
    ///
    /// The order of the series stays as it is, so that of a series in time the last part is set
    /// aside. Split first, then fit: a scaler or a model that has seen the validation part cannot
    /// be judged by it.
    ///
    /// # Errors
    /// [`Error::Setting`] when the fraction is outside `0..1` or leaves no series in one part.
    pub fn split(&self, validation_fraction: f64) -> Result<(Dataset, Dataset)> {
        let n = self.len();
        let validation = (n as f64 * validation_fraction).round();
        // The comparison is false for NaN too.
        if !(validation >= 1.0 && validation < n as f64) {
            return Err(Error::setting(
                "validation_fraction",
                validation_fraction,
                format!("above 0 and below 1, and leave a series of {n} in both parts"),
            ));
        }
        let train = n - validation as usize;
        Ok((self.select(0..train)?, self.select(train..n)?))
    }

    /// The series with the given indices, in that order.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such series, [`Error::Data`] when there is no index.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Result<Dataset> {
        let (p, f) = self.sizes();
        let mut selected = Self { past: Vec::new(), future: Vec::new(), ..*self };
        for index in indices {
            check_index("index", index, self.len(), "series")?;
            selected.past.extend(&self.past[index * p..][..p]);
            selected.future.extend(&self.future[index * f..][..f]);
        }
        if selected.past.is_empty() {
            return Err(Error::Data("no series was selected".into()));
        }
        Ok(selected)
    }

    /// Mini-batches of `batch_size` series in an order drawn from `seed` and `epoch`; the last one
    /// holds what is left. Every series is in exactly one batch.
    ///
    /// # Errors
    /// [`Error::Setting`] when `batch_size` is 0.
    pub fn batches(&self, batch_size: usize, seed: u64, epoch: usize) -> Result<Vec<Dataset>> {
        check_sizes([("batch_size", batch_size)])?;
        let order = self.shuffled(seed, epoch);
        order.chunks(batch_size).map(|batch| self.select(batch.iter().copied())).collect()
    }

    /// The indices of all series in the order of one epoch.
    pub(crate) fn shuffled(&self, seed: u64, epoch: usize) -> Vec<usize> {
        // Each epoch has an order of its own, the same in every run.
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut stream(seed, Stream::Order { epoch }));
        order
    }

    /// The past as a tensor `(n, P, D)`.
    pub fn past_tensor(&self) -> Sequence {
        self.past_tensor_on(&Cpu::default())
    }

    /// The future as a tensor `(n, F, O)`.
    pub fn future_tensor(&self) -> Sequence {
        self.future_tensor_on(&Cpu::default())
    }

    /// As [`Dataset::past_tensor`], of any type of number and on any device.
    #[inline(never)]
    pub fn past_tensor_on<E, D>(&self, device: &D) -> Sequence<E, D>
    where
        E: Dtype + From<f32>,
        D: TensorFromVec<E>,
    {
        let values = self.past.iter().map(|&v| v.into()).collect();
        device.tensor_from_vec(values, (self.len(), self.past_steps, self.features))
    }

    /// As [`Dataset::future_tensor`], of any type of number and on any device.
    #[inline(never)]
    pub fn future_tensor_on<E, D>(&self, device: &D) -> Sequence<E, D>
    where
        E: Dtype + From<f32>,
        D: TensorFromVec<E>,
    {
        let values = self.future.iter().map(|&v| v.into()).collect();
        device.tensor_from_vec(values, (self.len(), self.future_steps, self.targets))
    }

    /// A forecast of the future of these series from its `values`, `(n, F, O)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the values are not as many as those of the future.
    pub fn forecast(&self, values: Vec<f32>) -> Result<Forecast> {
        let (n, steps, targets) = (self.len(), self.future_steps, self.targets);
        let what = format!("the number of values (n x F x O = {n} x {steps} x {targets})");
        check_size(what, self.future.len(), values.len())?;
        Ok(self.forecast_of(values))
    }

    /// The forecast that is `value` everywhere, such as 0 for waves around 0.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let data = Dataset::new(vec![0.0], vec![1.0, 3.0], 1, 2, 1)?;
    /// assert_eq!(mse(&data.constant_forecast(0.0), &data)?, 5.0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn constant_forecast(&self, value: f32) -> Forecast {
        self.forecast_of(vec![value; self.future.len()])
    }

    /// As [`Dataset::forecast`], from values that are as many as those of the future by construction.
    pub(crate) fn forecast_of(&self, values: Vec<f32>) -> Forecast {
        Forecast::of_size(values, self.future_steps, self.targets)
    }

    /// Refuses a forecast that is not of the size of the future; `what` names it.
    pub(crate) fn check_forecast(&self, what: &str, forecast: &Forecast) -> Result<()> {
        forecast.check(what, (self.len(), self.future_steps, self.targets))
    }

    /// The same windows with other values.
    ///
    /// # Errors
    /// [`Error::Data`] when a value is not finite.
    pub(super) fn with_values(&self, past: Vec<f32>, future: Vec<f32>) -> Result<Dataset> {
        debug_assert!(past.len() == self.past.len() && future.len() == self.future.len());
        Dataset { past, future, ..*self }.finite()
    }

    /// Values in the past and in the future of one series.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.past_steps * self.features, self.future_steps * self.targets)
    }
}

impl fmt::Display for Dataset {
    /// The shapes, with the names of their axes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, p, future_steps) = (self.len(), self.past_steps, self.future_steps);
        writeln!(f, "past   ({n}, {p}, {})  (series, past steps, features)", self.features)?;
        write!(
            f,
            "future ({n}, {future_steps}, {})  (series, future steps, features)",
            self.targets
        )
    }
}

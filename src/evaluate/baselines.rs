use nalgebra::{DMatrix, SymmetricEigen};

use crate::data::Dataset;
use crate::error::{Error, Result, check_size};

/// The naive forecast: every future step is the last value of the past. `(n, F, D)`.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 2.0], vec![3.0, 4.0, 5.0], 2, 3, 1)?;
/// assert_eq!(repeat_last(&data), [2.0, 2.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn repeat_last(data: &Dataset) -> Vec<f32> {
    let d = data.features();
    let one = |past: &[f32]| past[past.len() - d..][..data.targets()].repeat(data.future_steps());
    data.past().chunks(data.past_steps() * d).flat_map(one).collect()
}

/// The drift forecast: every feature goes on along the line from its first past value to its last,
/// x(P + h) = x(P) + h (x(P) − x(1)) / (P − 1), and stays where it is when P is 1. `(n, F, D)`.
/// Source: R. J. Hyndman and G. Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition
/// 2021, section 5.2.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 5.0, 2.0], vec![0.0, 0.0], 3, 2, 1)?;
/// assert_eq!(drift(&data), [2.5, 3.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn drift(data: &Dataset) -> Vec<f32> {
    let (d, steps) = (data.features(), data.past_steps());
    let moves = (steps - 1).max(1) as f64;
    let one = |past: &[f32], step: usize, feature: usize| {
        let (first, last) = (f64::from(past[feature]), f64::from(past[past.len() - d + feature]));
        (last + (step + 1) as f64 * (last - first) / moves) as f32
    };
    forecast(data, one)
}

/// The seasonal naive forecast: every future step is the latest past value that lies a whole number
/// of seasons of `period` steps before it. `(n, F, D)`. A period of 1 is [`repeat_last`].
/// Source: R. J. Hyndman and G. Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition
/// 2021, section 5.2.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 5.0, 2.0], vec![0.0, 0.0, 0.0], 3, 3, 1)?;
/// assert_eq!(seasonal_naive(&data, 2)?, [5.0, 2.0, 5.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] when the period is 0 or longer than the past.
pub fn seasonal_naive(data: &Dataset, period: usize) -> Result<Vec<f32>> {
    let (d, steps) = (data.features(), data.past_steps());
    if !(1..=steps).contains(&period) {
        let allowed = format!("from 1 to {steps}, the past steps");
        return Err(Error::setting("period", period, allowed));
    }
    Ok(forecast(data, |past, step, feature| past[(steps - period + step % period) * d + feature]))
}

/// A forecast, `(n, F, D)`, put together from `one` value: of a past `(P, D)`, the step of the
/// future and the feature.
fn forecast(data: &Dataset, one: impl Fn(&[f32], usize, usize) -> f32) -> Vec<f32> {
    let ((past, future), k) = (data.sizes(), data.targets());
    let mut values = Vec::with_capacity(data.future().len());
    for past in data.past().chunks(past) {
        values.extend((0..future).map(|i| one(past, i / k, i % k)));
    }
    values
}

/// Linear regression of the whole future on the whole past, with an intercept, by exact least
/// squares: the best that any linear model can do on the training part.
///
/// Where several solutions fit equally well, it takes the one with the smallest weights.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = sine_cosine(SineCosine::default())?;
/// let line = LeastSquares::fit(&data)?;
/// assert!(mse(&line.predict(&data)?, &data)? < 1e-6); // a sine is linear in its own past
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeastSquares {
    /// (P·D + 1, F·D), the last row being the intercept
    weights: DMatrix<f64>,
    features: usize,
    /// F, D
    outputs: (usize, usize),
}

impl LeastSquares {
    /// Solves the normal equations on `train`.
    ///
    /// # Errors
    /// [`Error::Data`] when the values are too large to be squared and added.
    pub fn fit(train: &Dataset) -> Result<Self> {
        Self::fit_ridge(train, 0.0)
    }

    /// Ridge regression: minimises the sum of squared errors over all series plus `penalty` · Σ w²,
    /// where the intercepts are not in the sum. The larger the penalty, the smaller the weights,
    /// which helps where there are few series for many inputs; a penalty only means the same for
    /// inputs of the same scale. Source: A. E. Hoerl and R. W. Kennard, *Ridge Regression: Biased
    /// Estimation for Nonorthogonal Problems*, 1970.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let (train, validation) = noisy_two_sines(NoisyTwoSines::default())?.split(0.98)?;
    /// let error = |penalty: f64| -> Result<f64> {
    ///     mse(&LeastSquares::fit_ridge(&train, penalty)?.predict(&validation)?, &validation)
    /// };
    /// assert!(error(10.0)? < error(0.0)?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LeastSquares::fit`], and [`Error::Setting`] when the penalty is negative or not finite.
    pub fn fit_ridge(train: &Dataset, penalty: f64) -> Result<Self> {
        if !(penalty.is_finite() && penalty >= 0.0) {
            return Err(Error::setting("penalty", penalty, "finite and not below 0"));
        }
        let x = inputs(train);
        let (_, outputs) = train.sizes();
        let y = DMatrix::from_row_iterator(
            train.len(),
            outputs,
            train.future().iter().map(|&v| f64::from(v)),
        );
        let mut gram = x.tr_mul(&x);
        for i in 0..gram.nrows() - 1 {
            gram[(i, i)] += penalty;
        }
        if gram.iter().any(|v| !v.is_finite()) {
            return Err(Error::Data("the squares of its values are not finite".into()));
        }
        // The pseudo-inverse: directions of the past that never vary get no weight. A past of
        // noiseless sines lies in a few directions, so that the equations alone are singular.
        let eigen = SymmetricEigen::new(gram);
        let threshold = eigen.eigenvalues.max() * 1e-11;
        let inverse = eigen.eigenvalues.map(|v| if v > threshold { 1.0 / v } else { 0.0 });
        let v = &eigen.eigenvectors;
        let projected = v.tr_mul(&x.tr_mul(&y));
        let weights = v * DMatrix::from_diagonal(&inverse) * projected;
        let outputs = (train.future_steps(), train.targets());
        Ok(Self { weights, features: train.features(), outputs })
    }

    /// The prediction for every series of `data`, `(n, F, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` has other sizes than the data that was fitted.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<f32>> {
        let (steps, targets) = self.outputs;
        check_size("the number of future steps", steps, data.future_steps())?;
        check_size("the number of features", self.features, data.features())?;
        check_size("the number of features of the future", targets, data.targets())?;
        let past = (self.weights.nrows() - 1) / self.features;
        check_size("the number of past steps", past, data.past_steps())?;
        let y = inputs(data) * &self.weights;
        Ok(y.transpose().iter().map(|&v| v as f32).collect())
    }
}

/// The flattened past of each series with a 1 behind it for the intercept, (n, P·D + 1).
fn inputs(data: &Dataset) -> DMatrix<f64> {
    let (past, _) = data.sizes();
    DMatrix::from_fn(data.len(), past + 1, |series, i| {
        if i < past { f64::from(data.past()[series * past + i]) } else { 1.0 }
    })
}

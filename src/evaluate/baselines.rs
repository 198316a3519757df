use nalgebra::{DMatrix, DVectorViewMut, SVD};

use crate::data::Dataset;
use crate::error::{Error, Result, check_number, check_size};
use crate::forecast::Forecast;

/// The naive forecast: every future step is the last value of the past.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 2.0], vec![3.0, 4.0, 5.0], 2, 3, 1)?;
/// assert_eq!(repeat_last(&data).values(), [2.0, 2.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn repeat_last(data: &Dataset) -> Forecast {
    let d = data.features();
    forecast(data, |past, _, feature| past[past.len() - d + feature])
}

/// The drift forecast: every feature goes on along the line from its first past value to its last,
/// x(P + h) = x(P) + h (x(P) − x(1)) / (P − 1), and stays where it is when P is 1.
/// Source: R. J. Hyndman and G. Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition
/// 2021, section 5.2.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 5.0, 2.0], vec![0.0, 0.0], 3, 2, 1)?;
/// assert_eq!(drift(&data).values(), [2.5, 3.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn drift(data: &Dataset) -> Forecast {
    let (d, steps) = (data.features(), data.past_steps());
    let moves = (steps - 1).max(1) as f64;
    let one = |past: &[f32], step: usize, feature: usize| {
        let (first, last) = (f64::from(past[feature]), f64::from(past[past.len() - d + feature]));
        (last + (step + 1) as f64 * (last - first) / moves) as f32
    };
    forecast(data, one)
}

/// The seasonal naive forecast: every future step is the latest past value that lies a whole number
/// of seasons of `period` steps before it. A period of 1 is [`repeat_last`].
/// Source: R. J. Hyndman and G. Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition
/// 2021, section 5.2.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 5.0, 2.0], vec![0.0, 0.0, 0.0], 3, 3, 1)?;
/// assert_eq!(seasonal_naive(&data, 2)?.values(), [5.0, 2.0, 5.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] when the period is 0 or longer than the past.
pub fn seasonal_naive(data: &Dataset, period: usize) -> Result<Forecast> {
    let (d, steps) = (data.features(), data.past_steps());
    check_number("period", period, steps, ", the past steps")?;
    Ok(forecast(data, |past, step, feature| past[(steps - period + step % period) * d + feature]))
}

/// A forecast put together from `one` value: of a past `(P, D)`, the step of the future and the
/// feature.
fn forecast(data: &Dataset, one: impl Fn(&[f32], usize, usize) -> f32) -> Forecast {
    let ((past, future), k) = (data.sizes(), data.targets());
    let mut values = Vec::with_capacity(data.future().len());
    for past in data.past().chunks(past) {
        values.extend((0..future).map(|i| one(past, i / k, i % k)));
    }
    data.forecast_of(values)
}

/// Linear regression of the whole future on the whole past, with an intercept, by least squares: the best
/// that any linear model can do on the training part.
///
/// The inputs are standardised first (mean 0, population standard deviation 1), so that the unit of a
/// feature does not matter, and the matrix of inputs itself is decomposed: its Gram matrix would square
/// the ratio of the largest to the smallest direction. Where several solutions fit equally well, it takes
/// the one with the smallest weights of standardised inputs. Inputs that never vary get no weight.
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
    /// Of each input, `(P·D,)`; subtracted before the weights are applied.
    means: Vec<f64>,
    /// `(P·D, F·O)`
    weights: DMatrix<f64>,
    /// Of each output, `(F·O,)`.
    intercept: Vec<f64>,
    features: usize,
    /// F, O
    outputs: (usize, usize),
}

impl LeastSquares {
    /// Fits the weights to `train`.
    ///
    /// # Errors
    /// [`Error::Data`] when the decomposition does not converge.
    pub fn fit(train: &Dataset) -> Result<Self> {
        Self::fit_ridge(train, 0.0)
    }

    /// Ridge regression: minimises the sum of squared errors over all series plus `penalty` · Σ w², where w
    /// are the weights of the standardised inputs; the intercepts are not in the sum. The larger the
    /// penalty, the smaller the weights, which helps where there are few series for many inputs.
    /// Source: A. E. Hoerl and R. W. Kennard, *Ridge Regression: Biased Estimation for Nonorthogonal
    /// Problems*, 1970.
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
        let (past, future) = train.sizes();
        let (mut x, mut y) = (matrix(train.past(), past), matrix(train.future(), future));
        let (means, intercept) = (center(&mut x), center(&mut y));
        let deviations: Vec<f64> =
            x.column_iter().map(|c| c.norm() / (c.len() as f64).sqrt()).collect();
        for (mut column, &deviation) in x.column_iter_mut().zip(&deviations) {
            if deviation > 0.0 {
                column /= deviation;
            }
        }
        // x = Q R, and R = U S Vᵀ is as small as there are inputs.
        let tolerance = x.nrows().max(x.ncols()) as f64 * f64::EPSILON;
        let qr = x.qr();
        qr.q_tr_mul(&mut y);
        let r = qr.r();
        let y = y.rows(0, r.nrows());
        let none = || Error::Data("its inputs have no singular values".to_owned());
        let svd = SVD::try_new(r, true, true, f64::EPSILON, 0).ok_or_else(none)?;
        let (u, v_t) = svd.u.zip(svd.v_t).ok_or_else(none)?;
        // The pseudo-inverse: directions of the past that never vary get no weight. A past of noiseless
        // sines lies in a few directions.
        let least = svd.singular_values.max() * tolerance;
        let inverse = |s: f64| if s > least { s / (s * s + penalty) } else { 0.0 };
        let projected = DMatrix::from_diagonal(&svd.singular_values.map(inverse)) * u.tr_mul(&y);
        let mut weights = v_t.tr_mul(&projected);
        for (mut row, &deviation) in weights.row_iter_mut().zip(&deviations) {
            row *= if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
        }
        let outputs = (train.future_steps(), train.targets());
        Ok(Self { means, weights, intercept, features: train.features(), outputs })
    }

    /// The forecast for every series of `data`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` has other sizes than the data that was fitted.
    pub fn predict(&self, data: &Dataset) -> Result<Forecast> {
        let (steps, targets) = self.outputs;
        check_size("the number of future steps", steps, data.future_steps())?;
        check_size("the number of features", self.features, data.features())?;
        check_size("the number of features of the future", targets, data.targets())?;
        let past = self.means.len() / self.features;
        check_size("the number of past steps", past, data.past_steps())?;
        let mut x = matrix(data.past(), self.means.len());
        for (mut column, mean) in x.column_iter_mut().zip(&self.means) {
            column.add_scalar_mut(-mean);
        }
        let y = (x * &self.weights).transpose(); // a series after the other
        let intercepts = self.intercept.iter().cycle();
        let values = y.iter().zip(intercepts).map(|(y, intercept)| (y + intercept) as f32);
        Ok(data.forecast_of(values.collect()))
    }
}

/// Values `(n, width)` as a matrix.
fn matrix(values: &[f32], width: usize) -> DMatrix<f64> {
    DMatrix::from_row_iterator(values.len() / width, width, values.iter().map(|&v| f64::from(v)))
}

/// Subtracts the mean of each column, and returns it. What is the same in all rows becomes exactly 0.
fn center(matrix: &mut DMatrix<f64>) -> Vec<f64> {
    let center = |mut column: DVectorViewMut<'_, f64>| {
        let constant = column.iter().all(|&v| v == column[0]);
        let mean = if constant { column[0] } else { column.mean() };
        column.add_scalar_mut(-mean);
        mean
    };
    matrix.column_iter_mut().map(center).collect()
}

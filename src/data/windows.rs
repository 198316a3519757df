use super::Dataset;
use crate::error::{Error, Result, check_size};

/// Added to mean and deviation, as in the source: a constant window is not divided by zero.
const EPSILON: f32 = 1e-5;
/// Deviations that a scaled window spans: most of it then lies between -1 and 1.
const DEVIATIONS: f32 = 2.5;

/// Brings every window to the same height, by what its **past** alone tells.
///
/// For each series and feature, y = (x − (m + 1e-5)) / (2.5 · (s + 1e-5)), where m and s are the
/// mean and the (population) standard deviation of the past; the future is scaled by the same m
/// and s. Nothing is learnt across windows, so that no information leaks from one to another.
/// A window that is nearly constant has a tiny s, and its future can become very large.
/// Source: G. Chevalier, *seq2seq-signal-prediction*, `data_loading.py`.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = sine_cosine(SineCosine::default())?;
/// let (scaler, scaled) = WindowScaler::fit_transform(&data)?;
/// let back = scaler.unscale(scaled.future(), data.future_steps())?;
/// assert!((back[0] - data.future()[0]).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct WindowScaler {
    /// (n, D)
    shift: Vec<f32>,
    /// (n, D)
    scale: Vec<f32>,
    features: usize,
    targets: usize,
}

impl WindowScaler {
    /// Measures each window of `data`, and scales past and future by it.
    ///
    /// # Errors
    /// [`Error::Data`] when a scaled value is no longer finite: the numbers are close to the largest of
    /// f32, 3.4e38.
    pub fn fit_transform(data: &Dataset) -> Result<(Self, Dataset)> {
        let scaler = Self::fit(data);
        check_scale(&scaler.scale)?;
        let past = scaler.scaled(data.past(), data.past_steps(), data.features());
        let future = scaler.scaled(data.future(), data.future_steps(), data.targets());
        let scaled = data.with_values(past, future).map_err(too_large)?;
        Ok((scaler, scaled))
    }

    /// Scales values `(n, steps, D)` of the same windows in the same way: such as a prediction that was
    /// made in the unit of the data.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `values` does not hold n × `steps` × D values.
    pub fn scale(&self, values: &[f32], steps: usize) -> Result<Vec<f32>> {
        self.check(values, steps)?;
        Ok(self.scaled(values, steps, self.targets))
    }

    /// The inverse, for values `(n, steps, D)` of the same windows, such as a prediction.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `values` does not hold n × `steps` × D values.
    pub fn unscale(&self, values: &[f32], steps: usize) -> Result<Vec<f32>> {
        self.check(values, steps)?;
        Ok(self.map(values, steps, self.targets, |y, shift, scale| y * scale + shift))
    }

    fn check(&self, values: &[f32], steps: usize) -> Result<()> {
        check_values(values, self.shift.len() / self.features * self.targets, steps)
    }

    fn scaled(&self, values: &[f32], steps: usize, width: usize) -> Vec<f32> {
        self.map(values, steps, width, |x, shift, scale| (x - shift) / scale)
    }

    fn fit(data: &Dataset) -> Self {
        let (steps, features) = (data.past_steps(), data.features());
        let mut scaler = Self {
            shift: Vec::with_capacity(data.len() * features),
            scale: Vec::with_capacity(data.len() * features),
            features,
            targets: data.targets(),
        };
        for window in data.past().chunks(steps * features) {
            for feature in 0..features {
                let (mean, deviation) = moments(window, feature, features);
                scaler.shift.push(mean as f32 + EPSILON);
                scaler.scale.push(DEVIATIONS * (deviation as f32 + EPSILON));
            }
        }
        scaler
    }

    /// Of `(n, steps, width)`, whose features are the first `width` ones.
    fn map(
        &self,
        values: &[f32],
        steps: usize,
        width: usize,
        f: impl Fn(f32, f32, f32) -> f32,
    ) -> Vec<f32> {
        let one = |(i, &value): (usize, &f32)| {
            let parameter = i / (steps * width) * self.features + i % width;
            f(value, self.shift[parameter], self.scale[parameter])
        };
        values.iter().enumerate().map(one).collect()
    }
}

/// Shifts and scales a whole set alike, by the past of the set that it was fitted on.
///
/// For each feature, y = (x − m) / (2.5 · (s + 1e-4)), where m and s are the mean and the
/// (population) standard deviation of all past values. Fit it on the training part alone: the
/// source of exercise 3 measures the whole set before it splits, and so lets the validation part
/// have a say.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let (train, validation) = noisy_two_sines(NoisyTwoSines::default())?.split(0.15)?;
/// let scaler = SetScaler::fit(&train);
/// let (train, validation) = (scaler.transform(&train)?, scaler.transform(&validation)?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SetScaler {
    /// (D,)
    shift: Vec<f32>,
    /// (D,)
    scale: Vec<f32>,
    targets: usize,
}

/// Added to the deviation of a whole set, as in the source.
const SET_EPSILON: f32 = 1e-4;

impl SetScaler {
    /// Measures the past of `train`.
    pub fn fit(train: &Dataset) -> Self {
        let (shift, scale) = (0..train.features())
            .map(|feature| {
                let (mean, deviation) = moments(train.past(), feature, train.features());
                (mean as f32, DEVIATIONS * (deviation as f32 + SET_EPSILON))
            })
            .unzip();
        Self { shift, scale, targets: train.targets() }
    }

    /// Scales past and future.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `data` has another number of features, and
    /// [`Error::Data`] when a scaled value is no longer finite.
    pub fn transform(&self, data: &Dataset) -> Result<Dataset> {
        check_size("the number of features", self.shift.len(), data.features())?;
        check_scale(&self.scale)?;
        let scaled = |values: &[f32], width: usize| {
            self.map(values, width, |x, shift, scale| (x - shift) / scale)
        };
        let past = scaled(data.past(), data.features());
        data.with_values(past, scaled(data.future(), data.targets())).map_err(too_large)
    }

    /// The inverse, for values `(n, steps, D)` such as a prediction.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the number of values is not a multiple of D.
    pub fn unscale(&self, values: &[f32]) -> Result<Vec<f32>> {
        let whole = values.len() / self.targets * self.targets;
        check_size("the number of values (a multiple of the features)", whole, values.len())?;
        Ok(self.map(values, self.targets, |y, shift, scale| y * scale + shift))
    }

    /// Of `(.., width)`, whose features are the first `width` ones.
    fn map(&self, values: &[f32], width: usize, f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let parameters = self.shift.iter().zip(&self.scale).take(width).cycle();
        values.iter().zip(parameters).map(|(&v, (&shift, &scale))| f(v, shift, scale)).collect()
    }
}

/// Expresses the prices of every window by how far they are from its last known one: y = ln(x / x(P)),
/// of past and future. A forecast of zeros is then the last value, the forecast that is hardest to beat
/// for a price, and where prices double and halve, windows of different years become alike.
///
/// Prices are the features that have to be predicted; what [`Dataset::with_targets`] has made a mere
/// input is left as it is.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![50.0, 100.0], vec![200.0], 2, 1, 1)?;
/// let (scaler, scaled) = LastValueScaler::fit_transform(&data)?;
/// assert_eq!(scaled.past(), [-(2.0_f32.ln()), 0.0]);
/// assert_eq!(scaler.unscale(&[0.0], 1)?, repeat_last(&data));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LastValueScaler {
    /// (n, targets)
    last: Vec<f32>,
    targets: usize,
}

impl LastValueScaler {
    /// Reads off the last price of each window, and scales past and future by it.
    ///
    /// # Errors
    /// [`Error::Data`] when a price is not above 0.
    pub fn fit_transform(data: &Dataset) -> Result<(Self, Dataset)> {
        let (d, targets) = (data.features(), data.targets());
        let prices = |step: &[f32]| step[..targets].to_vec();
        let past = data.past().chunks(d).flat_map(prices).collect::<Vec<_>>();
        let refused = past.iter().chain(data.future()).find(|&&price| price <= 0.0);
        if let Some(price) = refused {
            return Err(Error::Data(format!("a price is {price}, but it must be above 0")));
        }
        let windows = past.chunks(data.past_steps() * targets);
        let last = windows.flat_map(|prices| &prices[prices.len() - targets..]).copied().collect();
        let scaler = Self { last, targets };

        let mut scaled = data.past().to_vec();
        let prices = scaler.map(&past, data.past_steps(), log_ratio);
        for (step, prices) in scaled.chunks_mut(d).zip(prices.chunks(targets)) {
            step[..targets].copy_from_slice(prices);
        }
        let future = scaler.map(data.future(), data.future_steps(), log_ratio);
        let scaled = data.with_values(scaled, future)?;
        Ok((scaler, scaled))
    }

    /// The inverse, for values `(n, steps, D)` of the same windows, such as a prediction.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `values` does not hold n × `steps` × D values.
    pub fn unscale(&self, values: &[f32], steps: usize) -> Result<Vec<f32>> {
        check_values(values, self.last.len(), steps)?;
        Ok(self.map(values, steps, |y, last| last * libm::expf(y)))
    }

    /// Of `(n, steps, targets)`.
    fn map(&self, values: &[f32], steps: usize, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let k = self.targets;
        let last = |i: usize| self.last[i / (steps * k) * k + i % k];
        values.iter().enumerate().map(|(i, &value)| f(value, last(i))).collect()
    }
}

/// ln(x / last), also where the quotient has no place in f32.
fn log_ratio(x: f32, last: f32) -> f32 {
    let ratio = x / last;
    if ratio.is_normal() {
        return libm::logf(ratio);
    }
    libm::log(f64::from(x) / f64::from(last)) as f32
}

/// Refuses a scale that has no place in f32: everything would be scaled to 0.
fn check_scale(scale: &[f32]) -> Result<()> {
    if scale.iter().all(|scale| scale.is_finite()) {
        return Ok(());
    }
    let reason = "the deviation of the values is above 1.3e38: give the data in a larger unit";
    Err(Error::Data(reason.to_owned()))
}

/// What to do about values that a scaler has made infinite.
fn too_large(error: Error) -> Error {
    match error {
        Error::Data(reason) => {
            Error::Data(format!("scaled, {reason}: give the data in a larger unit"))
        }
        other => other,
    }
}

/// Refuses values that are not `(n, steps, D)`; a step of all windows has `of_step` of them.
fn check_values(values: &[f32], of_step: usize, steps: usize) -> Result<()> {
    let what = format!("the number of values (n x steps x D, steps = {steps})");
    check_size(what, of_step * steps, values.len())
}

/// Mean and population standard deviation of one feature of `(.., D)`.
fn moments(values: &[f32], feature: usize, features: usize) -> (f64, f64) {
    let of_feature = || values[feature..].iter().step_by(features).map(|&v| f64::from(v));
    let count = (values.len() / features) as f64;
    let mean = of_feature().sum::<f64>() / count;
    let variance = of_feature().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

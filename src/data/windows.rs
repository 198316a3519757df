use super::Dataset;
use crate::error::{Error, Result, check_size};
use crate::forecast::Forecast;

/// Added to mean and deviation, as in the source: a constant window is not divided by zero.
const EPSILON: f32 = 1e-5;
/// Deviations that a scaled window spans: most of it then lies between -1 and 1.
const DEVIATIONS: f32 = 2.5;

/// Instance normalisation: brings every window to the same height, by its **past** alone.
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
/// let forecast = scaler.unscale(&repeat_last(&scaled))?; // in the unit of the data
/// assert!((forecast.values()[0] - repeat_last(&data).values()[0]).abs() < 1e-5);
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

    /// Scales a forecast for the same windows in the same way: one that was made in the unit of the
    /// data.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the forecast is for another number of series or
    /// targets. It may have another number of steps.
    pub fn scale(&self, forecast: &Forecast) -> Result<Forecast> {
        self.forecast(forecast, |x, shift, scale| (x - shift) / scale)
    }

    /// The inverse, for a forecast that was made from the scaled windows.
    ///
    /// # Errors
    /// As [`WindowScaler::scale`].
    pub fn unscale(&self, forecast: &Forecast) -> Result<Forecast> {
        self.forecast(forecast, |y, shift, scale| y * scale + shift)
    }

    fn forecast(&self, forecast: &Forecast, f: impl Fn(f32, f32, f32) -> f32) -> Result<Forecast> {
        let (steps, targets) = (forecast.steps(), self.targets);
        forecast.check("the forecast", (self.shift.len() / self.features, steps, targets))?;
        let values = self.map(forecast.values(), steps, targets, f);
        Ok(Forecast::of_size(values, steps, targets))
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

/// A standard scaler: shifts and scales a whole set alike, by the past of the set that it was fitted on.
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
        let scaled = |values: &[f32], width: usize| -> Vec<f32> {
            let parameters = self.shift.iter().zip(&self.scale).take(width).cycle();
            values.iter().zip(parameters).map(|(x, (shift, scale))| (x - shift) / scale).collect()
        };
        let past = scaled(data.past(), data.features());
        data.with_values(past, scaled(data.future(), data.targets())).map_err(too_large)
    }

    /// The inverse, for a forecast that was made from scaled windows.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the forecast has another number of targets.
    pub fn unscale(&self, forecast: &Forecast) -> Result<Forecast> {
        forecast.check("the forecast", (forecast.len(), forecast.steps(), self.targets))?;
        Ok(forecast.map(|_, target, y| y * self.scale[target] + self.shift[target]))
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
/// assert_eq!(scaler.unscale(&scaled.constant_forecast(0.0))?, repeat_last(&data));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LastValueScaler {
    /// (n, O)
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

    /// The inverse, for a forecast that was made from the scaled windows.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the forecast is for another number of series or
    /// targets. It may have another number of steps.
    pub fn unscale(&self, forecast: &Forecast) -> Result<Forecast> {
        let steps = forecast.steps();
        forecast.check("the forecast", (self.last.len() / self.targets, steps, self.targets))?;
        let values = self.map(forecast.values(), steps, |y, last| last * libm::expf(y));
        Ok(Forecast::of_size(values, steps, self.targets))
    }

    /// Of `(n, steps, O)`.
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

/// Mean and population standard deviation of one feature of `(.., D)`.
fn moments(values: &[f32], feature: usize, features: usize) -> (f64, f64) {
    let of_feature = || values[feature..].iter().step_by(features).map(|&v| f64::from(v));
    let count = (values.len() / features) as f64;
    let mean = of_feature().sum::<f64>() / count;
    let variance = of_feature().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

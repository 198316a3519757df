use super::Dataset;
use crate::error::{Result, check_size};

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
/// let (scaler, scaled) = WindowScaler::fit_transform(&data);
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
}

impl WindowScaler {
    /// Measures each window of `data`, and scales past and future by it.
    pub fn fit_transform(data: &Dataset) -> (Self, Dataset) {
        let scaler = Self::fit(data);
        let scaled = |values: &[f32], steps: usize| {
            scaler.map(values, steps, |x, shift, scale| (x - shift) / scale)
        };
        let past = scaled(data.past(), data.past_steps());
        let future = scaled(data.future(), data.future_steps());
        let scaled = data.with_values(past, future);
        (scaler, scaled)
    }

    /// The inverse, for values `(n, steps, D)` of the same windows, such as a prediction.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `values` does not hold n × `steps` × D values.
    pub fn unscale(&self, values: &[f32], steps: usize) -> Result<Vec<f32>> {
        check_size(
            format!("the number of values (n x steps x D, steps = {steps})"),
            self.shift.len() * steps,
            values.len(),
        )?;
        Ok(self.map(values, steps, |y, shift, scale| y * scale + shift))
    }

    fn fit(data: &Dataset) -> Self {
        let (steps, features) = (data.past_steps(), data.features());
        let mut scaler = Self {
            shift: Vec::with_capacity(data.len() * features),
            scale: Vec::with_capacity(data.len() * features),
            features,
        };
        for window in data.past().chunks(steps * features) {
            for feature in 0..features {
                let values = || window[feature..].iter().step_by(features).map(|&v| v as f64);
                let mean = values().sum::<f64>() / steps as f64;
                let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / steps as f64;
                scaler.shift.push(mean as f32 + EPSILON);
                scaler.scale.push(DEVIATIONS * (variance.sqrt() as f32 + EPSILON));
            }
        }
        scaler
    }

    fn map(&self, values: &[f32], steps: usize, f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let d = self.features;
        let one = |(i, &value): (usize, &f32)| {
            let parameter = i / (steps * d) * d + i % d;
            f(value, self.shift[parameter], self.scale[parameter])
        };
        values.iter().enumerate().map(one).collect()
    }
}

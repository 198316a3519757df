use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::forecast::Forecast;

/// Simple exponential smoothing: every future step is the level of the past, a mean in which each
/// step counts (1 − α) times as much as the one after it.
///
/// The level starts at the first past value and follows l ← l + α (x − l). With α = 1 it is the last
/// value; a small α averages over much of the past. Source: R. J. Hyndman and G. Athanasopoulos,
/// *Forecasting: Principles and Practice*, 3rd edition 2021, section 8.1.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![1.0, 5.0, 2.0], vec![0.0, 0.0], 3, 2, 1)?;
/// let smoothing = ExponentialSmoothing::new(vec![0.5])?;
/// assert_eq!(smoothing.predict(&data)?.values(), [2.5, 2.5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialSmoothing {
    /// (D,)
    alpha: Vec<f64>,
}

/// The values of α that are tried: 1 / 100 to 100 / 100.
const TRIED: usize = 100;

impl ExponentialSmoothing {
    /// Smoothing with a given α for each feature, `(D,)`.
    ///
    /// # Errors
    /// [`Error::Setting`] when an α is not above 0 and at most 1, or there is none.
    pub fn new(alpha: Vec<f64>) -> Result<Self> {
        let allowed = "above 0 and at most 1, one for each feature";
        match alpha.iter().find(|&&alpha| !(alpha > 0.0 && alpha <= 1.0)) {
            Some(value) => Err(Error::setting("alpha", value, allowed)),
            None if alpha.is_empty() => Err(Error::setting("alpha", "empty", allowed)),
            None => Ok(Self { alpha }),
        }
    }

    /// Chooses α for each feature, in steps of 0.01, such that the level predicts the next step of
    /// the past best, in squared error, over all pasts of `train`. The future is not looked at.
    pub fn fit(train: &Dataset) -> Self {
        let d = train.features();
        let size = train.past_steps() * d;
        let best = |feature: usize| {
            let error = |alpha: f64| -> f64 {
                let errors = train.past().chunks(size).flat_map(|past| {
                    levels(past, feature, d, alpha)
                        .zip(past[feature..].iter().step_by(d).skip(1))
                        .map(|(level, &next)| (f64::from(next) - level).powi(2))
                });
                errors.sum()
            };
            let tried = (1..=TRIED).map(|i| i as f64 / TRIED as f64);
            let errors = tried.map(|alpha| (alpha, error(alpha)));
            // Of equally good ones the last: a constant series is as good as its last value.
            let choose =
                |best: (f64, f64), one: (f64, f64)| if one.1 <= best.1 { one } else { best };
            errors.fold((1.0, f64::INFINITY), choose).0
        };
        Self { alpha: (0..d).map(best).collect() }
    }

    /// The smoothing factor of each feature, `(D,)`.
    pub fn alpha(&self) -> &[f64] {
        &self.alpha
    }

    /// The forecast for every series of `data`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` has another number of features.
    pub fn predict(&self, data: &Dataset) -> Result<Forecast> {
        let d = data.features();
        check_size("the number of features", self.alpha.len(), d)?;
        let mut values = Vec::with_capacity(data.future().len());
        for past in data.past().chunks(data.past_steps() * d) {
            let last = |feature| {
                let levels = levels(past, feature, d, self.alpha[feature]);
                levels.last().unwrap_or_default() as f32
            };
            let last: Vec<f32> = (0..data.targets()).map(last).collect();
            values.extend(last.repeat(data.future_steps()));
        }
        Ok(data.forecast_of(values))
    }
}

/// The level after each step of one feature of a past `(P, D)`.
fn levels(past: &[f32], feature: usize, d: usize, alpha: f64) -> impl Iterator<Item = f64> {
    let mut level = f64::from(past[feature]);
    past[feature..].iter().step_by(d).map(move |&x| {
        level += alpha * (f64::from(x) - level);
        level
    })
}

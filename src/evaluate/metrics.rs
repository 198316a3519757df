use std::fmt;

use crate::data::Dataset;
use crate::error::{Result, check_index};
use crate::forecast::Forecast;

/// Mean squared error of a forecast over all series, steps and targets.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = Dataset::new(vec![0.0], vec![1.0, 3.0], 1, 2, 1)?;
/// assert_eq!(mse(&data.forecast(vec![1.0, 1.0])?, &data)?, 2.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when `forecast` has other sizes than the future of `data`.
pub fn mse(forecast: &Forecast, data: &Dataset) -> Result<f64> {
    Ok(mean(pairs(forecast, data)?.map(squared)))
}

/// Mean squared error of one feature, over all series and steps. The source reports feature 0.
///
/// # Errors
/// As [`mse`], and [`Error::Setting`](crate::Error::Setting) when there is no such feature.
pub fn mse_of_feature(forecast: &Forecast, data: &Dataset, feature: usize) -> Result<f64> {
    let features = data.targets();
    check_index("feature", feature, features, "features")?;
    Ok(mean(pairs(forecast, data)?.skip(feature).step_by(features).map(squared)))
}

/// Mean squared error at each step of the horizon, `(F,)`: how the error grows with the distance.
///
/// # Errors
/// As [`mse`].
pub fn mse_by_step(forecast: &Forecast, data: &Dataset) -> Result<Vec<f64>> {
    let (steps, features) = (data.future_steps(), data.targets());
    by_group(forecast, data, steps, |i| i / features % steps)
}

/// Mean squared error of each target, `(O,)`.
///
/// # Errors
/// As [`mse`].
pub fn mse_by_feature(forecast: &Forecast, data: &Dataset) -> Result<Vec<f64>> {
    let features = data.targets();
    by_group(forecast, data, features, |i| i % features)
}

/// Mean squared error of each series, `(n,)`: to find the ones that are predicted badly.
///
/// # Errors
/// As [`mse`].
pub fn mse_by_series(forecast: &Forecast, data: &Dataset) -> Result<Vec<f64>> {
    let (_, size) = data.sizes();
    by_group(forecast, data, data.len(), |i| i / size)
}

/// The common errors of one forecast, over all series, steps and targets. With e the difference between
/// the forecast ŷ and the future y:
///
/// | field | formula | unit |
/// | --- | --- | --- |
/// | `mse` | mean e² | that of the data, squared |
/// | `rmse` | √(mean e²) | that of the data |
/// | `mae` | mean \|e\| | that of the data |
/// | `smape` | mean 2 \|e\| / (\|ŷ\| + \|y\|), where 0/0 counts as 0 | none, 0 to 2 |
/// | `mase` | `mae` / mean \|x(t) − x(t−1)\| over all pasts | none; below 1: better over F steps than the naive forecast over one |
///
/// sMAPE is of little use where the data passes through zero, as sines do: there it nears 2 however
/// small the error is. MASE: R. J. Hyndman and A. B. Koehler, *Another look at measures of forecast
/// accuracy*, 2006.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = noisy_waves(NoisyWaves::default())?;
/// println!("{}", Scores::of(&repeat_last(&data), &data)?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Mean squared error.
    pub mse: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Symmetric mean absolute percentage error, as a fraction.
    pub smape: f64,
    /// Mean absolute scaled error. Infinite or not a number when every past is constant or has only
    /// one step.
    pub mase: f64,
}

impl Scores {
    /// Compares `forecast` with the future of `data`.
    ///
    /// # Errors
    /// As [`mse`].
    pub fn of(forecast: &Forecast, data: &Dataset) -> Result<Self> {
        let mse = mse(forecast, data)?;
        let mae = mean(pairs(forecast, data)?.map(|(p, y)| (p - y).abs()));
        let smape = mean(pairs(forecast, data)?.map(|(p, y)| match p.abs() + y.abs() {
            0.0 => 0.0,
            size => 2.0 * (p - y).abs() / size,
        }));
        let (features, targets) = (data.features(), data.targets());
        let moves = data.past().chunks(data.past_steps() * features).flat_map(|past| {
            let next = past[features..].iter();
            let moves = past.iter().zip(next).map(|(a, b)| (f64::from(*b) - f64::from(*a)).abs());
            moves.enumerate().filter(move |(i, _)| i % features < targets).map(|(_, size)| size)
        });
        Ok(Self { mse, rmse: mse.sqrt(), mae, smape, mase: mae / mean(moves) })
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mse, rmse, mae, smape, mase } = self;
        write!(f, "MSE {mse:.6}  RMSE {rmse:.5}  MAE {mae:.5}  sMAPE {smape:.4}  MASE {mase:.4}")
    }
}

/// Predicted and true values side by side, in the order `(n, F, O)`.
fn pairs<'a>(
    forecast: &'a Forecast,
    data: &'a Dataset,
) -> Result<impl Iterator<Item = (f64, f64)> + 'a> {
    data.check_forecast("the forecast", forecast)?;
    Ok(forecast.values().iter().zip(data.future()).map(|(&p, &y)| (f64::from(p), f64::from(y))))
}

/// The mean squared error of each of `groups`; `group` tells where value number i belongs.
fn by_group(
    forecast: &Forecast,
    data: &Dataset,
    groups: usize,
    group: impl Fn(usize) -> usize,
) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; groups];
    for (i, pair) in pairs(forecast, data)?.enumerate() {
        sums[group(i)] += squared(pair);
    }
    let count = (data.future().len() / groups) as f64;
    Ok(sums.into_iter().map(|sum| sum / count).collect())
}

fn squared((prediction, truth): (f64, f64)) -> f64 {
    (prediction - truth).powi(2)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}

use super::{LeastSquares, mse};
use crate::data::Dataset;
use crate::error::{Error, Result, check_size, check_sizes};

/// How much of a known quantity can be read off `inputs`, such as the states of an encoder, by a
/// linear regression: R², the share of the variance that it explains on the last quarter of the
/// series, when it is fitted on the others. 1 is all of it; 0 (or less) is nothing.
///
/// `inputs` is `(n, K)`, row by row, and `wanted` `(n,)`; K follows from the lengths.
/// Source of the method: G. Alain and Y. Bengio, *Understanding intermediate layers using linear
/// classifier probes*, 2016.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let inputs: Vec<f32> = (0..80).map(|i| (i as f32).sin()).collect(); // (40, 2)
/// let wanted: Vec<f32> = inputs.chunks(2).map(|row| row[0] - 3.0 * row[1]).collect();
/// assert!(linear_probe(&inputs, &wanted)? > 0.999);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when the lengths do not fit, [`Error::Data`] when a value is not finite or the
/// wanted quantity is the same everywhere.
pub fn linear_probe(inputs: &[f32], wanted: &[f32]) -> Result<f64> {
    let width = inputs.len() / wanted.len().max(1);
    check_size("the number of inputs (n x K)", width * wanted.len(), inputs.len())?;
    let all = Dataset::new(inputs.to_vec(), wanted.to_vec(), width, 1, 1)?;
    let (fitted, held_out) = all.split(0.25)?;
    let mean = fitted.future().iter().sum::<f32>() / fitted.len() as f32;
    let variance = mse(&held_out.constant_forecast(mean), &held_out)?;
    if variance == 0.0 {
        return Err(Error::Data("the wanted quantity is the same everywhere".into()));
    }
    let prediction = LeastSquares::fit(&fitted)?.predict(&held_out)?;
    Ok(1.0 - mse(&prediction, &held_out)? / variance)
}

/// Pearson's correlation of two quantities, −1 to 1; 0 where one of them is the same everywhere.
///
/// # Errors
/// [`Error::Shape`] when they are not equally many.
pub fn correlation(a: &[f32], b: &[f32]) -> Result<f64> {
    check_size("the length of the second quantity", a.len(), b.len())?;
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / v.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    Ok(if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 })
}

/// The mean of y in `bands` equal bands of x, as points (middle of the band, mean), for a picture:
/// such as the error of each series by its frequency. Bands without a point are left out.
///
/// # Errors
/// [`Error::Shape`] when x and y are not equally many, [`Error::Setting`] when `bands` is 0,
/// [`Error::Data`] when there is no x or one is not finite.
pub fn mean_by_band(x: &[f32], y: &[f64], bands: usize) -> Result<Vec<(f64, f64)>> {
    check_size("the length of y", x.len(), y.len())?;
    check_sizes([("bands", bands)])?;
    if x.is_empty() || x.iter().any(|x| !x.is_finite()) {
        return Err(Error::Data("x must hold a value, and only finite ones".into()));
    }
    let x = || x.iter().map(|&x| f64::from(x));
    let low = x().fold(f64::INFINITY, f64::min);
    let width = (x().fold(low, f64::max) - low).max(f64::MIN_POSITIVE) / bands as f64;
    let mut sums = vec![(0.0, 0.0); bands];
    for (x, y) in x().zip(y) {
        let band = (((x - low) / width) as usize).min(bands - 1);
        sums[band].0 += y;
        sums[band].1 += 1.0;
    }
    let middle = |band: usize| low + (band as f64 + 0.5) * width;
    let points = sums.iter().enumerate().filter(|(_, (_, count))| *count > 0.0);
    Ok(points.map(|(band, (sum, count))| (middle(band), sum / count)).collect())
}

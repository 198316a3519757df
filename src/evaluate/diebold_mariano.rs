use std::fmt;

use crate::error::{Error, Result, check_number, check_size};

/// Whether one forecast is better than another by more than chance, judged by their losses in the
/// same windows (Diebold and Mariano's test of equal accuracy).
///
/// With d(t) the difference of the losses of window t and m their mean over n windows, the statistic
/// is k · m / √(V / n). V is the long-run variance of d: its variance plus 2 Σ (1 − j / h) times its
/// covariance at distance j, for j from 1 to h − 1, because windows that overlap err together. k =
/// √((n + 1 − 2h + h (h − 1) / n) / n) corrects for few windows, and the p-value comes from Student's
/// t distribution with n − 1 degrees of freedom. It is two-sided.
///
/// It judges these windows: a market that changes is another matter. Of several comparisons, the best
/// looks better than it is.
///
/// Sources: F. X. Diebold and R. S. Mariano, *Comparing Predictive Accuracy*, 1995; the weights: W. K.
/// Newey and K. D. West, 1987; k: D. Harvey, S. Leybourne and P. Newbold, *Testing the equality of
/// prediction mean squared errors*, 1997.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let waves = noisy_waves(NoisyWaves { series: 200, ..Default::default() })?;
/// let naive = mse_by_series(&repeat_last(&waves), &waves)?;
/// let drift = mse_by_series(&drift(&waves), &waves)?;
/// let test = DieboldMariano::test(&naive, &drift, 1)?; // series that do not overlap
/// println!("{test}");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DieboldMariano {
    /// Mean loss of the first forecast less that of the second: negative where the first is better.
    pub mean_difference: f64,
    /// The difference in units of its standard error.
    pub statistic: f64,
    /// How likely a difference at least as large is where both are equally good, 0 to 1.
    pub p_value: f64,
}

impl DieboldMariano {
    /// Compares the losses of two forecasts, `(n,)` each and in the order of time, such as those of
    /// [`mse_by_series`](super::mse_by_series). `horizon`, h, is how many windows in a row share a
    /// future step: F where windows begin one step apart, 1 where they do not overlap.
    ///
    /// # Errors
    /// [`Error::Shape`] when the losses are not equally many, [`Error::Setting`] when the horizon is 0
    /// or above half the windows, [`Error::Data`] when a loss is not finite or all differences are
    /// equal.
    pub fn test(first: &[f64], second: &[f64], horizon: usize) -> Result<Self> {
        check_size("the number of losses of the second forecast", first.len(), second.len())?;
        let n = first.len();
        check_number("horizon", horizon, n / 2, ", half the windows")?;
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        if let Some(i) = differences.iter().position(|d| !d.is_finite()) {
            let (a, b) = (first[i], second[i]);
            return Err(Error::Data(format!("the losses of window {i} are {a} and {b}")));
        }
        let (count, h) = (n as f64, horizon as f64);
        let mean = differences.iter().sum::<f64>() / count;
        let covariance = |distance: usize| {
            let pairs = differences.iter().zip(&differences[distance..]);
            pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / count
        };
        let weighted = |j: usize| 2.0 * (1.0 - j as f64 / h) * covariance(j);
        let variance = covariance(0) + (1..horizon).map(weighted).sum::<f64>();
        // Rounding alone leaves this much.
        let scale = first.iter().chain(second).map(|loss| loss * loss).sum::<f64>() / count;
        if variance <= scale * 1e-24 {
            return Err(Error::Data(
                "the losses differ by the same amount in every window: there is nothing to test"
                    .into(),
            ));
        }
        let correction = ((count + 1.0 - 2.0 * h + h * (h - 1.0) / count) / count).sqrt();
        let statistic = correction * mean / (variance / count).sqrt();
        Ok(Self { mean_difference: mean, statistic, p_value: two_sided(statistic, n - 1) })
    }
}

impl fmt::Display for DieboldMariano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean_difference, statistic, p_value } = self;
        let better = if *mean_difference < 0.0 { "first" } else { "second" };
        write!(
            f,
            "the {better} forecast has the smaller mean loss, by {:.6}; Diebold-Mariano statistic \
             {statistic:.3}, p = {p_value:.4}",
            mean_difference.abs()
        )
    }
}

/// The probability that Student's t is at least as far from 0 as `t`, by the finite sums for a whole
/// number of degrees of freedom in M. Abramowitz and I. A. Stegun, *Handbook of Mathematical
/// Functions*, 1964, 26.7.3 and 26.7.4.
fn two_sided(t: f64, freedom: usize) -> f64 {
    let angle = libm::atan(t.abs() / (freedom as f64).sqrt());
    let (sin, cos) = (libm::sin(angle), libm::cos(angle));
    let odd = freedom % 2 == 1;
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut k = if odd { 3 } else { 2 };
    while k < freedom {
        term *= cos * cos * (k - 1) as f64 / k as f64;
        sum += term;
        k += 2;
    }
    let inside = if odd { std::f64::consts::FRAC_2_PI * (angle + sin * sum) } else { sin * sum };
    (1.0 - inside).clamp(0.0, 1.0)
}

//! The signals of the workbook. A seed gives the same values on every machine: the generator is
//! ChaCha8 and the functions come from `libm`, not from the system.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::{PI, TAU};

use super::Dataset;
use crate::error::{Error, Result};

/// Settings of [`sine_cosine`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SineCosine {
    /// Number of series, n. At least 1; default 1000.
    pub series: usize,
    /// Past steps, P. At least 1; default 10.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 10.
    pub future_steps: usize,
    /// Seed of the random phases; default 42.
    pub seed: u64,
}

impl Default for SineCosine {
    fn default() -> Self {
        Self { series: 1000, past_steps: 10, future_steps: 10, seed: 42 }
    }
}

/// A sine and its cosine, from a random phase: the signal of exercise 1.
///
/// For each series r ~ U(0, 2π) and θ = r + linspace(0, 3π, P + F), both end points included; the
/// features are (sin θ, cos θ). One and a half periods, of which the first P points are the past.
/// Source: G. Chevalier, *seq2seq-signal-prediction*, exercise 1.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = sine_cosine(SineCosine { series: 5, ..Default::default() })?;
/// assert_eq!((data.len(), data.features()), (5, 2));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] when the number of series or of steps is 0.
pub fn sine_cosine(settings: SineCosine) -> Result<Dataset> {
    let SineCosine { series, past_steps, future_steps, seed } = settings;
    check_sizes(series, past_steps, future_steps)?;
    let step = 3.0 * PI / (past_steps + future_steps - 1) as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut past = Vec::with_capacity(series * past_steps * 2);
    let mut future = Vec::with_capacity(series * future_steps * 2);
    for _ in 0..series {
        let phase = rng.random::<f64>() * TAU;
        for i in 0..past_steps + future_steps {
            let angle = phase + i as f64 * step;
            let part = if i < past_steps { &mut past } else { &mut future };
            part.push(libm::sin(angle) as f32);
            part.push(libm::cos(angle) as f32);
        }
    }
    Dataset::new(past, future, past_steps, future_steps, 2)
}

/// Settings of [`two_sines`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSines {
    /// Number of series, n. At least 1; default 10 000.
    pub series: usize,
    /// Past steps, P. At least 1; default 15.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 15.
    pub future_steps: usize,
    /// Seed of all that is random; default 42.
    pub seed: u64,
}

impl Default for TwoSines {
    fn default() -> Self {
        Self { series: 10_000, past_steps: 15, future_steps: 15, seed: 42 }
    }
}

/// A sine plus a cosine, each with a phase, a frequency and a height of its own: the signal of
/// exercise 2. One feature.
///
/// a₁ sin(o₁ + x₁) + a₂ cos(o₂ + x₂), where x = linspace(0, P / 15 · 3π · f, P + F), both end
/// points included; o ~ U(0, 2π), f = (u − 0.5) / 1.5 · 15 + 0.5 with u ~ U(0, 1), so that f lies
/// between −4.5 and 5.5; a₁ ~ U(0.1, 1.1), a₂ ~ U(0, 1.2).
/// Source: G. Chevalier, *seq2seq-signal-prediction*, exercise 2.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = two_sines(TwoSines { series: 5, ..Default::default() })?;
/// assert_eq!((data.len(), data.features()), (5, 1));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] when the number of series or of steps is 0.
pub fn two_sines(settings: TwoSines) -> Result<Dataset> {
    let TwoSines { series, past_steps, future_steps, seed } = settings;
    check_sizes(series, past_steps, future_steps)?;
    let steps = past_steps + future_steps;
    let span = past_steps as f64 / 15.0 * 3.0 * PI;
    let step = span / (steps - 1) as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
    let mut past = Vec::with_capacity(series * past_steps);
    let mut future = Vec::with_capacity(series * future_steps);
    for _ in 0..series {
        let mut sine = Turning::new(uniform(0.0, TAU), step * uniform(-4.5, 5.5));
        let mut cosine = Turning::new(uniform(0.0, TAU), step * uniform(-4.5, 5.5));
        let (a_1, a_2) = (uniform(0.1, 1.1), uniform(0.0, 1.2));
        for i in 0..steps {
            let value = a_1 * sine.sin + a_2 * cosine.cos;
            sine.turn();
            cosine.turn();
            if i < past_steps { &mut past } else { &mut future }.push(value as f32);
        }
    }
    Dataset::new(past, future, past_steps, future_steps, 1)
}

/// An angle that grows by equal steps. Its sine and cosine follow by the sum formulas, four
/// multiplications a step; over the steps of a window the error stays at a few ulp of f64.
struct Turning {
    sin: f64,
    cos: f64,
    step_sin: f64,
    step_cos: f64,
}

impl Turning {
    fn new(angle: f64, step: f64) -> Self {
        Self {
            sin: libm::sin(angle),
            cos: libm::cos(angle),
            step_sin: libm::sin(step),
            step_cos: libm::cos(step),
        }
    }

    fn turn(&mut self) {
        let sin = self.sin * self.step_cos + self.cos * self.step_sin;
        self.cos = self.cos * self.step_cos - self.sin * self.step_sin;
        self.sin = sin;
    }
}

fn check_sizes(series: usize, past_steps: usize, future_steps: usize) -> Result<()> {
    for (name, value) in
        [("series", series), ("past_steps", past_steps), ("future_steps", future_steps)]
    {
        if value == 0 {
            return Err(Error::setting(name, value, "at least 1"));
        }
    }
    Ok(())
}

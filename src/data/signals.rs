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
    for (name, value) in
        [("series", series), ("past_steps", past_steps), ("future_steps", future_steps)]
    {
        if value == 0 {
            return Err(Error::setting(name, value, "at least 1"));
        }
    }
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

use std::f64::consts::{PI, TAU};

use super::{Sizes, Turning, seeded, uniform};
use crate::data::Dataset;
use crate::error::Result;

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
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn sine_cosine(settings: SineCosine) -> Result<Dataset> {
    let SineCosine { series, past_steps, future_steps, seed } = settings;
    let sizes = Sizes { series, past_steps, future_steps, features: 2 };
    let step = 3.0 * PI / (sizes.steps().max(2) - 1) as f64;
    sizes.generate(&mut seeded(seed), |rng, values| {
        let mut angle = Turning::new(uniform(rng, 0.0, TAU), step);
        for _ in 0..sizes.steps() {
            values.extend([angle.sin as f32, angle.cos as f32]);
            angle.turn();
        }
    })
}

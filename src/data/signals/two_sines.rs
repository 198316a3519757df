use rand::Rng;
use rand_distr::StandardNormal;
use std::f64::consts::{PI, TAU};

use super::{Sizes, Turning, seeded, uniform};
use crate::data::Dataset;
use crate::error::Result;
use crate::random::{Stream, stream};

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
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn two_sines(settings: TwoSines) -> Result<Dataset> {
    let TwoSines { series, past_steps, future_steps, seed } = settings;
    let sizes = Sizes { series, past_steps, future_steps, features: 1 };
    let span = past_steps as f64 / 15.0 * 3.0 * PI;
    let step = span / (sizes.steps().max(2) - 1) as f64;
    sizes.generate(&mut seeded(seed), |rng, values| {
        let mut sine = Turning::new(uniform(rng, 0.0, TAU), step * uniform(rng, -4.5, 5.5));
        let mut cosine = Turning::new(uniform(rng, 0.0, TAU), step * uniform(rng, -4.5, 5.5));
        let (a_1, a_2) = (uniform(rng, 0.1, 1.1), uniform(rng, 0.0, 1.2));
        for _ in 0..sizes.steps() {
            values.push((a_1 * sine.sin + a_2 * cosine.cos) as f32);
            sine.turn();
            cosine.turn();
        }
    })
}

/// Settings of [`noisy_two_sines`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisyTwoSines {
    /// Number of series, n. At least 1; default 10 000.
    pub series: usize,
    /// Past steps, P. At least 1; default 30.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 30.
    pub future_steps: usize,
    /// Seed of all that is random; default 42.
    pub seed: u64,
}

impl Default for NoisyTwoSines {
    fn default() -> Self {
        Self { series: 10_000, past_steps: 30, future_steps: 30, seed: 42 }
    }
}

/// [`two_sines`] whose past is noisy and whose future is clean: the signal of exercise 3, not yet
/// scaled.
///
/// To every value of the past σ · N(0, 1) is added, where σ = 0.15 u + 0.1 with u ~ U(0, 1) is drawn
/// once for all series. Both come from a random stream of their own: more series leave the noise of the
/// others as it is. The source then scales the whole set by its past; fit a
/// [`SetScaler`](crate::data::SetScaler) on the training part for that.
/// Source: G. Chevalier, *seq2seq-signal-prediction*, exercise 3.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = noisy_two_sines(NoisyTwoSines { series: 5, ..Default::default() })?;
/// assert_eq!((data.past_steps(), data.future_steps()), (30, 30));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn noisy_two_sines(settings: NoisyTwoSines) -> Result<Dataset> {
    let (noisy_past, clean) = add_noise(settings)?;
    clean.with_values(noisy_past, clean.future().to_vec())
}

/// The task of a denoising auto-encoder, on the signal of [`noisy_two_sines`]: the past is noisy, and
/// what has to be found, in place of the future, is the same past without its noise. P steps are
/// given and P are asked for; `future_steps` has no part in it.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let settings = NoisyTwoSines { series: 5, ..Default::default() };
/// let (noisy, task) = (noisy_two_sines(settings)?, denoising_two_sines(settings)?);
/// assert_eq!(noisy.past(), task.past());
/// assert_eq!(task.future_steps(), 30);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn denoising_two_sines(settings: NoisyTwoSines) -> Result<Dataset> {
    let (noisy_past, clean) = add_noise(settings)?;
    let steps = settings.past_steps;
    Dataset::new(noisy_past, clean.past().to_vec(), steps, steps, 1)
}

/// The noisy pasts, `(n, P, 1)`, and the series before the noise.
fn add_noise(settings: NoisyTwoSines) -> Result<(Vec<f32>, Dataset)> {
    let NoisyTwoSines { series, past_steps, future_steps, seed } = settings;
    let clean = two_sines(TwoSines { series, past_steps, future_steps, seed })?;
    let mut rng = stream(seed, Stream::Noise);
    let sigma = uniform(&mut rng, 0.1, 0.25);
    let mut noisy = |&value: &f32| {
        let noise: f64 = rng.sample(StandardNormal);
        (f64::from(value) + sigma * noise) as f32
    };
    Ok((clean.past().iter().map(&mut noisy).collect(), clean))
}

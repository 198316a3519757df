use super::{Sizes, Turning, seeded, uniform};
use crate::data::Dataset;
use crate::error::Result;

/// Settings of [`noisy_waves`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisyWaves {
    /// Number of series, n. At least 1; default 10 000.
    pub series: usize,
    /// Past steps, P. At least 1; default 50.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 1. The sources also predict 10.
    pub future_steps: usize,
    /// Seed of all that is random; default 42.
    pub seed: u64,
}

impl Default for NoisyWaves {
    fn default() -> Self {
        Self { series: 10_000, past_steps: 50, future_steps: 1, seed: 42 }
    }
}

/// Two waves of random frequency and offset, and noise: the signal of the chapter on recurrent
/// networks. One feature.
///
/// 0.5 sin((t − o₁)(10 f₁ + 10)) + 0.2 sin((t − o₂)(20 f₂ + 20)) + 0.1 (u − 0.5), where
/// t = linspace(0, 1, P + F), and f, o and u are U(0, 1), u anew at every step. The noise has a
/// variance of 0.1² / 12 = 0.00083, which no forecast can get below.
/// Source: A. Géron, *Hands-On Machine Learning*, chapter 15.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = noisy_waves(NoisyWaves { series: 5, ..Default::default() })?;
/// assert_eq!((data.past_steps(), data.future_steps()), (50, 1));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn noisy_waves(settings: NoisyWaves) -> Result<Dataset> {
    let NoisyWaves { series, past_steps, future_steps, seed } = settings;
    let sizes = Sizes { series, past_steps, future_steps, features: 1 };
    let step = 1.0 / (sizes.steps().max(2) - 1) as f64;
    sizes.generate(&mut seeded(seed), |rng, values| {
        let mut wave = |base: f64| {
            let frequency = base * uniform(rng, 0.0, 1.0) + base;
            Turning::new(-uniform(rng, 0.0, 1.0) * frequency, step * frequency)
        };
        let (mut slow, mut fast) = (wave(10.0), wave(20.0));
        for _ in 0..sizes.steps() {
            let noise = uniform(rng, -0.05, 0.05);
            values.push((0.5 * slow.sin + 0.2 * fast.sin + noise) as f32);
            slow.turn();
            fast.turn();
        }
    })
}

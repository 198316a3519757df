use std::f64::consts::{PI, TAU};

use super::{Sizes, Turning, seeded, uniform};
use crate::data::Dataset;
use crate::error::{Result, check_sizes};

/// Settings of [`random_sines`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomSines {
    /// Number of series, n. At least 1; default 512 · 200, an epoch of the source.
    pub series: usize,
    /// Past steps, P. At least 1; default 15.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 15.
    pub future_steps: usize,
    /// Sines in each series. At least 1; default 2.
    pub num_signals: usize,
    /// Whether each sine is shifted by an offset of its own; default false, as in the source, which
    /// draws one and forgets to add it.
    pub offset: bool,
    /// Seed of all that is random; default 1969. The source tests on 2000.
    pub seed: u64,
}

impl Default for RandomSines {
    fn default() -> Self {
        Self {
            series: 512 * 200,
            past_steps: 15,
            future_steps: 15,
            num_signals: 2,
            offset: false,
            seed: 1969,
        }
    }
}

/// A sum of sines, each with a height, a frequency and a phase of its own: the signal of the
/// encoder-decoder tutorial. One feature.
///
/// Σ A sin(f x + φ) over `num_signals`, x = k · 2π / 30 at step k; A ~ U(0.1, 1), f ~ U(0.1, 10),
/// φ ~ U(0, 2π), and with `offset` on, plus U(−0.5, 0.5) for each.
/// Source: L. Tonin, *keras-seq2seq-signal-prediction*.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = random_sines(RandomSines { series: 5, num_signals: 3, ..Default::default() })?;
/// assert_eq!((data.len(), data.features()), (5, 1));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when the number of series, of steps or of sines is 0.
pub fn random_sines(settings: RandomSines) -> Result<Dataset> {
    let RandomSines { series, past_steps, future_steps, num_signals, offset, seed } = settings;
    check_sizes([("num_signals", num_signals)])?;
    let sizes = Sizes { series, past_steps, future_steps, features: 1 };
    let step = 2.0 * PI / 30.0;
    let mut sum = vec![0.0; sizes.steps()];
    sizes.generate(&mut seeded(seed), |rng, values| {
        sum.fill(0.0);
        for _ in 0..num_signals {
            let height = uniform(rng, 0.1, 1.0);
            let frequency = uniform(rng, 0.1, 10.0);
            let mut sine = Turning::new(uniform(rng, 0.0, TAU), step * frequency);
            // Drawn in any case, so that the setting changes nothing else.
            let shift = uniform(rng, -0.5, 0.5);
            for value in &mut sum {
                *value += height * sine.sin + if offset { shift } else { 0.0 };
                sine.turn();
            }
        }
        values.extend(sum.iter().map(|&value| value as f32));
    })
}

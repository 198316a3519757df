use std::f64::consts::{PI, TAU};

use super::{Sizes, Turning, seeded, uniform};
use crate::data::Dataset;
use crate::error::Result;

/// Settings of [`known_sines`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownSines {
    /// Number of series, n. At least 1; default 4000.
    pub series: usize,
    /// Past steps, P. At least 1; default 15.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 15.
    pub future_steps: usize,
    /// Whether each sine is shifted by its offset; default false.
    pub offset: bool,
    /// Seed of all that is random; default 42.
    pub seed: u64,
}

impl Default for KnownSines {
    fn default() -> Self {
        Self { series: 4000, past_steps: 15, future_steps: 15, offset: false, seed: 42 }
    }
}

/// What a series of [`known_sines`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sine {
    /// A, 0.1 to 1.
    pub height: f32,
    /// f, 0.1 to 10: f / 30 periods a step.
    pub frequency: f32,
    /// φ at the first step of the past, 0 to 2π.
    pub first_phase: f32,
    /// φ at the last step of the past: the first one, f · (P − 1) · 2π / 30 later.
    pub last_phase: f32,
    /// −0.5 to 0.5, or 0 without offsets.
    pub offset: f32,
}

/// Single sines drawn like those of [`random_sines`](super::random_sines), with what each of them is
/// made of: to ask a network what it has understood.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let (data, sines) = known_sines(KnownSines { series: 5, ..Default::default() })?;
/// let Sine { height, first_phase, .. } = sines[3];
/// assert!((data.window(3)?.past[0] - height * first_phase.sin()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when the number of series or of steps is 0.
pub fn known_sines(settings: KnownSines) -> Result<(Dataset, Vec<Sine>)> {
    let KnownSines { series, past_steps, future_steps, offset, seed } = settings;
    let sizes = Sizes { series, past_steps, future_steps, features: 1 };
    let mut sines = Vec::with_capacity(series);
    let data = sizes.generate(&mut seeded(seed), |rng, values| {
        let (height, frequency) = (uniform(rng, 0.1, 1.0), uniform(rng, 0.1, 10.0));
        let (phase, shift) = (uniform(rng, 0.0, TAU), uniform(rng, -0.5, 0.5));
        let shift = if offset { shift } else { 0.0 };
        let step = frequency * 2.0 * PI / 30.0;
        let mut sine = Turning::new(phase, step);
        for _ in 0..sizes.steps() {
            values.push((height * sine.sin + shift) as f32);
            sine.turn();
        }
        sines.push(Sine {
            height: height as f32,
            frequency: frequency as f32,
            first_phase: phase as f32,
            last_phase: (phase + step * (past_steps - 1) as f64) as f32,
            offset: shift as f32,
        });
    })?;
    Ok((data, sines))
}

//! The signals of the workbook. A seed gives the same values on every machine: the generator is
//! ChaCha8 and the functions come from `libm`, not from the system.

mod known_sines;
mod noisy_waves;
mod random_sines;
mod sine_cosine;
mod two_sines;

pub use known_sines::{KnownSines, Sine, known_sines};
pub use noisy_waves::{NoisyWaves, noisy_waves};
pub use random_sines::{RandomSines, random_sines};
pub use sine_cosine::{SineCosine, sine_cosine};
pub use two_sines::{NoisyTwoSines, TwoSines, denoising_two_sines, noisy_two_sines, two_sines};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Dataset;
use crate::error::{Result, check_sizes};
use crate::random::{Stream, stream};

/// The sizes that all signals have.
#[derive(Clone, Copy)]
struct Sizes {
    series: usize,
    past_steps: usize,
    future_steps: usize,
    features: usize,
}

impl Sizes {
    fn steps(&self) -> usize {
        self.past_steps + self.future_steps
    }

    /// Cuts series into past and future. `one` draws a series: its (P + F) · D values, step by step.
    fn generate(
        self,
        rng: &mut ChaCha8Rng,
        mut one: impl FnMut(&mut ChaCha8Rng, &mut Vec<f32>),
    ) -> Result<Dataset> {
        let Sizes { series, past_steps, future_steps, features } = self;
        check_sizes([
            ("series", series),
            ("past_steps", past_steps),
            ("future_steps", future_steps),
        ])?;
        let mut past = Vec::with_capacity(series * past_steps * features);
        let mut future = Vec::with_capacity(series * future_steps * features);
        let mut values = Vec::with_capacity(self.steps() * features);
        for _ in 0..series {
            values.clear();
            one(rng, &mut values);
            let (known, unknown) = values.split_at(past_steps * features);
            past.extend(known);
            future.extend(unknown);
        }
        Dataset::new(past, future, past_steps, future_steps, features)
    }
}

fn seeded(seed: u64) -> ChaCha8Rng {
    stream(seed, Stream::Signal)
}

/// U(low, high).
fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
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

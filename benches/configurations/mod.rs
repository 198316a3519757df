//! The configurations that training is timed on, those of the crate's speed targets.

use seq2seq::kernels::DecoderInput::{self, RepeatLast, Zeros};
use seq2seq::kernels::level::Level;
use seq2seq::kernels::optimizer::{Optimizer, Settings};
use seq2seq::kernels::recurrent::CellKind::{self, Gru, Lstm};
use seq2seq::kernels::seq2seq::{Loss, NetworkShape, TrainStep, Windows};
#[cfg(feature = "cuda")]
use seq2seq::kernels_cuda as cuda;

/// An encoder-decoder and the batch that it is trained on. The future has the past's features and
/// as many steps.
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    pub(crate) cell: CellKind,
    pub(crate) batch: usize,
    pub(crate) steps: usize,
    pub(crate) features: usize,
    pub(crate) hidden: &'static [usize],
    pub(crate) decoder_input: DecoderInput,
}

const E1: Configuration = gru("e1", 100, 10, 2, &[12; 2], RepeatLast);
const KERAS: Configuration = gru("keras", 512, 15, 1, &[35; 2], Zeros);
const E2: Configuration = gru("e2", 50, 15, 1, &[35; 2], RepeatLast);
const E3: Configuration = gru("e3", 100, 30, 1, &[100; 2], RepeatLast);
const BTC: Configuration = gru("btc", 100, 40, 2, &[64; 2], RepeatLast);
const E2BIG: Configuration = gru("e2big", 50, 15, 1, &[500; 3], RepeatLast);

/// Of GRUs, and of LSTMs of the same sizes.
pub(crate) const CONFIGURATIONS: [Configuration; 12] = [
    E1,
    KERAS,
    E2,
    E3,
    BTC,
    E2BIG,
    lstm("e1_lstm", E1),
    lstm("keras_lstm", KERAS),
    lstm("e2_lstm", E2),
    lstm("e3_lstm", E3),
    lstm("btc_lstm", BTC),
    lstm("e2big_lstm", E2BIG),
];

const fn gru(
    name: &'static str,
    batch: usize,
    steps: usize,
    features: usize,
    hidden: &'static [usize],
    decoder_input: DecoderInput,
) -> Configuration {
    Configuration { name, cell: Gru, batch, steps, features, hidden, decoder_input }
}

const fn lstm(name: &'static str, of_grus: Configuration) -> Configuration {
    Configuration { name, cell: Lstm, ..of_grus }
}

/// Series of the data set that batches are drawn from.
pub(crate) const SERIES: usize = 1000;

const SETTINGS: Settings = Settings {
    optimizer: Optimizer::Adam,
    learning_rate: 1e-3,
    weight_decay: 1e-4,
    clip_norm: None,
};

/// Takes so many steps and returns their losses.
#[cfg(feature = "cuda")]
pub(crate) trait Steps: FnMut(usize) -> cuda::Result<Vec<f64>> {}
#[cfg(feature = "cuda")]
impl<F: FnMut(usize) -> cuda::Result<Vec<f64>>> Steps for F {}

impl Configuration {
    pub(crate) fn named(name: &str) -> Option<&'static Configuration> {
        CONFIGURATIONS.iter().find(|configuration| configuration.name == name)
    }

    pub(crate) fn shape(&self) -> NetworkShape {
        NetworkShape {
            cell: self.cell,
            features: self.features,
            outputs: self.features,
            hidden: self.hidden.to_vec(),
            decoder_input: self.decoder_input,
        }
    }

    /// A fused step after another, on other windows each time.
    pub(crate) fn trainer(&self) -> impl FnMut() -> f64 + Send + use<> {
        let (shape, weights, settings) = (self.shape(), self.weights(), SETTINGS);
        let (steps, loss) = (self.steps, Loss::HalfSum);
        let mut step = TrainStep::new(shape, weights, steps, steps, loss, settings, Level::best());
        let (past, future) = self.series();
        let (batch, mut first) = (self.batch, 0);
        move || {
            // 7 and the number of series have no common factor: every series gets its turn.
            let batch: Vec<usize> = (first..first + batch).map(|i| i * 7 % SERIES).collect();
            first += batch.len();
            step.train(Windows { past: &past, future: &future }, &batch)
        }
    }

    /// The same on a GPU: up to as many steps as there are series are in its queue at once.
    #[cfg(feature = "cuda")]
    pub(crate) fn trainer_on_gpu(&self, gpu: usize) -> cuda::Result<impl Steps> {
        let (past, future) = self.series();
        let windows = Windows { past: &past, future: &future };
        let (shape, weights, steps) = (self.shape(), self.weights(), [self.steps; 2]);
        let (batch, loss) = (self.batch, Loss::HalfSum);
        let mut step =
            cuda::TrainStep::new(gpu, &shape, &weights, windows, steps, batch, loss, SETTINGS)?;
        let order: Vec<usize> = (0..SERIES).map(|i| i * 7 % SERIES).collect();
        step.set_order(&order)?;
        Ok(move |steps: usize| {
            for i in 0..steps {
                let first = i % (SERIES / batch) * batch;
                step.queue(first..first + batch)?;
            }
            step.losses()
        })
    }

    fn weights(&self) -> Vec<f32> {
        let scale = 1.0 / (self.hidden[0] as f32).sqrt();
        wave(self.shape().num_weights()).map(|w| w * scale).collect()
    }

    /// Pasts and futures.
    fn series(&self) -> (Vec<f32>, Vec<f32>) {
        let past: Vec<f32> = wave(SERIES * self.steps * self.features).collect();
        let future = past.iter().map(|x| 0.5 * x).collect();
        (past, future)
    }

    /// Multiply-adds of a step: the forward pass and twice as many backward, less the products
    /// that are not needed. The gradient of the data is not, a zero input has no product at all,
    /// and that of a repeated input is computed once.
    pub(crate) fn multiply_adds(&self) -> f64 {
        let steps = self.steps as f64;
        let top = self.hidden[self.hidden.len() - 1];
        let gates = self.cell.gates();
        let mut sum = 3.0 * steps * (top * self.features) as f64;
        for decoder in [false, true] {
            let mut input = if decoder { top } else { self.features };
            for (l, &hidden) in self.hidden.iter().enumerate() {
                let recurrent = (gates * hidden * hidden) as f64;
                let projection = (gates * hidden * input) as f64;
                sum += 3.0 * steps * recurrent;
                sum += match (l, decoder, self.decoder_input) {
                    (0, false, _) => 2.0 * steps * projection,
                    (0, true, Zeros) => 0.0,
                    (0, true, RepeatLast) => 3.0 * projection,
                    _ => 3.0 * steps * projection,
                };
                input = hidden;
            }
        }
        sum * self.batch as f64
    }
}

/// So many numbers between −1 and 1 that do not repeat.
pub(crate) fn wave(length: usize) -> impl Iterator<Item = f32> {
    (0..length).map(|i| (i as f32 * 0.7 + (i / 97) as f32).sin())
}

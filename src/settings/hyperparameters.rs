use serde::{Deserialize, Serialize};
use std::fmt;

use super::Schedule;
use crate::Device;
use crate::error::{Error, Result, check_number, check_sizes};
use crate::kernels::optimizer::Optimizer;

/// Everything that is chosen before training. The defaults are the settings of exercise 1 in
/// G. Chevalier's notebook.
///
/// | field | default | range | what it does |
/// | --- | --- | --- | --- |
/// | `hidden_size` | 12 | 1 to 1024 | units of each recurrent layer, H |
/// | `num_layers` | 2 | 1 to 16 | recurrent layers of the encoder and of the decoder, L |
/// | `dropout` | 0.0 | 0 or more, below 1 | part of each layer's outputs that a training step drops, but the last's |
/// | `weight_decay` | 0.0003 | 0 or more | λ of the L2 penalty λ · ½ Σ w² |
/// | `learning_rate` | 0.001 | above 0, at most 1 | step size of the optimiser, its highest |
/// | `optimizer` | `Adam` | `Adam`, `RmsProp`, `Sgd`; decay and momentum 0 or more, below 1 | how the weights follow their gradient |
/// | `schedule` | `Constant` | `Constant`, `Cosine`; warm-up 0 or more, below 1 | how the learning rate changes from step to step |
/// | `clip_norm` | `None` | `None`, or above 0 | the longest gradient that is used as it is |
/// | `batch_size` | 100 | 1 or more | series per training step, B |
/// | `epochs` | 15 | 1 or more | passes over the training part, at most |
/// | `patience` | `None` | `None`, or 1 or more | epochs without a lower validation error before it ends |
/// | `max_seconds` | `None` | `None`, or above 0 | how long it trains, at most |
/// | `validation_fraction` | 0.15 | above 0, below 1 | part of the series that is set aside |
/// | `seed` | 42 | any | draws the first weights, the order of the series and what is dropped |
/// | `device` | `Cpu` | what [`Device::available`] lists | what [`fit`](crate::train::fit) computes on; on the tape, the model's weights decide |
/// | `tf32` | `false` | `true`, `false` | whether a GPU may round the factors of large networks' products |
///
/// ```
/// use seq2seq::prelude::*;
///
/// let hyperparameters = Hyperparameters { hidden_size: 20, ..Default::default() };
/// println!("{hyperparameters}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hyperparameters {
    /// Units of each recurrent layer, H.
    pub hidden_size: usize,
    /// Recurrent layers of the encoder, and of the decoder, L.
    pub num_layers: usize,
    /// Part of the outputs of each layer but the last that a training step of [`fit`](crate::train::fit) drops,
    /// as PyTorch's `dropout` of `nn.GRU`; what is left is scaled up. With one layer nothing is dropped.
    pub dropout: f64,
    /// λ of the L2 penalty λ · ½ Σ w² over all weights.
    pub weight_decay: f64,
    /// Step size of the optimiser; where a schedule changes it, the highest.
    pub learning_rate: f64,
    /// How the weights follow their gradient.
    pub optimizer: Optimizer,
    /// How the learning rate changes from step to step.
    pub schedule: Schedule,
    /// Largest length of the gradient, √(Σ g²) over all weights and without the penalty: a longer one
    /// is scaled down to it. Windows that scaling has blown up are what it is for.
    pub clip_norm: Option<f64>,
    /// Series per training step, B.
    pub batch_size: usize,
    /// Passes over the training part, at most.
    pub epochs: usize,
    /// Early stopping: the training ends after so many epochs in a row without a lower validation
    /// error, and in any case the model gets back the weights of the epoch with the lowest one. It needs a
    /// validation part.
    pub patience: Option<usize>,
    /// The training ends with the step in which so many seconds are over.
    pub max_seconds: Option<f64>,
    /// Part of the series that is set aside for validation.
    pub validation_fraction: f64,
    /// Draws the first weights, the order of the series and what is dropped. Equal seeds give equal models, bit for bit, on
    /// machines with the same instruction set: see [`Device`].
    pub seed: u64,
    /// What [`fit`](crate::train::fit) computes on. The model itself stays on the CPU.
    pub device: Device,
    /// Whether a GPU may take the factors of matrix products to 10 bits after the point (TF32), for
    /// networks that are too large for one kernel: faster, and with errors near 1e-3. Otherwise, and on the
    /// CPU, all is in full f32.
    pub tf32: bool,
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            hidden_size: 12,
            num_layers: 2,
            dropout: 0.0,
            weight_decay: 0.0003,
            learning_rate: 0.001,
            optimizer: Optimizer::Adam,
            schedule: Schedule::Constant,
            clip_norm: None,
            batch_size: 100,
            epochs: 15,
            patience: None,
            max_seconds: None,
            validation_fraction: 0.15,
            seed: 42,
            device: Device::Cpu,
            tf32: false,
        }
    }
}

impl Hyperparameters {
    /// Refuses what cannot be trained. Every training calls it before anything else.
    ///
    /// # Errors
    /// [`Error::Setting`] with the field, its value and its range; [`Error::Device`] when this machine
    /// does not have the device.
    pub fn check(&self) -> Result<()> {
        check_number("hidden_size", self.hidden_size, 1024, "")?;
        check_number("num_layers", self.num_layers, 16, "")?;
        check_sizes([("batch_size", self.batch_size), ("epochs", self.epochs)])?;
        check_part("dropout", self.dropout)?;
        match self.optimizer {
            Optimizer::Adam => {}
            Optimizer::RmsProp { decay, momentum } => {
                check_part("decay", decay)?;
                check_part("momentum", momentum)?;
            }
            Optimizer::Sgd { momentum } => check_part("momentum", momentum)?,
        }
        if let Schedule::Cosine { warmup_fraction } = self.schedule {
            check_part("warmup_fraction", warmup_fraction)?;
        }
        if self.patience == Some(0) {
            return Err(Error::setting("patience", 0, "at least 1, or None"));
        }
        let Self {
            weight_decay: decay, learning_rate: rate, validation_fraction: fraction, ..
        } = *self;
        let (norm, seconds) = (self.clip_norm.unwrap_or(1.0), self.max_seconds.unwrap_or(1.0));
        // Written so that NaN fails each of them; what is `None` stands for a number that fits.
        for (name, value, fits, allowed) in [
            ("weight_decay", decay, decay >= 0.0 && decay.is_finite(), "0 or more"),
            ("learning_rate", rate, rate > 0.0 && rate <= 1.0, "above 0 and at most 1"),
            ("clip_norm", norm, norm > 0.0 && norm.is_finite(), "above 0, or None"),
            ("max_seconds", seconds, seconds > 0.0, "above 0, or None"),
            (
                "validation_fraction",
                fraction,
                fraction > 0.0 && fraction < 1.0,
                "above 0 and below 1",
            ),
        ] {
            if !fits {
                return Err(Error::setting(name, value, allowed));
            }
        }
        self.device.check()
    }
}

/// Refuses what is not a part of something, all of it excluded.
fn check_part(name: &'static str, value: f64) -> Result<()> {
    // In f32, too, with which the kernels compute.
    if (0.0..1.0).contains(&value) && (value as f32) < 1.0 {
        return Ok(());
    }
    Err(Error::setting(name, value, "0 or more and below 1"))
}

impl fmt::Display for Hyperparameters {
    /// A line for each field, less those that are off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clip_norm = self.clip_norm.map_or("none".to_owned(), |norm| norm.to_string());
        let lines = [
            ("hidden_size", Some(self.hidden_size.to_string())),
            ("num_layers", Some(self.num_layers.to_string())),
            ("dropout", (self.dropout > 0.0).then(|| self.dropout.to_string())),
            ("weight_decay", Some(self.weight_decay.to_string())),
            ("learning_rate", Some(self.learning_rate.to_string())),
            ("optimizer", Some(self.optimizer.to_string())),
            ("schedule", Some(self.schedule.to_string())),
            ("clip_norm", Some(clip_norm)),
            ("batch_size", Some(self.batch_size.to_string())),
            ("epochs", Some(self.epochs.to_string())),
            ("patience", self.patience.map(|epochs| epochs.to_string())),
            ("max_seconds", self.max_seconds.map(|seconds| seconds.to_string())),
            ("validation_fraction", Some(self.validation_fraction.to_string())),
            ("seed", Some(self.seed.to_string())),
            ("device", (self.device != Device::Cpu).then(|| self.device.to_string())),
            ("tf32", self.tf32.then(|| "true".to_owned())),
        ];
        let lines = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let lines: Vec<String> = lines.map(|(name, value)| format!("{name:<21}{value}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

//! Sequence-to-sequence recurrent networks for time series, for a Jupyter workbook in Rust.
//!
//! Data flows one way through the modules: [`data`] makes windows from signals, [`layers`] and
//! [`model`] hold the network, [`train`] fits it, [`evaluate`] compares its [`Forecast`] with those
//! of baselines, and [`plot`] shows them. The notebooks load all of it with `use seq2seq::prelude::*;`.
//!
//! # Shape letters
//! Every signature's documentation uses the same letters:
//!
//! | letter | axis |
//! | --- | --- |
//! | B | batch: series that are computed together |
//! | T | time steps |
//! | P | past steps: what the network is shown |
//! | F | future steps: what it predicts, the horizon |
//! | D | features of the series at one step |
//! | O | targets: the features of the future, which are predicted |
//! | H | hidden size: units of a recurrent layer |
//! | L | layers |
//!
//! Tensors are batch-first, `(B, T, D)`, at every public boundary.
//!
//! # Example
//! ```
//! use seq2seq::prelude::*;
//!
//! let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
//! let data = sine_cosine(SineCosine { series: 100, ..Default::default() })?;
//! let (train, validation) = data.split(hyperparameters.validation_fraction)?;
//! let (_, train) = WindowScaler::fit_transform(&train)?;
//! let (_, validation) = WindowScaler::fit_transform(&validation)?;
//!
//! let mut model = Seq2Seq::stacked(data.features(), &hyperparameters)?;
//! let history = fit(&mut model, &train, &validation, &hyperparameters)?;
//! assert_eq!(history.epochs().len(), 2);
//! # Ok::<(), Error>(())
//! ```

pub mod data;
mod device;
mod error;
pub mod evaluate;
mod file;
mod forecast;
mod history;
#[doc(hidden)]
pub mod instances;
mod interrupt;
pub mod layers;
pub mod model;
mod notebook;
pub mod plot;
mod random;
mod settings;
pub mod train;

pub use device::Device;
pub use dfdx;
pub use error::{Error, Result};
pub use forecast::Forecast;
#[doc(hidden)]
pub use interrupt::seq2seq_new_cell;
#[cfg(feature = "polars")]
pub use polars;
pub use seq2seq_kernels as kernels;
#[cfg(feature = "cuda")]
pub use seq2seq_kernels_cuda as kernels_cuda;

use dfdx::tensor::{Cpu, NoneTape, Tensor};

/// A batch of series, `(B, T, D)`.
pub type Sequence<E = f32, D = Cpu, T = NoneTape> = Tensor<(usize, usize, usize), E, D, T>;

/// What a recurrent layer remembers of each series of a batch, `(B, H)`.
pub type State<E = f32, D = Cpu, T = NoneTape> = Tensor<(usize, usize), E, D, T>;

/// What the cells of the notebooks and the examples of this documentation use, name by name.
pub mod prelude {
    #[cfg(feature = "polars")]
    pub use crate::data::{
        BitcoinFetch, Prices, SimulatedBitcoin, TimeSplit, bitcoin_inputs, bitcoin_prices,
        describe, fetch_bitcoin, log_returns, simulated_bitcoin, trailing_volatility,
    };
    pub use crate::data::{
        Dataset, KnownSines, LastValueScaler, NoisyTwoSines, NoisyWaves, RandomSines, SetScaler,
        Sine, SineCosine, TwoSines, WindowScaler, denoising_two_sines, known_sines,
        noisy_two_sines, noisy_waves, random_sines, sine_cosine, two_sines,
    };
    pub use crate::evaluate::{
        Check, DieboldMariano, ExponentialSmoothing, Fold, LeastSquares, RollingOrigin, Scores,
        correlation, drift, linear_probe, mean_by_band, mse, mse_by_series, mse_by_step,
        mse_of_feature, repeat_last, seasonal_naive,
    };
    pub use crate::layers::{
        Attention, Cell, Dense, Dropout, Gru, Initializer, Lstm, Recurrent, SimpleRnn, reverse_time,
    };
    pub use crate::model::{
        Autoregressive, AutoregressiveSettings, DecoderInput, Feeding, Seq2Seq, load_weights,
        save_weights,
    };
    pub use crate::plot;
    pub use crate::train::{
        Descent, End, History, Hyperparameters, Optimizer, Schedule, Traced, Trainer, Training,
        fit, fit_at_every_step, fit_on_tape, fit_with, fit_with_checkpoint, predict_with, resume,
    };
    pub use crate::{Device, Error, Forecast, Result, Sequence, State};

    #[cfg(feature = "cuda")]
    pub use dfdx::tensor::Cuda;

    pub use dfdx::shapes::HasShape;
    pub use dfdx::tensor::{
        AsArray, Cpu, OnesTensor, SampleTensor, Tensor, TensorFromVec, Trace, ZerosTensor,
    };
    pub use dfdx::tensor_ops::{
        Backward, MeanTo, PermuteTo, ReshapeTo, SelectTo, SumTo, TryMatMul,
    };
}

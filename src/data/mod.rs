//! From a signal to the windows that a network learns from.
//!
//! A signal such as [`sine_cosine`] makes a [`Dataset`]; [`Dataset::split`] sets a part aside
//! **before anything is fitted**; [`WindowScaler`] brings each window to the same height, and
//! [`SetScaler`] the whole set.

#[cfg(feature = "polars")]
mod bitcoin;
mod dataset;
mod signals;
mod windows;

#[cfg(feature = "polars")]
pub use bitcoin::{
    BitcoinFetch, Gaps, Prices, SimulatedBitcoin, TimeSplit, bitcoin_inputs, bitcoin_prices,
    calendar, data_folder, days_since_halving, describe, fetch_bitcoin, log_returns, moon_phase,
    simulated_bitcoin, trailing_volatility,
};
pub use dataset::{Dataset, Window};
pub use signals::{
    KnownSines, NoisyTwoSines, NoisyWaves, RandomSines, Sine, SineCosine, TwoSines,
    denoising_two_sines, known_sines, noisy_two_sines, noisy_waves, random_sines, sine_cosine,
    two_sines,
};
pub use windows::{LastValueScaler, SetScaler, WindowScaler};

//! Daily prices of one bitcoin, in US dollars and in euros, as polars data frames.
//!
//! [`bitcoin_prices`] loads them: the real ones where they have been fetched, and otherwise the
//! simulated ones that ship; [`fetch_bitcoin`] fetches them. [`bitcoin_inputs`] adds what a day's
//! prices and its date tell, and [`TimeSplit`] cuts columns into windows on both sides of a day.

mod check;
mod describe;
mod fetch;
mod file;
mod http;
mod inputs;
mod prices;
mod simulate;
mod sources;
mod split;

pub use check::Gaps;
pub use describe::describe;
pub use fetch::{BitcoinFetch, fetch_bitcoin};
pub use file::{bitcoin_prices, data_folder};
pub use inputs::{
    bitcoin_inputs, calendar, days_since_halving, log_returns, moon_phase, trailing_volatility,
};
pub use prices::Prices;
pub use simulate::{SimulatedBitcoin, simulated_bitcoin};
pub use split::TimeSplit;

use chrono::{Days, NaiveDate};

/// The prices of one day.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Day {
    date: NaiveDate,
    usd: f64,
    eur: f64,
}

/// A price, rounded to cents.
fn cents(price: f64) -> f64 {
    (price * 100.0).round() / 100.0
}

/// The standard deviation of a sample: n − 1 stands below the sum of squares. NaN of fewer than two
/// values.
fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (count - 1.0).max(0.0)).sqrt()
}

/// Polars counts its dates in days from here.
const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();

/// The day that polars counts as `days`.
fn date(days: i32) -> Option<NaiveDate> {
    let distance = Days::new(days.unsigned_abs().into());
    if days < 0 { EPOCH.checked_sub_days(distance) } else { EPOCH.checked_add_days(distance) }
}

/// A day as it is written in the files: `2014-09-17`, and in no other way.
fn parse_date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text)
}

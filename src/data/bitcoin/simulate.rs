use chrono::NaiveDate;
use rand::Rng;
use rand_distr::StandardNormal;

use super::check::Gaps;
use super::prices::{Origin, Prices};
use super::{Day, cents};
use crate::error::{Result, check_number};
use crate::random::{Stream, stream};

const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2014, 9, 17).unwrap();
const FIRST_PRICE: f64 = 450.0;
/// Mean of a day's log-return.
const DRIFT: f64 = 0.001;
/// The logarithm of a return's variance: its mean (a deviation of 3 %), what a day keeps of the day
/// before, and the deviation of what is new.
const LOG_VARIANCE: f64 = -7.0;
const VARIANCE_MEMORY: f64 = 0.97;
const VARIANCE_NOISE: f64 = 0.2;
/// Dollars for a euro: the mean, how much of the distance to it a day makes up for, and the
/// deviation of a day's log-return. In the long run it is within 10 % of the mean in most years.
const RATE: f64 = 1.15;
const RATE_PULL: f64 = 0.005;
const RATE_NOISE: f64 = 0.004;

/// Settings of [`simulated_bitcoin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedBitcoin {
    /// Number of days, the first of which is 2014-09-17. From 1 to 10 000; default 1826, five years.
    pub days: usize,
    /// Seed of all that is random; default 42.
    pub seed: u64,
}

impl Default for SimulatedBitcoin {
    fn default() -> Self {
        Self { days: 1826, seed: 42 }
    }
}

/// **Simulated** prices in the shape of the real ones, for work without a network: no price in them
/// was ever paid.
///
/// The log-return of the dollar price is 0.001 + exp(h / 2) ε, and h, the logarithm of its variance,
/// follows h′ = −7 + 0.97 (h + 7) + 0.2 η, with ε, η ~ N(0, 1): calm and wild months, and nothing of a
/// return that could be known the day before but its size. The euro price is the dollar price over an
/// exchange rate whose logarithm is pulled to that of 1.15: x′ = x + 0.005 (ln 1.15 − x) + 0.004 ζ.
/// Both are rounded to cents. Source of the first: S. J. Taylor, *Modelling Financial Time Series*,
/// 1986 (stochastic volatility); of the second, the Ornstein-Uhlenbeck process in steps of a day.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let prices: Prices = simulated_bitcoin(SimulatedBitcoin { days: 100, seed: 7 })?;
/// assert!(prices.is_simulated());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when `days` is outside its range,
/// [`Error::Data`](crate::Error::Data) when the walk of this seed leaves what [`Prices::load`] takes for a price.
pub fn simulated_bitcoin(settings: SimulatedBitcoin) -> Result<Prices> {
    let SimulatedBitcoin { days, seed } = settings;
    check_number("days", days, 10_000, "")?;
    let mut rng = stream(seed, Stream::Signal);
    let mut normal = || -> f64 { rng.sample(StandardNormal) };
    let (mut log_price, mut log_rate) = (libm::log(FIRST_PRICE), libm::log(RATE));
    let mut log_variance = LOG_VARIANCE;
    let mut one = |date| {
        let (usd, rate) = (libm::exp(log_price), libm::exp(log_rate));
        log_variance += (VARIANCE_MEMORY - 1.0) * (log_variance - LOG_VARIANCE);
        log_variance += VARIANCE_NOISE * normal();
        log_price += DRIFT + libm::exp(log_variance / 2.0) * normal();
        log_rate += RATE_PULL * (libm::log(RATE) - log_rate) + RATE_NOISE * normal();
        Day { date, usd: cents(usd), eur: cents(usd / rate) }
    };
    let days: Vec<Day> = FIRST_DAY.iter_days().take(days).map(&mut one).collect();
    let mut prices = Prices::from_days(&days, Gaps::Refuse)?;
    let text = format!("SIMULATED prices, not real ones (seed {seed})");
    prices.origin = Some(Origin { text, simulated: true });
    Ok(prices)
}

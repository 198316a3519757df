use chrono::{Datelike, NaiveDate};
use polars::prelude::*;
use std::f64::consts::TAU;

use super::{EPOCH, Prices, date, deviation};
use crate::error::{Error, Result};

/// Mean length of a lunation, in days, and a mean new moon: 2000-01-06 14:20 UTC.
/// J. Meeus, *Astronomical Algorithms*, 2nd edition 1998, chapter 49: JDE 2451550.09766 for k = 0.
const SYNODIC_MONTH: f64 = 29.530588861;
const NEW_MOON: f64 = 2_451_550.097_66;
/// The Julian date of 1970-01-01 00:00 UTC.
const JULIAN_EPOCH: f64 = 2_440_587.5;

/// The days on which the reward of a block was halved (blocks 210 000, 420 000, 630 000, 840 000).
const HALVINGS: [(i32, u32, u32); 4] = [(2012, 11, 28), (2016, 7, 9), (2020, 5, 11), (2024, 4, 20)];

/// The prices with every input of this module beside them: for both prices [`log_returns`] and
/// [`trailing_volatility`] over 30 days, then [`calendar`], [`moon_phase`] and
/// [`days_since_halving`]. A row knows nothing of later rows.
///
/// One more column takes one line in a cell:
///
/// ```
/// use seq2seq::polars::prelude::*;
/// use seq2seq::prelude::*;
///
/// let prices: Prices = bitcoin_prices()?;
/// let mut frame: DataFrame = bitcoin_inputs(&prices)?;
/// let ratio = frame.column("usd")? / frame.column("eur")?;
/// frame.with_column(ratio?.with_name("usd_per_eur".into()))?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Frame`] when polars refuses.
pub fn bitcoin_inputs(prices: &Prices) -> Result<DataFrame> {
    let mut frame = prices.frame().clone();
    for name in ["usd", "eur"] {
        let prices = frame.column(name)?.clone();
        frame.with_column(log_returns(&prices)?)?;
        frame.with_column(trailing_volatility(&prices, 30)?)?;
    }
    let dates = frame.column("date")?.clone();
    for column in calendar(&dates)?.into_iter().chain(moon_phase(&dates)?) {
        frame.with_column(column)?;
    }
    frame.with_column(days_since_halving(&dates)?)?;
    Ok(frame)
}

/// The logarithm of each price over the one before it, in the column `NAME_log_return`. No unit; the
/// first row has none.
///
/// # Errors
/// [`Error::Data`] when the column does not hold 64-bit floats, or one of them is missing, not finite
/// or not above 0.
pub fn log_returns(prices: &Column) -> Result<Column> {
    let returns = returns(prices)?;
    let column = std::iter::once(None).chain(returns.into_iter().map(Some));
    let column: Vec<Option<f64>> = column.take(prices.len()).collect();
    Ok(Column::new(format!("{}_log_return", prices.name()).into(), column))
}

/// The standard deviation of the last `days` log-returns, the row's own included, in the column
/// `NAME_volatility_DAYS`: of a day's return, not scaled to a year, with `days` − 1 below the sum of
/// squares. The first `days` rows have none.
///
/// # Errors
/// [`Error::Setting`] when `days` is below 2, [`Error::Data`] as [`log_returns`].
pub fn trailing_volatility(prices: &Column, days: usize) -> Result<Column> {
    if days < 2 {
        return Err(Error::setting("days", days, "at least 2"));
    }
    let returns = returns(prices)?;
    let volatility = returns.windows(days).map(|returns| Some(deviation(returns)));
    let column = std::iter::repeat_n(None, days).chain(volatility);
    let column: Vec<Option<f64>> = column.take(prices.len()).collect();
    Ok(Column::new(format!("{}_volatility_{days}", prices.name()).into(), column))
}

/// Where each date stands in its week, month and year, as sine and cosine of an angle that is 0 on
/// Mondays, on the first of a month and on 1 January, and goes round once: so the last day is next
/// to the first. Six columns, `day_of_week_sin` to `day_of_year_cos`.
///
/// # Errors
/// [`Error::Data`] when the column does not hold dates, or one is missing.
pub fn calendar(dates: &Column) -> Result<Vec<Column>> {
    let dates = dates_of(dates)?;
    let week = |date: &NaiveDate| f64::from(date.weekday().num_days_from_monday()) / 7.0;
    let month = |date: &NaiveDate| f64::from(date.day0()) / f64::from(date.num_days_in_month());
    let year = |date: &NaiveDate| {
        f64::from(date.ordinal0()) / if date.leap_year() { 366.0 } else { 365.0 }
    };
    Ok([
        on_a_circle("day_of_week", dates.iter().map(week)),
        on_a_circle("day_of_month", dates.iter().map(month)),
        on_a_circle("day_of_year", dates.iter().map(year)),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// The phase of the mean moon at 12:00 UTC, as sine and cosine of an angle that is 0 at new moon and
/// π at full moon: columns `moon_sin` and `moon_cos`. True moons come up to 14 hours earlier or
/// later. Source: J. Meeus, *Astronomical Algorithms*, 2nd edition 1998, chapter 49, the linear
/// terms.
///
/// # Errors
/// [`Error::Data`] when the column does not hold dates, or one is missing.
pub fn moon_phase(dates: &Column) -> Result<Vec<Column>> {
    let phase = |date: &NaiveDate| {
        let noon = JULIAN_EPOCH + (*date - EPOCH).num_days() as f64 + 0.5;
        (noon - NEW_MOON) / SYNODIC_MONTH
    };
    Ok(on_a_circle("moon", dates_of(dates)?.iter().map(phase)).into())
}

/// Days since the reward of a block was last halved, in the column `days_since_halving`: 0 on the
/// day itself (2012-11-28, 2016-07-09, 2020-05-11, 2024-04-20). No date before the first has one. The
/// day of the next halving is not known in advance, so nothing counts down to it.
///
/// # Errors
/// [`Error::Data`] when the column does not hold dates, or one is missing.
pub fn days_since_halving(dates: &Column) -> Result<Column> {
    let halvings: Vec<_> =
        HALVINGS.iter().filter_map(|&(y, m, d)| NaiveDate::from_ymd_opt(y, m, d)).collect();
    let since = |date: &NaiveDate| {
        let last = halvings.iter().rfind(|halving| *halving <= date)?;
        Some((*date - *last).num_days() as f64)
    };
    let column: Vec<Option<f64>> = dates_of(dates)?.iter().map(since).collect();
    Ok(Column::new("days_since_halving".into(), column))
}

/// Sine and cosine of turns.
fn on_a_circle(name: &str, turns: impl Iterator<Item = f64> + Clone) -> [Column; 2] {
    let column = |name: String, of: fn(f64) -> f64| {
        Column::new(name.into(), turns.clone().map(|turn| of(TAU * turn)).collect::<Vec<_>>())
    };
    [column(format!("{name}_sin"), libm::sin), column(format!("{name}_cos"), libm::cos)]
}

/// The log-returns between the rows, one fewer than there are rows.
fn returns(prices: &Column) -> Result<Vec<f64>> {
    let values = prices.f64().map_err(|_| wrong_type(prices, "64-bit floats"))?;
    let price = |(row, value): (usize, Option<f64>)| match value {
        Some(price) if price.is_finite() && price > 0.0 => Ok(price),
        value => {
            let found = value.map_or("missing".into(), |value| value.to_string());
            let name = prices.name();
            Err(Error::Data(format!(
                "{name} in row {} is {found}, but a price must be finite and above 0",
                row + 1
            )))
        }
    };
    let prices: Vec<f64> = values.iter().enumerate().map(price).collect::<Result<_>>()?;
    Ok(prices.windows(2).map(|pair| libm::log(pair[1] / pair[0])).collect())
}

fn dates_of(column: &Column) -> Result<Vec<NaiveDate>> {
    let dates = column.date().map_err(|_| wrong_type(column, "dates"))?;
    let one = |(row, days): (usize, Option<i32>)| {
        days.and_then(date)
            .ok_or_else(|| Error::Data(format!("{} in row {} is missing", column.name(), row + 1)))
    };
    dates.phys.iter().enumerate().map(one).collect()
}

fn wrong_type(column: &Column, wanted: &str) -> Error {
    let (name, found) = (column.name(), column.dtype());
    Error::Data(format!("column {name} holds {found:?}, but {wanted} are needed"))
}

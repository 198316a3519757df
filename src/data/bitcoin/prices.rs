use polars::prelude::*;
use std::fmt;
use std::path::Path;

use super::check::{Gaps, check};
use super::{Day, EPOCH, date, file};
use crate::error::{Error, Result};
use crate::file::Beside;

/// Daily prices of one bitcoin in a data frame that has been checked: columns `date` (Date), `usd`
/// and `eur` (Float64, the price at the end of the day, UTC), one row for each day from the first
/// to the last.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let prices: Prices = simulated_bitcoin(SimulatedBitcoin::default())?;
/// println!("{prices}\n{}", prices.frame().head(Some(3)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    frame: DataFrame,
    pub(super) warnings: Vec<String>,
    pub(super) origin: Option<Origin>,
}

/// Where prices come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    pub(super) text: String,
    pub(super) simulated: bool,
}

impl Prices {
    /// Loads and checks a file that ends in `.csv` or `.parquet`, with columns `date` (in a CSV
    /// file as 2014-09-17), `usd` and `eur`. Other columns are left out.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be read, and
    /// [`Error::Prices`](crate::Error::Prices) with the line of the file (for Parquet the row,
    /// from 1) and the value when a column is missing or of another type, a date is there twice, out of
    /// order or missing, a price is not finite and positive, usd / eur is not from 0.9 to 1.6, or both
    /// prices are equal on five days in a row.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, Gaps::Refuse)
    }

    /// As [`Prices::load`], with a say about missing days.
    ///
    /// # Errors
    /// As [`Prices::load`].
    pub fn load_with(path: impl AsRef<Path>, gaps: Gaps) -> Result<Self> {
        let path = path.as_ref();
        let (rows, place) = file::read(path)?;
        Self::checked(&rows, place, gaps).map_err(|reason| Error::prices(path, reason))
    }

    /// Checks a data frame with the columns `date` (Date), `usd` and `eur` (Float64) in the same way.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for the reasons of [`Prices::load`], with rows counted from 1.
    pub fn from_frame(frame: &DataFrame, gaps: Gaps) -> Result<Self> {
        rows(frame).and_then(|rows| Self::checked(&rows, file::row, gaps)).map_err(Error::Data)
    }

    /// Checks days that were computed or fetched, which have no row but their date.
    pub(super) fn from_days(days: &[Day], gaps: Gaps) -> Result<Self> {
        Self::checked(days, |row| format!("day {}", row + 1), gaps).map_err(Error::Data)
    }

    fn checked(rows: &[Day], place: file::Place, gaps: Gaps) -> Result<Self, String> {
        let (days, warnings) = check(rows, place, gaps)?;
        let dates: Vec<i32> = days.iter().map(|day| (day.date - EPOCH).num_days() as i32).collect();
        let column = |name: &str, of: fn(&Day) -> f64| {
            Column::new(name.into(), days.iter().map(of).collect::<Vec<_>>())
        };
        let dates = Int32Chunked::from_vec("date".into(), dates).into_date().into_column();
        let columns = vec![dates, column("usd", |day| day.usd), column("eur", |day| day.eur)];
        let frame = DataFrame::new(days.len(), columns).map_err(file::polars)?;
        Ok(Self { frame, warnings, origin: None })
    }

    /// The data frame. In a cell its type has to be named: `let frame: &DataFrame = prices.frame();`
    pub fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// What was noticed but is no error: a price that moved by more than half in one day, and days
    /// that were filled in.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether these are known to be simulated prices.
    pub fn is_simulated(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.simulated)
    }

    /// Writes a file that ends in `.csv` or `.parquet`. A file that is there is replaced only once the new
    /// one is complete.
    ///
    /// # Errors
    /// [`Error::Prices`](crate::Error::Prices) when the name has another ending,
    /// [`Error::Io`](crate::Error::Io) when the file system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.beside(path.as_ref())?.replace().map_err(|error| Error::io(path.as_ref(), error))
    }

    /// Writes such a file beside its place.
    pub(super) fn beside(&self, path: &Path) -> Result<Beside> {
        let content = file::content(&self.frame, path).map_err(|e| Error::prices(path, e))?;
        Beside::write(path, &content).map_err(|e| Error::io(path, e))
    }

    /// The days, for what is computed from them.
    pub(super) fn days(&self) -> Vec<Day> {
        rows(&self.frame).unwrap_or_default()
    }
}

impl fmt::Display for Prices {
    /// Where they come from, how many days, from when to when, and the warnings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            writeln!(f, "{}", origin.text)?;
        }
        let days = self.days();
        if let [first, .., last] | [first @ last] = &days[..] {
            let usd = || days.iter().map(|day| day.usd);
            let (low, high) =
                (usd().fold(f64::INFINITY, f64::min), usd().fold(f64::NEG_INFINITY, f64::max));
            let (n, first, last) = (days.len(), first.date, last.date);
            write!(f, "{n} days, {first} to {last}, {low} to {high} USD")?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

/// The rows of a frame with typed columns.
pub(super) fn rows(frame: &DataFrame) -> Result<Vec<Day>, String> {
    let typed = |name: &str, wanted: DataType| {
        let column = file::column(frame, name)?;
        if *column.dtype() == wanted {
            return Ok(column);
        }
        let found = column.dtype();
        Err(format!("column {name} is {found:?}, but it must be {wanted:?}"))
    };
    let dates = typed("date", DataType::Date)?.date().map_err(file::polars)?;
    let price = |name| typed(name, DataType::Float64)?.f64().map_err(file::polars);
    let (usd, eur) = (price("usd")?, price("eur")?);
    let one = |row: usize| {
        let empty = |name: &str| format!("row {}: there is no {name}", row + 1);
        Ok(Day {
            date: dates.phys.get(row).and_then(date).ok_or_else(|| empty("date"))?,
            usd: usd.get(row).ok_or_else(|| empty("usd"))?,
            eur: eur.get(row).ok_or_else(|| empty("eur"))?,
        })
    };
    (0..frame.height()).map(one).collect()
}

use polars::prelude::*;
use std::ops::Range;

use crate::data::Dataset;
use crate::error::{Error, Result};

/// How columns of daily values are cut into windows to train on and later windows to test on.
///
/// ```text
/// train: past | future      gap      test: past | future
/// -------------------------|.....|-------------------------> time
/// ```
///
/// ```
/// use seq2seq::prelude::*;
///
/// let prices: Prices = bitcoin_prices()?;
/// let (train, test) = TimeSplit::default().windows(prices.frame(), &["usd", "eur"])?;
/// assert_eq!((test.past_steps(), test.future_steps(), test.features()), (40, 40, 2));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeSplit {
    /// Past steps, P. At least 1; default 40.
    pub past_steps: usize,
    /// Future steps, F. At least 1; default 40.
    pub future_steps: usize,
    /// The share of the days that is tested on: the last ones. Above 0 and below 1; default 0.2.
    pub test_fraction: f64,
    /// Days before the tested ones that no window holds; default 0. No day is in windows of both
    /// parts without it, but an input such as a trailing volatility carries days on: a gap as long as
    /// it looks back takes them out.
    pub gap: usize,
}

impl Default for TimeSplit {
    fn default() -> Self {
        Self { past_steps: 40, future_steps: 40, test_fraction: 0.2, gap: 0 }
    }
}

impl TimeSplit {
    /// The rows to train on and the rows to test on, of `rows` rows in the order of time.
    ///
    /// # Errors
    /// [`Error::Setting`] when the fraction is outside its range, or one of the parts is shorter
    /// than a window.
    pub fn parts(&self, rows: usize) -> Result<(Range<usize>, Range<usize>)> {
        let Self { past_steps, future_steps, test_fraction, gap } = *self;
        if !(test_fraction > 0.0 && test_fraction < 1.0) {
            return Err(Error::setting("test_fraction", test_fraction, "above 0 and below 1"));
        }
        let window = past_steps.saturating_add(future_steps);
        let start = rows - (rows as f64 * test_fraction).round() as usize;
        let train = start.saturating_sub(gap);
        if window > train.min(rows - start) {
            return Err(Error::setting(
                "past_steps + future_steps",
                window,
                format!(
                    "at most {}: of {rows} complete days, {train} are left to train on and {} to \
                     test on",
                    train.min(rows - start),
                    rows - start
                ),
            ));
        }
        Ok((0..train, start..rows))
    }

    /// Windows of the named columns, which become the features in that order: those to train on, and
    /// those to test on. Rows at the start in which one of them has no value yet are left out before
    /// the days are shared out.
    ///
    /// # Errors
    /// [`Error::Setting`] as [`TimeSplit::parts`] and when no column is named; [`Error::Data`] when
    /// there is no such column, or a value is not a number, not finite, or missing after the first
    /// rows.
    pub fn windows(&self, frame: &DataFrame, columns: &[&str]) -> Result<(Dataset, Dataset)> {
        let (values, rows) = values_of(frame, columns)?;
        let (train, test) = self.parts(rows)?;
        let cut = |part: Range<usize>| {
            let d = columns.len();
            let values = &values[part.start * d..part.end * d];
            Dataset::windows(values, self.past_steps, self.future_steps, d)
        };
        Ok((cut(train)?, cut(test)?))
    }

    /// All windows of the named columns, without a split: for rows that lie on one side of it already,
    /// such as the parts of a [`Fold`](crate::evaluate::Fold).
    ///
    /// # Errors
    /// [`Error::Data`] as [`TimeSplit::windows`], and when there are fewer rows than a window has.
    pub fn all_windows(&self, frame: &DataFrame, columns: &[&str]) -> Result<Dataset> {
        let (values, _) = values_of(frame, columns)?;
        Dataset::windows(&values, self.past_steps, self.future_steps, columns.len())
    }
}

/// Columns side by side, `(T, D)`, from the first row on in which all have a value, and T.
fn values_of(frame: &DataFrame, names: &[&str]) -> Result<(Vec<f32>, usize)> {
    if names.is_empty() {
        return Err(Error::setting("columns", "empty", "the name of one column or more"));
    }
    let one = |name: &&str| -> Result<Vec<Option<f64>>> {
        let column = frame.column(name).map_err(|_| {
            let found = frame.get_column_names();
            Error::Data(format!("there is no column {name:?}; the columns are {found:?}"))
        })?;
        if !column.dtype().is_primitive_numeric() {
            let found = column.dtype();
            return Err(Error::Data(format!("column {name} holds {found:?}, and no numbers")));
        }
        Ok(column.cast(&DataType::Float64)?.f64()?.iter().collect())
    };
    let columns: Vec<_> = names.iter().map(one).collect::<Result<_>>()?;
    let first = columns
        .iter()
        .map(|column| column.iter().position(Option::is_some).unwrap_or(frame.height()))
        .max()
        .unwrap_or(0);
    let mut values = Vec::with_capacity((frame.height() - first) * names.len());
    for row in first..frame.height() {
        for (name, column) in names.iter().zip(&columns) {
            match column[row] {
                Some(value) if (value as f32).is_finite() => values.push(value as f32),
                found => {
                    let found = found.map_or("missing".into(), |value| value.to_string());
                    let row = row + 1;
                    return Err(Error::Data(format!(
                        "{name} in row {row} is {found}, but it must be a finite number"
                    )));
                }
            }
        }
    }
    Ok((values, frame.height() - first))
}

use polars::prelude::*;

use super::deviation;
use crate::error::Result;

/// What the numbers of each column are like: how many there are, mean and standard deviation (n − 1
/// below the sum of squares), the smallest, the quartiles (interpolated) and the largest. Columns
/// without numbers are left out.
///
/// ```
/// use seq2seq::polars::prelude::*;
/// use seq2seq::prelude::*;
///
/// let prices: Prices = bitcoin_prices()?;
/// let table: DataFrame = describe(prices.frame())?;
/// assert_eq!(table.get_column_names(), ["statistic", "usd", "eur"]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Frame`](crate::Error::Frame) when polars refuses.
pub fn describe(frame: &DataFrame) -> Result<DataFrame> {
    let names = ["count", "mean", "std", "min", "25%", "50%", "75%", "max"];
    let mut columns = vec![Column::new("statistic".into(), names)];
    for column in frame.columns().iter().filter(|c| c.dtype().is_primitive_numeric()) {
        let numbers = column.cast(&DataType::Float64)?;
        let mut values: Vec<f64> = numbers.f64()?.iter().flatten().collect();
        values.sort_by(f64::total_cmp);
        columns.push(Column::new(column.name().clone(), statistics(&values)));
    }
    Ok(DataFrame::new(names.len(), columns)?)
}

/// The statistics of numbers in their order, NaN where there are too few.
fn statistics(values: &[f64]) -> [f64; 8] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let quantile = |q: f64| {
        let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
        let at = q * last as f64;
        let (below, above) = (values[at as usize], values[(at.ceil() as usize).min(last)]);
        below + (above - below) * at.fract()
    };
    let [min, lower, median, upper, max] = [0.0, 0.25, 0.5, 0.75, 1.0].map(quantile);
    [count, mean, deviation(values), min, lower, median, upper, max]
}

//! Words for what a picture shows, from its data.

use super::style::trimmed;

/// Lines, panels or labels that a description names one by one.
const NAMED: usize = 8;

/// A number as it is read out: three digits that count.
pub(super) fn brief(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    let magnitude = value.abs().log10().floor();
    if !(-6.0..15.0).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    trimmed(value, (2.0 - magnitude).max(0.0) as usize)
}

/// How a quantity changes from its first value to its last.
pub(super) fn change(first: f64, last: f64) -> String {
    let (from, to) = (brief(first), brief(last));
    match () {
        () if from == to => format!("stays at {from}"),
        () if last < first => format!("falls from {from} to {to}"),
        () if last > first => format!("rises from {from} to {to}"),
        () => format!("goes from {from} to {to}"),
    }
}

/// A range: both ends, or the one value in it.
pub(super) fn range(low: f64, high: f64) -> String {
    let (low, high) = (brief(low), brief(high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// The smallest and the largest of the finite `values`.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |extent, value| {
        let (low, high) = extent.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// The items side by side, of many the first ones and how many more there are.
pub(super) fn list(items: &[String], separator: &str) -> String {
    let named = items[..items.len().min(NAMED)].join(separator);
    match items.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}{separator}and {more} more"),
    }
}

/// `count` things, one of which is a `name`.
pub(super) fn count(count: usize, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.18, 0.0036, 0.176_999, -12.346, 123_456.0, 1.0, 1e-9, f64::NAN];
        let words = ["0", "0.18", "0.0036", "0.177", "-12.3", "123456", "1", "1.00e-9", "NaN"];
        assert_eq!(numbers.map(brief), words.map(str::to_owned));
    }

    #[test]
    fn changes_have_a_direction() {
        assert_eq!(change(0.5, 0.25), "falls from 0.5 to 0.25");
        assert_eq!(change(0.25, 0.5), "rises from 0.25 to 0.5");
        assert_eq!(change(0.250_000_1, 0.25), "stays at 0.25");
        assert_eq!(change(0.5, f64::NAN), "goes from 0.5 to NaN");
    }

    #[test]
    fn long_lists_are_cut() {
        let items: Vec<_> = (0..10).map(|item| item.to_string()).collect();
        assert_eq!(list(&items[..2], ", "), "0, 1");
        assert_eq!(list(&items, ", "), "0, 1, 2, 3, 4, 5, 6, 7, and 2 more");
    }
}

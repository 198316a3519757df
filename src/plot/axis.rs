//! Axes with ticks of our own. Those of plotters search for ever where the range is too small or too large
//! for their steps.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};

use super::describe::brief;
use super::style::{number, trimmed};
use crate::error::{Error, Result};

/// The largest number that can be drawn: differences and ratios of smaller ones stay finite.
const LARGEST: f64 = 1e100;

/// The smallest number that can be drawn on a logarithmic axis.
const SMALLEST: f64 = 1.0 / LARGEST;

/// Refuses a number that no linear axis has a place for; `what` names it.
pub(super) fn check(value: f64, what: impl FnOnce() -> String) -> Result<()> {
    check_within(-LARGEST..=LARGEST, "a linear", value, what)
}

/// Refuses a number that no logarithmic axis has a place for; `what` names it.
pub(super) fn check_log(value: f64, what: impl FnOnce() -> String) -> Result<()> {
    check_within(SMALLEST..=LARGEST, "a logarithmic", value, what)
}

fn check_within(
    range: RangeInclusive<f64>,
    kind: &str,
    value: f64,
    what: impl FnOnce() -> String,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (what, value) = (what(), brief(value));
    let (low, high) = (range.start(), range.end());
    Err(Error::Data(format!(
        "{what} is {value}, but {kind} axis shows numbers from {low:e} to {high:e}"
    )))
}

/// Characters that there is room for beside an axis.
const ROOM: usize = 10;

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    /// A linear axis on which only whole numbers mean something, such as steps.
    Whole,
    Logarithmic,
}

/// The axis of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    /// How many ticks there is room for.
    room: usize,
}

impl Axis {
    /// From `low` to `high`, with about `room` ticks. Where both are closer than f64 tells numbers apart,
    /// the axis is longer.
    pub(super) fn linear((low, high): (f64, f64), room: usize) -> Self {
        let least = low.abs().max(high.abs()).max(1e-200) * 1e-12;
        let more = ((least - (high - low)) / 2.0).max(0.0);
        Self { kind: Kind::Linear, low: low - more, high: high + more, room: room.max(1) }
    }

    /// As [`Axis::linear`], with ticks at whole numbers only.
    pub(super) fn whole(range: (f64, f64), room: usize) -> Self {
        Self { kind: Kind::Whole, ..Self::linear(range, room) }
    }

    /// A logarithmic axis that holds all positive ones of `values`, with a little space on both sides. It has
    /// ticks on any range, also on one without a power of ten.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>, room: usize) -> Self {
        let mut drawn = values.filter(|v| (SMALLEST..=LARGEST).contains(v));
        let first = drawn.next().unwrap_or(1.0);
        let (low, high) = drawn.fold((first, first), |(l, h), v| (l.min(v), h.max(v)));
        let space = (high / low).powf(0.05).max(1.02);
        Self { kind: Kind::Logarithmic, low: low / space, high: high * space, room: room.max(1) }
    }

    /// Where the axis has ticks, from the lowest up.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Linear | Kind::Whole => self.steps(self.room),
            Kind::Logarithmic => {
                let choices: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
                let mut ticks = choices.into_iter().map(|mantissas| self.multiples(mantissas));
                match ticks.find(|ticks| ticks.len() <= self.room) {
                    // So short that it is nearly linear.
                    Some(ticks) if ticks.len() < 3 => self.steps(5),
                    Some(ticks) => ticks,
                    None => {
                        let powers = self.multiples(&[1.0]);
                        let every = powers.len().div_ceil(self.room);
                        powers.into_iter().step_by(every).collect()
                    }
                }
            }
        }
    }

    /// At most about `count` ticks at equal steps of 1, 2 or 5 times a power of ten.
    fn steps(&self, count: usize) -> Vec<f64> {
        let width = (self.high - self.low) / count as f64;
        let decade = 10_f64.powf(width.log10().floor());
        let round = [1.0, 2.0, 5.0].into_iter().find(|&step| step * decade >= width);
        let mut step = round.unwrap_or(10.0) * decade;
        if self.kind == Kind::Whole {
            step = step.max(1.0);
        }
        let first = (self.low / step).ceil();
        let ticks = (0..=2 * count).map(|i| (first + i as f64) * step);
        ticks.take_while(|&tick| tick <= self.high).collect()
    }

    /// The numbers within the axis that are one of `mantissas` times a power of ten.
    fn multiples(&self, mantissas: &[f64]) -> Vec<f64> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().floor() as i32;
        let all = decades.flat_map(|d| mantissas.iter().map(move |m| m * 10_f64.powi(d)));
        all.filter(|tick| (self.low..self.high).contains(tick)).collect()
    }

    /// Writes a tick: short, and with so many digits that no two ticks read alike.
    pub(super) fn label(&self) -> impl Fn(&f64) -> String + use<> {
        let (kind, ticks) = (self.kind, self.ticks());
        let plain = move |value: f64| {
            let text = match kind {
                Kind::Linear | Kind::Whole => number(value),
                // Three digits that count.
                Kind::Logarithmic => {
                    trimmed(value, (2.0 - value.log10().floor()).max(0.0) as usize)
                }
            };
            if text.len() <= ROOM { text } else { scientific(value, 0) }
        };
        let apart = |write: &dyn Fn(f64) -> String| {
            ticks.iter().map(|&tick| write(tick)).collect::<HashSet<_>>().len() == ticks.len()
        };
        let digits = (!apart(&plain)).then(|| {
            (1..16).find(|&digits| apart(&|value| scientific(value, digits))).unwrap_or(16)
        });
        move |value| digits.map_or_else(|| plain(*value), |digits| scientific(*value, digits))
    }
}

/// `1.25e-9`.
fn scientific(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{value:.digits$e}")
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        // What is off the axis, as zero is on a logarithmic one, is drawn at its edge.
        let value = value.clamp(self.low, self.high);
        let part = match self.kind {
            Kind::Linear | Kind::Whole => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_axis_has_two_ticks_that_read_alike_or_none_at_all() {
        let linear = [
            (0.5, 2.5),
            (0.0, 1e-45),
            (1e16, 1e16 + 2.0),
            (-1e16 - 2.0, -1e16),
            (-1e100, 1e100),
            (1.000_001, 1.000_002),
            (3.0, 3.0),
            (0.0, 0.0),
            (1e-200, 2e-200),
            (123_456_789.0, 123_456_790.0),
        ];
        let logarithmic = [(1e-99, 1e99), (1.0, 1.0), (100_000.0, 100_001.0), (1e-50, 2e-50)];
        let axes = (1..=16).flat_map(|room| {
            let linear = linear.map(|range| Axis::linear(range, room));
            let whole = [(0.5, 2.5), (0.5, 5.5), (0.5, 1e6), (0.5, 1.5)];
            let whole = whole.map(|range| Axis::whole(range, room));
            let logarithmic =
                logarithmic.map(|(low, high)| Axis::logarithmic([low, high].into_iter(), room));
            [&linear[..], &whole, &logarithmic].concat()
        });
        for axis in axes {
            let (ticks, label) = (axis.ticks(), axis.label());
            assert!(
                (1..=3 * axis.room + 4).contains(&ticks.len()) || axis.room < 3,
                "{axis:?}: {ticks:?}"
            );
            let labels: Vec<String> = ticks.iter().map(label).collect();
            let distinct: HashSet<&String> = labels.iter().collect();
            assert_eq!(distinct.len(), labels.len(), "{axis:?}: {labels:?}");
            assert!(
                ticks.iter().all(|tick| (axis.low..=axis.high).contains(tick)),
                "{axis:?}: {ticks:?}"
            );
            if axis.kind == Kind::Whole {
                assert!(ticks.iter().all(|tick| tick.fract() == 0.0), "{axis:?}: {ticks:?}");
            }
        }
    }

    #[test]
    fn what_is_off_an_axis_is_drawn_at_its_edge() {
        for axis in [Axis::linear((1.0, 2.0), 5), Axis::logarithmic([1.0, 2.0].into_iter(), 5)] {
            for (value, expected) in
                [(f64::NEG_INFINITY, 100), (0.0, 100), (1e308, 900), (f64::INFINITY, 900)]
            {
                assert_eq!(axis.map(&value, (100, 900)), expected);
            }
        }
    }
}

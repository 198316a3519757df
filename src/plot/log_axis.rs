use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

use super::style::trimmed;

/// A logarithmic axis over positive numbers. Unlike plotters' own, it has ticks on any range, also on
/// one without a power of ten.
pub(super) struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    /// An axis that holds all positive ones of `values`, with a little room on both sides.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let mut positive = values.filter(|&v| v > 0.0 && v.is_finite());
        let first = positive.next().unwrap_or(1.0);
        let (low, high) = positive.fold((first, first), |(l, h), v| (l.min(v), h.max(v)));
        let room = (high / low).powf(0.05).max(1.02);
        Self { low: low / room, high: high * room }
    }

    /// A tick: three digits that count, without the zeros that end them.
    pub(super) fn label(value: &f64) -> String {
        let decimals = (2.0 - value.log10().floor()).max(0.0) as usize;
        trimmed(*value, decimals)
    }

    /// The numbers within the axis that are one of `mantissas` times a power of ten.
    fn multiples(&self, mantissas: &[f64]) -> Vec<f64> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().floor() as i32;
        let all = decades.flat_map(|d| mantissas.iter().map(move |m| m * 10_f64.powi(d)));
        all.filter(|tick| (self.low..self.high).contains(tick)).collect()
    }

    /// Equal steps, for an axis so short that it is nearly linear.
    fn steps(&self) -> Vec<f64> {
        let width = (self.high - self.low) / 5.0;
        let decade = 10_f64.powf(width.log10().floor());
        let round = [1.0, 2.0, 5.0].into_iter().find(|&step| step * decade >= width);
        let step = round.unwrap_or(10.0) * decade;
        let first = (self.low / step).ceil() as i64;
        (first..).map(|i| i as f64 * step).take_while(|&tick| tick < self.high).collect()
    }
}

impl Ranged for LogAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        // Zero is infinitely far below; draw it at the edge.
        let value = value.max(self.low);
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let few = hint.bold_points().max(1);
        let choices: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let mut ticks = choices.into_iter().map(|mantissas| self.multiples(mantissas));
        match ticks.find(|ticks| ticks.len() <= few) {
            Some(ticks) if ticks.len() < 3 => self.steps(),
            Some(ticks) => ticks,
            None => {
                let powers = self.multiples(&[1.0]);
                let every = powers.len().div_ceil(few);
                powers.into_iter().step_by(every).collect()
            }
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

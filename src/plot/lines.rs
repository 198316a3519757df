use plotters::prelude::*;

use super::Picture;
use super::axis::{self, Axis};
use super::describe::{brief, change, count, extent, list, range};
use super::picture::{Area, Drawing, Drawn};
use super::style::{
    self, Entry, FUTURE, HEADER, LARGE, Marker, PAST, PREDICTION, PURPLE, SKY, VALIDATION, header,
};
use crate::error::{Error, Result};

/// Colours of the lines, in their order; after the last the first again.
const COLORS: [RGBColor; 6] = [PAST, PREDICTION, FUTURE, VALIDATION, PURPLE, SKY];

/// Lines of up to so many points have a marker at each.
const MARKED: usize = 80;

/// Points in one picture, at most.
const MOST: usize = 20_000;

/// Lines over a common axis, such as errors by forecast step: each has a label and its points
/// (x, y). The y axis starts at 0 where no value is negative.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let (naive, trained) = ([(1.0, 0.1), (2.0, 0.3)], [(1.0, 0.05), (2.0, 0.1)]);
/// let lines = [("repeat the last value", &naive[..]), ("network", &trained[..])];
/// plot::lines("Error by step", "forecast step", "MSE", &lines)?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] when there are more than 20 000 points in all; [`Error::Data`] when there is none, or
/// when a number is not finite or beyond ±1e100; [`Error::Picture`] when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/lines.svg")))]
pub fn lines(
    title: &str,
    x_name: &str,
    y_name: &str,
    lines: &[(&str, &[(f64, f64)])],
) -> Result<Picture> {
    draw(title, (x_name, y_name), lines, Scale::Linear)
}

/// [`lines`] over a logarithmic y axis, on which equal distances are equal ratios: prices that double
/// rise as far from 100 to 200 as from 1000 to 2000.
///
/// # Errors
/// As [`lines`], and [`Error::Data`] when a y is not from 1e-100 to 1e100.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/log_lines.svg")))]
pub fn log_lines(
    title: &str,
    x_name: &str,
    y_name: &str,
    lines: &[(&str, &[(f64, f64)])],
) -> Result<Picture> {
    draw(title, (x_name, y_name), lines, Scale::Logarithmic)
}

/// The scale of the y axis.
#[derive(Clone, Copy)]
enum Scale {
    Linear,
    Logarithmic,
}

fn draw(
    title: &str,
    names: (&str, &str),
    lines: &[(&str, &[(f64, f64)])],
    scale: Scale,
) -> Result<Picture> {
    let size: usize = lines.iter().map(|(_, points)| points.len()).sum();
    if size > MOST {
        let allowed = format!("at most {MOST}, for which a picture has room");
        return Err(Error::setting("the number of points", size, allowed));
    }
    for (label, points) in lines {
        for &(x, y) in *points {
            axis::check(x, || format!("an x of {label}"))?;
            let of_y = || format!("the y of {label} at x = {}", brief(x));
            match scale {
                Scale::Linear => axis::check(y, of_y)?,
                Scale::Logarithmic => axis::check_log(y, of_y)?,
            }
        }
    }
    let xs = || lines.iter().flat_map(|(_, points)| points.iter().map(|point| point.0));
    let ys = || lines.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (Some(x), Some(y)) = (extent(xs()), extent(ys())) else {
        return Err(Error::Data("there is no point to draw".into()));
    };
    let whole = xs().all(|x| x.fract() == 0.0);
    let x = if whole { Axis::whole(widen(x), 12) } else { Axis::linear(widen(x), 12) };
    let y = match scale {
        Scale::Linear => Axis::linear(from_zero(y), 6),
        Scale::Logarithmic => Axis::logarithmic(ys(), 6),
    };
    Picture::new((860, 400), &Lines { title, names, lines, scale, x, y })
}

/// Errors by forecast step, `(F,)` each with a label: [`lines`] over the steps 1 to F.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = noisy_waves(NoisyWaves { series: 20, ..Default::default() })?;
/// let naive = mse_by_step(&repeat_last(&data), &data)?;
/// plot::by_step("MSE", &[("repeat the last value", &naive)])?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`lines`].
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/by_step.svg")))]
pub fn by_step(y_name: &str, errors: &[(&str, &[f64])]) -> Result<Picture> {
    let numbered = |errors: &[f64]| -> Vec<(f64, f64)> {
        errors.iter().enumerate().map(|(step, &error)| ((step + 1) as f64, error)).collect()
    };
    let all: Vec<_> = errors.iter().map(|(label, errors)| (*label, numbered(errors))).collect();
    let all: Vec<_> = all.iter().map(|(label, points)| (*label, &points[..])).collect();
    lines("Error by forecast step", "forecast step", y_name, &all)
}

/// A little room on both sides.
fn widen((low, high): (f64, f64)) -> (f64, f64) {
    let room = ((high - low) * 0.03).max(low.abs() * 1e-6).max(1e-9);
    (low - room, high + room)
}

fn from_zero((low, high): (f64, f64)) -> (f64, f64) {
    let room = ((high - low.min(0.0)) * 0.06).max(1e-9);
    (if low < 0.0 { low - room } else { 0.0 }, high + room)
}

struct Lines<'a> {
    title: &'a str,
    names: (&'a str, &'a str),
    lines: &'a [(&'a str, &'a [(f64, f64)])],
    scale: Scale,
    x: Axis,
    y: Axis,
}

impl Drawing for Lines<'_> {
    fn title(&self) -> String {
        self.title.to_owned()
    }

    fn alt(&self) -> String {
        let axis = |of: fn(&(f64, f64)) -> f64| {
            let values = self.lines.iter().flat_map(|(_, points)| points.iter().map(of));
            extent(values).map_or(String::new(), |(low, high)| range(low, high))
        };
        let scale = match self.scale {
            Scale::Linear => "",
            Scale::Logarithmic => " (logarithmic)",
        };
        let line = |(label, points): &(&str, &[(f64, f64)])| match points {
            [] => format!("{label} has no point"),
            [only] => format!("{label} is {} at {}", brief(only.1), brief(only.0)),
            [first, .., last] => {
                let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
                let end = |point: Option<&(f64, f64)>| {
                    point.map_or(String::new(), |(x, y)| format!("{} at {}", brief(*y), brief(*x)))
                };
                let (low, high) = (points.iter().min_by(by_y), points.iter().max_by(by_y));
                let change = change(first.1, last.1);
                format!("{label} {change} (lowest {}, highest {})", end(low), end(high))
            }
        };
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        format!(
            "Line chart, {}. x axis: {}, {}; y axis: {}{scale}, {}. {}: {}.",
            self.title,
            self.names.0,
            axis(|point| point.0),
            self.names.1,
            axis(|point| point.1),
            count(lines.len(), "line"),
            list(&lines, "; ")
        )
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (top, chart) = area.split_vertically(HEADER);
        let colored = self.lines.iter().zip(COLORS.into_iter().cycle());
        let entries: Vec<_> =
            colored.map(|((label, _), color)| Entry::line(*label, color)).collect();
        header(&top, self.title, &entries)?;
        let (x, y) = ((self.x, self.names.0), (self.y, self.names.1));
        let mut chart = style::chart(&chart, &LARGE, x, y)?;
        for ((_, points), color) in self.lines.iter().zip(COLORS.into_iter().cycle()) {
            // Where points are dense their markers would hide the line.
            let dense = points.len() > MARKED;
            let stroke = color.stroke_width(if dense { 2 } else { 3 });
            chart.draw_series(LineSeries::new(points.iter().copied(), stroke))?;
            if !dense {
                chart.draw_series(points.iter().map(|&at| Marker::Full.at(at, color)))?;
            }
        }
        Ok(())
    }
}

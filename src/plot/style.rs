//! The one visual language of all pictures.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::picture::{Area, Drawn};

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const GRID: RGBColor = RGBColor(215, 215, 215);

// From the palette of Okabe and Ito, "Color Universal Design", 2008.
pub(super) const PAST: RGBColor = RGBColor(0, 114, 178); // blue
pub(super) const FUTURE: RGBColor = RGBColor(0, 158, 115); // bluish green
pub(super) const PREDICTION: RGBColor = RGBColor(213, 94, 0); // vermillion
pub(super) const TRAIN: RGBColor = RGBColor(0, 114, 178);
pub(super) const VALIDATION: RGBColor = RGBColor(230, 159, 0); // orange
// For further lines.
pub(super) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(super) const SKY: RGBColor = RGBColor(86, 180, 233);

/// Height of the strip above the panels that holds title and legend.
pub(super) const HEADER: u32 = 58;

pub(super) fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Text whose anchor is the given corner or middle.
pub(super) fn anchored(size: u32, h: HPos, v: VPos) -> TextStyle<'static> {
    text(size, INK).pos(Pos::new(h, v))
}

/// How the features of one series are told apart within one colour.
#[derive(Clone, Copy)]
pub(super) enum Marker {
    Full,
    Hollow,
    Small,
}

impl Marker {
    pub(super) fn of_feature(feature: usize) -> Self {
        [Self::Full, Self::Hollow, Self::Small][feature % 3]
    }

    /// The marker as an element at `at`, in whatever coordinates the chart has.
    pub(super) fn at<C>(self, at: C, color: RGBColor) -> Circle<C, i32> {
        match self {
            Self::Full => Circle::new(at, 4, color.filled()),
            Self::Hollow => Circle::new(at, 4, color.stroke_width(2)),
            Self::Small => Circle::new(at, 2, color.filled()),
        }
    }
}

/// One entry of a legend.
pub(super) struct Entry {
    pub(super) label: String,
    pub(super) color: RGBColor,
    /// Whether the entry stands for a line or only for its markers.
    pub(super) line: bool,
    pub(super) marker: Option<Marker>,
}

impl Entry {
    pub(super) fn line(label: impl Into<String>, color: RGBColor) -> Self {
        Self { label: label.into(), color, line: true, marker: None }
    }

    pub(super) fn marker(label: impl Into<String>, marker: Marker) -> Self {
        Self { label: label.into(), color: INK, line: false, marker: Some(marker) }
    }
}

/// A tick: four digits after the point, more for a small number, without the zeros that end them.
pub(super) fn number(value: f64) -> String {
    // Of zero the logarithm is infinite.
    let decimals = (3.0 - value.abs().log10().floor()).clamp(4.0, 12.0) as usize;
    match trimmed(value, decimals).as_str() {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// A number with so many digits after the point, without the zeros that end them.
pub(super) fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Draws title and legend into the strip `area`, side by side from the left.
pub(super) fn header(area: &Area<'_>, title: &str, entries: &[Entry]) -> Drawn {
    const SAMPLE: i32 = 30;
    area.draw(&Text::new(title.to_owned(), (14, 8), text(20, INK)))?;
    let (mut x, y) = (14, 44);
    for entry in entries {
        if entry.line {
            let stroke = entry.color.stroke_width(3);
            area.draw(&PathElement::new(vec![(x, y), (x + SAMPLE, y)], stroke))?;
        }
        if let Some(marker) = entry.marker {
            area.draw(&marker.at((x + SAMPLE / 2, y), entry.color))?;
        }
        let style = anchored(16, HPos::Left, VPos::Center);
        let (width, _) = area.estimate_text_size(&entry.label, &style)?;
        area.draw(&Text::new(entry.label.clone(), (x + SAMPLE + 8, y), style))?;
        x += SAMPLE + 8 + width as i32 + 26;
    }
    Ok(())
}

/// The sizes of a chart.
pub(super) struct Frame {
    /// Around the chart, and above it.
    pub(super) margins: (u32, u32),
    /// Room for the labels below, and for those on the left.
    pub(super) labels: (u32, u32),
    /// Of the text of the axes' names, and of that of the labels.
    pub(super) text: (u32, u32),
}

/// The frame of a picture that is one chart.
pub(super) const LARGE: Frame = Frame { margins: (14, 14), labels: (44, 76), text: (16, 14) };

/// An empty chart: axes with their names, ticks and grid.
pub(super) fn chart<'a, 'b>(
    area: &'a Area<'b>,
    frame: &Frame,
    (x, x_name): (Axis, &str),
    (y, y_name): (Axis, &str),
) -> Drawn<ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>> {
    let mut chart = ChartBuilder::on(area)
        .margin(frame.margins.0)
        .margin_top(frame.margins.1)
        .x_label_area_size(frame.labels.0)
        .y_label_area_size(frame.labels.1)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&x.label())
        .y_label_formatter(&y.label())
        .axis_desc_style(text(frame.text.0, INK))
        .label_style(text(frame.text.1, INK))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(chart)
}

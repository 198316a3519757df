use plotters::prelude::*;

use super::Picture;
use super::axis::{self, Axis};
use super::describe::{brief, count, extent, range};
use super::picture::{Area, Drawing, Drawn};
use super::style::{
    self, Entry, FUTURE, Frame, HEADER, INK, Marker, PAST, PREDICTION, anchored, header,
};
use crate::data::{Dataset, Window};
use crate::error::{Result, check_number};
use crate::forecast::Forecast;
use plotters::style::text_anchor::{HPos, VPos};

/// Panels side by side.
const COLUMNS: usize = 2;
/// Series in one picture, at most.
const MOST: usize = 60;
/// Size of a panel in pixels.
const PANEL: (u32, u32) = (460, 240);
/// Its frame, with room above for the number of the series.
const FRAME: Frame = Frame { margins: (8, 20), labels: (40, 62), text: (15, 13) };

/// The first `count` series of `data`: past and future, all features
/// that have to be predicted.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when `count` is 0, above 60, or there are fewer series;
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/examples.svg")))]
pub fn examples(data: &Dataset, count: usize) -> Result<Picture> {
    draw("Examples of the data", data, None, None, count)
}

/// The first `count` series of `data` with the `forecast` of them all: the past, the true future and the
/// predicted one, all features that are predicted.
///
/// # Errors
/// As [`examples`]; [`Error::Shape`](crate::Error::Shape) when `forecast` has other sizes than the future of
/// `data`, and [`Error::Data`](crate::Error::Data) when a predicted value that is drawn is not finite.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/predictions.svg")))]
pub fn predictions(data: &Dataset, forecast: &Forecast, count: usize) -> Result<Picture> {
    draw("Predictions", data, Some(forecast), None, count)
}

/// [`predictions`] with a band around them: `errors` is how far forecasts were off before, such as the
/// roots of the mean squared errors by step.
///
/// # Errors
/// As [`predictions`], also for `errors`.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/forecasts.svg")))]
pub fn forecasts(
    data: &Dataset,
    forecast: &Forecast,
    errors: &Forecast,
    count: usize,
) -> Result<Picture> {
    let title = "Forecasts, and how far earlier ones were off";
    draw(title, data, Some(forecast), Some(errors), count)
}

fn draw(
    title: &str,
    data: &Dataset,
    forecast: Option<&Forecast>,
    errors: Option<&Forecast>,
    count: usize,
) -> Result<Picture> {
    for (what, forecast) in [("the forecast", forecast), ("the errors", errors)] {
        forecast.map_or(Ok(()), |forecast| data.check_forecast(what, forecast))?;
    }
    check_number("count", count, data.len(), ", the number of series")?;
    check_number("count", count, MOST, ", for which a picture has room")?;
    let (features, targets) = (data.features(), data.targets());
    let predicted = |Window { past, future }| {
        let past = past.chunks(features).flat_map(|step| &step[..targets]).copied().collect();
        Window { past, future }
    };
    let windows = (0..count).map(|i| data.window(i).map(predicted)).collect::<Result<_>>()?;
    for (what, values) in [("predicted value", forecast), ("error", errors)] {
        for (series, values) in values.into_iter().flatten().take(count).enumerate() {
            for (i, &value) in values.iter().enumerate() {
                axis::check(f64::from(value), || {
                    let (step, feature) = (i / targets, i % targets);
                    format!("the {what} of series {series}, step {step}, feature {feature}")
                })?;
            }
        }
    }
    let drawing = Series {
        title,
        windows,
        predictions: forecast.map(|forecast| forecast.iter().take(count).collect()),
        errors: errors.map(|errors| errors.iter().take(count).collect()),
        features: targets,
    };
    let columns = count.min(COLUMNS) as u32;
    let rows = count.div_ceil(COLUMNS) as u32;
    // A single panel is twice as wide, so that title and legend have room.
    let width = if columns == 1 { 2 * PANEL.0 } else { columns * PANEL.0 };
    Picture::new((width, HEADER + rows * PANEL.1), &drawing)
}

struct Series<'a> {
    title: &'a str,
    windows: Vec<Window>,
    /// One prediction `(F, O)` a window.
    predictions: Option<Vec<&'a [f32]>>,
    /// Half the height of the band around each prediction, `(F, O)` a window.
    errors: Option<Vec<&'a [f32]>>,
    features: usize,
}

impl Drawing for Series<'_> {
    fn title(&self) -> String {
        self.title.to_owned()
    }

    fn alt(&self) -> String {
        let panels = self.windows.len();
        let series = range(0.0, panels as f64 - 1.0);
        // Of a dataset, all windows are as long.
        let past = self.windows[0].past.len() / self.features;
        let steps = past + self.windows[0].future.len() / self.features;
        let predictions = self.predictions.iter().flatten().copied().flatten();
        let values = self.windows.iter().flat_map(|w| w.past.iter().chain(&w.future));
        let values = values.chain(predictions).map(|&value| f64::from(value));
        let values = extent(values).map_or(String::new(), |(low, high)| range(low, high));
        let mut alt = format!(
            "Line chart, {}. {}, series {series}, {}. x axis: time step, {}, the past up to step {past}; \
             y axis: value, {values}.",
            self.title,
            count(panels, "panel"),
            count(self.features, "feature"),
            range(1.0, steps as f64)
        );
        if let Some(predictions) = &self.predictions {
            let mse = |(window, predicted): (&Window, &&[f32])| {
                let errors = window.future.iter().zip(*predicted);
                let squares: f64 =
                    errors.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
                squares / window.future.len() as f64
            };
            let errors: Vec<_> = self.windows.iter().zip(predictions).map(mse).collect();
            let best = (0..panels).min_by(|&a, &b| errors[a].total_cmp(&errors[b]));
            match best {
                Some(best) if panels > 1 => {
                    let mean = errors.iter().sum::<f64>() / panels as f64;
                    let (mean, lowest) = (brief(mean), brief(errors[best]));
                    alt += &format!(
                        " The prediction's MSE is {mean} over all panels, lowest in series {best}: {lowest}."
                    );
                }
                _ => alt += &format!(" The prediction's MSE is {}.", brief(errors[0])),
            }
        }
        let errors = self.errors.iter().flatten().copied().flatten();
        if let Some((low, high)) = extent(errors.map(|&error| f64::from(error))) {
            let half = range(low, high);
            alt += &format!(
                " A band around the prediction shows earlier errors, plus and minus {half}."
            );
        }
        alt
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (top, panels) = area.split_vertically(HEADER);
        let mut entries = vec![Entry::line("past", PAST), Entry::line("true future", FUTURE)];
        if self.predictions.is_some() {
            entries.push(Entry::line("prediction", PREDICTION));
        }
        if self.features > 1 {
            for feature in 0..self.features {
                let label = format!("feature {feature}");
                entries.push(Entry::marker(label, Marker::of_feature(feature)));
            }
        }
        header(&top, self.title, &entries)?;

        let columns = self.windows.len().min(COLUMNS);
        let panels = panels.split_evenly((self.windows.len().div_ceil(COLUMNS), columns));
        for (i, (panel, window)) in panels.iter().zip(&self.windows).enumerate() {
            let prediction = self.predictions.as_ref().map(|p| p[i]);
            let errors = self.errors.as_ref().map(|e| e[i]);
            self.draw_panel(panel, i, window, prediction, errors)?;
        }
        Ok(())
    }
}

impl Series<'_> {
    fn draw_panel(
        &self,
        area: &Area<'_>,
        index: usize,
        window: &Window,
        prediction: Option<&[f32]>,
        errors: Option<&[f32]>,
    ) -> Drawn {
        let d = self.features;
        let past_steps = window.past.len() / d;
        let steps = past_steps + window.future.len() / d;
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (known, future) = (wide(&window.past), wide(&window.future));
        let (prediction, errors) = (prediction.map(wide), errors.map(wide).unwrap_or_default());
        let edge = |sign: f64| {
            let predicted = prediction.iter().flatten().zip(&errors);
            predicted.map(move |(value, error)| value + sign * error).collect::<Vec<f64>>()
        };
        let (lower, upper) = (edge(-1.0), edge(1.0));
        let values = known.iter().chain(&future).chain(prediction.iter().flatten());
        let (low, high) = extent(values.chain(&lower).chain(&upper).copied()).unwrap_or_default();
        let span = if high > low { high - low } else { high.abs().max(1.0) };
        let room = 0.08 * span;
        let x = Axis::whole((0.5, steps as f64 + 0.5), 10);
        let y = Axis::linear((low - room, high + room), 5);
        let mut chart = style::chart(area, &FRAME, (x, "time step"), (y, "value"))?;

        // Where the known ends and the future begins.
        let now = past_steps as f64 + 0.5;
        let divider = vec![(now, low - room), (now, high + room)];
        chart.draw_series([PathElement::new(divider, INK.mix(0.45))])?;

        for feature in 0..d {
            let of_feature = |values: &[f64], first: usize| -> Vec<(f64, f64)> {
                let values = values.iter().skip(feature).step_by(d).enumerate();
                values.map(|(t, &v)| ((first + t) as f64, v)).collect()
            };
            // Behind the lines.
            let (below, above) =
                (of_feature(&lower, past_steps + 1), of_feature(&upper, past_steps + 1));
            let outline: Vec<_> = below.into_iter().chain(above.into_iter().rev()).collect();
            if !outline.is_empty() {
                chart.draw_series([Polygon::new(outline, PREDICTION.mix(0.2))])?;
            }
            let past = of_feature(&known, 1);
            let last = past[past.len() - 1];
            let future = of_feature(&future, past_steps + 1);
            let predicted = prediction.as_ref().map(|p| of_feature(p, past_steps + 1));
            let lines = [(PAST, Some(past), None), (FUTURE, Some(future), Some(last))];
            for (color, points, from) in
                lines.into_iter().chain([(PREDICTION, predicted, Some(last))])
            {
                let Some(points) = points else { continue };
                // The line starts at the last known value; the markers are the values themselves.
                let line = from.into_iter().chain(points.iter().copied());
                chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
                let marker = Marker::of_feature(feature);
                chart.draw_series(points.into_iter().map(|at| marker.at(at, color)))?;
            }
        }
        let (width, _) = area.dim_in_pixel();
        let style = anchored(13, HPos::Right, VPos::Top);
        area.draw(&Text::new(format!("series {index}"), (width as i32 - 10, 3), style))
    }
}

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Picture;
use super::log_axis::LogAxis;
use super::picture::{Drawing, Drawn};
use super::style::{Entry, GRID, HEADER, INK, Marker, TRAIN, VALIDATION, header, text};
use crate::error::Result;
use crate::train::History;

/// The errors (MSE of feature 0) of both parts, epoch by epoch, on a logarithmic axis.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/losses.svg")))]
pub fn losses(history: &History) -> Result<Picture> {
    Picture::new((860, 400), &Losses { history })
}

struct Losses<'a> {
    history: &'a History,
}

impl Drawing for Losses<'_> {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        let (top, chart) = area.split_vertically(HEADER);
        let epochs = self.history.epochs();
        let (_, best) = self.history.best();
        let entries = [
            Entry::line("training part", TRAIN),
            Entry::line("validation part", VALIDATION),
            Entry {
                color: VALIDATION,
                ..Entry::marker(format!("best validation MSE {best:.5}"), Marker::Full)
            },
        ];
        header(&top, "Error while training", &entries)?;

        let values = epochs.iter().flat_map(|e| [e.train_mse, e.validation_mse]);
        let mut chart = ChartBuilder::on(&chart)
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(0.5..epochs.len() as f64 + 0.5, LogAxis::around(values))?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc("MSE (logarithmic)")
            .x_labels(epochs.len().min(16))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_labels(8)
            .y_label_formatter(&LogAxis::label)
            .axis_desc_style(text(16, INK))
            .label_style(text(14, INK))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (color, part) in [
            (TRAIN, epochs.iter().map(|e| e.train_mse).collect::<Vec<_>>()),
            (VALIDATION, epochs.iter().map(|e| e.validation_mse).collect()),
        ] {
            let points = part.iter().enumerate().map(|(i, &mse)| ((i + 1) as f64, mse));
            chart.draw_series(LineSeries::new(points, color.stroke_width(3)))?;
        }
        let best = epochs.iter().position(|e| e.validation_mse == best);
        chart.draw_series(best.map(|i| {
            let at = ((i + 1) as f64, epochs[i].validation_mse);
            Marker::Full.at(at, VALIDATION)
        }))?;
        Ok(())
    }
}

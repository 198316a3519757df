use plotters::prelude::*;

use super::Picture;
use super::axis::Axis;
use super::describe::{brief, change, range};
use super::picture::{Area, Drawing, Drawn};
use super::style::{self, Entry, HEADER, LARGE, Marker, TRAIN, VALIDATION, header};
use crate::error::Result;
use crate::history::{Epoch, History};

/// The errors (MSE of feature 0) of both parts, epoch by epoch, on a logarithmic axis. A dot marks the
/// [best](History::best) epoch: with more than one feature, it need not lie at the lowest point.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/losses.svg")))]
pub fn losses(history: &History) -> Result<Picture> {
    let epochs = history.epochs();
    Picture::new((860, 400), &Losses { epochs, wanted: epochs.len(), points: usize::MAX })
}

pub(super) struct Losses<'a> {
    /// The epochs that are done.
    pub(super) epochs: &'a [Epoch],
    /// How many the axis has room for.
    pub(super) wanted: usize,
    /// How many points a line has, at most; of more epochs, some are left out.
    pub(super) points: usize,
}

impl Losses<'_> {
    /// The index of the best epoch, which is the one that a patience keeps, if there is a validation part.
    fn best(&self) -> Option<usize> {
        Epoch::best_of(self.epochs).filter(|&best| self.epochs[best].is_validated())
    }

    /// Says an error on the validation part, if there is one.
    fn validation(&self, error: impl FnOnce() -> String) -> String {
        match self.best() {
            Some(_) => format!(", validation MSE {}", error()),
            None => String::new(),
        }
    }
}

impl Drawing for Losses<'_> {
    fn title(&self) -> String {
        "Error while training".to_owned()
    }

    fn alt(&self) -> String {
        let axes = "y axis: MSE (logarithmic)";
        let [first, .., last] = self.epochs else {
            return match self.epochs {
                [only] => format!(
                    "Line chart, error while training. x axis: epoch, 1; {axes}. \
                     Training MSE {}{}.",
                    brief(only.train_mse),
                    self.validation(|| brief(only.validation_mse))
                ),
                _ => "Line chart, error while training. No epoch is done yet.".to_owned(),
            };
        };
        let mut alt = format!(
            "Line chart, error while training. x axis: epoch, {}; {axes}. \
             Training MSE {}{}",
            range(1.0, self.epochs.len() as f64),
            change(first.train_mse, last.train_mse),
            self.validation(|| change(first.validation_mse, last.validation_mse))
        );
        if let Some(best) = self.best() {
            let mse = brief(self.epochs[best].validation_mse);
            alt += &format!("; best validation MSE {mse} at epoch {}", best + 1);
        }
        alt + "."
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (top, chart) = area.split_vertically(HEADER);
        let (epochs, best) = (self.epochs, self.best());
        let mut entries = vec![Entry::line("training part", TRAIN)];
        if best.is_some() || epochs.is_empty() {
            entries.push(Entry::line("validation part", VALIDATION));
        }
        entries.extend(best.map(|best| {
            let label = format!("best validation MSE {}", brief(epochs[best].validation_mse));
            Entry { color: VALIDATION, ..Entry::marker(label, Marker::Full) }
        }));
        header(&top, "Error while training", &entries)?;

        let values = epochs.iter().flat_map(|e| [e.train_mse, e.validation_mse]);
        let x = Axis::whole((0.5, self.wanted as f64 + 0.5), self.wanted.min(16));
        let y = Axis::logarithmic(values, 8);
        let (x, y) = ((x, "epoch"), (y, "MSE (logarithmic)"));
        let mut chart = style::chart(&chart, &LARGE, x, y)?;
        for (color, part) in [
            (TRAIN, epochs.iter().map(|e| e.train_mse).collect::<Vec<_>>()),
            (VALIDATION, epochs.iter().map(|e| e.validation_mse).collect()),
        ] {
            // From the last one back, so that it is always there.
            let every = part.len().div_ceil(self.points).max(1);
            let points = part.iter().enumerate().rev().step_by(every);
            let points = points.filter(|(_, mse)| !mse.is_nan());
            let points = points.map(|(i, &mse)| ((i + 1) as f64, mse)).rev();
            chart.draw_series(LineSeries::new(points, color.stroke_width(3)))?;
        }
        chart.draw_series(best.map(|i| {
            let at = ((i + 1) as f64, epochs[i].validation_mse);
            Marker::Full.at(at, VALIDATION)
        }))?;
        Ok(())
    }
}

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::losses::Losses;
use super::picture::{Area, Drawing, Drawn, draw_svg};
use super::style::{GRID, TRAIN, anchored};
use crate::error::Result;
use crate::history::Epoch;

const SIZE: (u32, u32) = (860, 436);
/// Height of the strip above the curve.
const STRIP: u32 = 36;
/// Width and height of the bar.
const BAR: (i32, i32) = (180, 14);
/// Up to so many epochs the axis has room for all of them from the beginning.
const FORESEEN: usize = 200;
/// Points of a line while the training goes on: more cannot be told apart.
const POINTS: usize = 1000;

/// A training as it stands: a bar, a line of text, and the errors so far.
pub(crate) struct TrainingState<'a> {
    pub(crate) headline: &'a str,
    /// The part that is done, 0 to 1.
    pub(crate) part: f64,
    /// The epochs that are done.
    pub(crate) epochs: &'a [Epoch],
    /// All epochs.
    pub(crate) wanted: usize,
}

impl TrainingState<'_> {
    /// The state while the training goes on, with its alternative text: SVG only, which takes a fraction
    /// of the time.
    pub(crate) fn svg(&self) -> Result<(String, String)> {
        let seen = self.epochs.len().max(1);
        let wanted = if self.wanted <= FORESEEN { self.wanted.max(seen) } else { seen };
        draw_svg(SIZE, &State { state: self, wanted, points: POINTS })
    }

    /// The last state.
    pub(crate) fn picture(&self) -> Result<Picture> {
        let wanted = self.epochs.len().max(1);
        Picture::new(SIZE, &State { state: self, wanted, points: usize::MAX })
    }
}

struct State<'a> {
    state: &'a TrainingState<'a>,
    /// Epochs that the axis has room for.
    wanted: usize,
    /// Points of a line, at most.
    points: usize,
}

impl State<'_> {
    fn losses(&self) -> Losses<'_> {
        Losses { epochs: self.state.epochs, wanted: self.wanted, points: self.points }
    }
}

impl Drawing for State<'_> {
    fn title(&self) -> String {
        self.losses().title()
    }

    fn alt(&self) -> String {
        format!("Training: {}. {}", self.state.headline, self.losses().alt())
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (strip, chart) = area.split_vertically(STRIP);
        let (left, top) = (14, (STRIP as i32 - BAR.1) / 2 + 3);
        let bar = |width| [(left, top), (left + width, top + BAR.1)];
        strip.draw(&Rectangle::new(bar(BAR.0), GRID.filled()))?;
        let done = (f64::from(BAR.0) * self.state.part.clamp(0.0, 1.0)) as i32;
        strip.draw(&Rectangle::new(bar(done), TRAIN.filled()))?;
        let at = (left + BAR.0 + 14, top + BAR.1 / 2);
        let style = anchored(15, HPos::Left, VPos::Center);
        strip.draw(&Text::new(self.state.headline.to_owned(), at, style))?;
        self.losses().draw(&chart)
    }
}

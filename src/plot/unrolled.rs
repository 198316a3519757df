use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::describe::{count, list};
use super::picture::{Area, Drawing, Drawn};
use super::shapes::{arrow, labelled_box};
use super::style::{INK, PAST, anchored, text};
use crate::error::{Result, check_number, check_sizes};

/// Steps that are drawn: the first ones, and the last.
const DRAWN_STEPS: usize = 4;
const BOX: (i32, i32) = (64, 40);
const GAP: (i32, i32) = (34, 34);
/// Between the first steps and the last, when steps are left out.
const DOTS: i32 = 100;
const LEFT: i32 = 130;
const TOP: i32 = 50;
/// Right of the last step, for the states that leave there.
const RIGHT: i32 = 110;

/// A stack of recurrent layers, unrolled over time: `layers` holds their sizes, from the input up.
/// The arrows upwards are the outputs of a layer, the arrows along time its state.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let picture = plot::unrolled(&[20, 20], 50)?; // as the last value of a cell: shown below it
/// assert!(picture.svg().contains("layer 1 (20)"));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when there is no layer or more than 16, or a size or the number
/// of steps is 0; [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/unrolled.svg")))]
pub fn unrolled(layers: &[usize], steps: usize) -> Result<Picture> {
    check_layers(layers.len())?;
    check_sizes([("a layer's size", layers.iter().copied().min().unwrap_or(0)), ("steps", steps)])?;
    let diagram = Unrolled { layers, steps };
    let width = diagram.column(diagram.drawn() - 1) + BOX.0 + RIGHT;
    let height = diagram.row(layers.len() as i32 + 2) + 6;
    // Wide enough for the title and the note, when there are few steps.
    Picture::new((width.max(560) as u32, height as u32), &diagram)
}

/// Refuses more layers than a picture has room for.
pub(super) fn check_layers(layers: usize) -> Result<()> {
    /// As many as a model of [`Hyperparameters`](crate::train::Hyperparameters) may have.
    const MOST: usize = 16;
    check_number("the number of layers", layers, MOST, "")
}

struct Unrolled<'a> {
    /// Sizes, from the input up.
    layers: &'a [usize],
    steps: usize,
}

impl Unrolled<'_> {
    fn drawn(&self) -> usize {
        self.steps.min(DRAWN_STEPS)
    }

    /// Whether steps are left out before drawn step `drawn`.
    fn dots_before(&self, drawn: usize) -> bool {
        self.steps > DRAWN_STEPS && drawn == DRAWN_STEPS - 1
    }

    /// Top edge of a row: 0 is the output, then the layers from the top, then the input.
    fn row(&self, row: i32) -> i32 {
        TOP + row * (BOX.1 + GAP.1)
    }

    /// Left edge of a drawn step.
    fn column(&self, drawn: usize) -> i32 {
        let dots = if self.dots_before(drawn) { DOTS - GAP.0 } else { 0 };
        LEFT + drawn as i32 * (BOX.0 + GAP.0) + dots
    }

    fn draw_step(&self, area: &Area<'_>, drawn: usize) -> Drawn {
        let layers = self.layers.len() as i32;
        let step = if self.dots_before(drawn) { self.steps } else { drawn + 1 };
        let x = self.column(drawn);
        let up = |row: i32| {
            let (middle, y) = (x + BOX.0 / 2, self.row(row));
            arrow(area, &[(middle, y), (middle, y - GAP.1)], INK)
        };
        let dots = |row: i32| {
            let at = (x - DOTS / 2, self.row(row) + BOX.1 / 2);
            area.draw(&Text::new("...", at, anchored(18, HPos::Center, VPos::Center)))
        };
        labelled_box(area, (x, self.row(0)), BOX, INK, &format!("h{step}"))?;
        for row in 1..=layers {
            labelled_box(area, (x, self.row(row)), BOX, PAST, "cell")?;
            up(row)?;
            let y = self.row(row) + BOX.1 / 2;
            if self.dots_before(drawn) {
                arrow(area, &[(x - DOTS, y), (x - DOTS + GAP.0, y)], PAST)?;
            }
            if drawn > 0 {
                arrow(area, &[(x - GAP.0, y), (x, y)], PAST)?;
            }
        }
        labelled_box(area, (x, self.row(1 + layers)), BOX, PAST, &format!("x{step}"))?;
        up(1 + layers)?;
        if self.dots_before(drawn) {
            for row in 0..=1 + layers {
                dots(row)?;
            }
        }
        Ok(())
    }
}

impl Drawing for Unrolled<'_> {
    fn title(&self) -> String {
        format!("A stack of recurrent layers, unrolled over {}", count(self.steps, "step"))
    }

    fn alt(&self) -> String {
        let sizes: Vec<_> = self.layers.iter().map(usize::to_string).collect();
        format!(
            "Diagram, a stack of {} unrolled over {}; sizes from the input up: {}. At every step a \
             layer reads the output of the layer below, the lowest layer the input, and its own state of \
             the step before. The cells of a layer share one set of weights. After the last step the \
             states of all layers are left.",
            count(self.layers.len(), "recurrent layer"),
            count(self.steps, "step"),
            list(&sizes, ", ")
        )
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let layers = self.layers.len() as i32;
        let title = match self.steps {
            1 => "unrolled over 1 step".to_owned(),
            steps => format!("unrolled over {steps} steps"),
        };
        area.draw(&Text::new(title, (LEFT, 14), text(18, PAST)))?;
        for drawn in 0..self.drawn() {
            self.draw_step(area, drawn)?;
        }

        let name = |row: i32, label: String| {
            let style = anchored(14, HPos::Right, VPos::Center);
            area.draw(&Text::new(label, (LEFT - 14, self.row(row) + BOX.1 / 2), style))
        };
        name(0, "outputs".to_owned())?;
        for (layer, size) in self.layers.iter().enumerate() {
            name(layers - layer as i32, format!("layer {layer} ({size})"))?;
        }
        name(1 + layers, "inputs".to_owned())?;

        // Beside the last step: the states that are left when the series has been read.
        let right = self.column(self.drawn() - 1) + BOX.0;
        for row in 1..=layers {
            let y = self.row(row) + BOX.1 / 2;
            arrow(area, &[(right, y), (right + GAP.0, y)], PAST)?;
            let style = anchored(14, HPos::Left, VPos::Center);
            area.draw(&Text::new("state", (right + GAP.0 + 8, y), style))?;
        }
        let note = "The cells of a layer are one and the same: it has one set of weights.";
        area.draw(&Text::new(note, (LEFT, self.row(2 + layers) - GAP.1 + 14), text(14, INK)))
    }
}

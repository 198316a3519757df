use dfdx::shapes::Dtype;
use dfdx::tensor::Storage;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::describe::{count, list};
use super::picture::{Area, Drawing, Drawn};
use super::shapes::{arrow, labelled_box};
use super::style::{FUTURE, INK, PAST, PREDICTION, anchored, text};
use super::unrolled::check_layers;
use crate::error::{Result, check_sizes};
use crate::layers::RecurrentCell;
use crate::model::{DecoderInput, Seq2Seq};

/// Steps of each side that are drawn: the first, the second, and the last.
const DRAWN_STEPS: i32 = 3;
const BOX: (i32, i32) = (64, 40);
const GAP: (i32, i32) = (22, 34);
const LEFT: i32 = 110;
const TOP: i32 = 50;
const MIDDLE: i32 = 70;

/// The network of `model`, unrolled over time: the encoder reads `past_steps` steps, hands its
/// states to the decoder, and the decoder predicts `future_steps` steps.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when a number of steps is 0 or there are more than 16 layers,
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/encoder_decoder.svg")))]
pub fn encoder_decoder<C: RecurrentCell, E: Dtype, D: Storage<E>>(
    model: &Seq2Seq<C, E, D>,
    past_steps: usize,
    future_steps: usize,
) -> Result<Picture> {
    check_sizes([("past_steps", past_steps), ("future_steps", future_steps)])?;
    check_layers(model.encoder().hidden_sizes().len())?;
    let diagram = Diagram {
        cell: C::NAME,
        hidden_sizes: model.encoder().hidden_sizes(),
        features: (model.encoder().inputs(), model.dense().outputs()),
        steps: (past_steps, future_steps),
        decoder_input: model.decoder_input(),
    };
    let rows = diagram.hidden_sizes.len() as i32 + 2; // and the input, and the dense layer
    let height = TOP + rows * (BOX.1 + GAP.1) + 6;
    let width = diagram.decoder_left() + diagram.side_width() + 30;
    Picture::new((width as u32, height as u32), &diagram)
}

/// How many of so many steps are drawn.
fn drawn_steps(steps: usize) -> i32 {
    steps.min(DRAWN_STEPS as usize) as i32
}

struct Diagram {
    /// The name of the cells.
    cell: &'static str,
    hidden_sizes: Vec<usize>,
    /// Of the past, and of the future.
    features: (usize, usize),
    /// P and F.
    steps: (usize, usize),
    decoder_input: DecoderInput,
}

impl Diagram {
    fn side_width(&self) -> i32 {
        DRAWN_STEPS * (BOX.0 + GAP.0) + GAP.0
    }

    fn decoder_left(&self) -> i32 {
        LEFT + self.side_width() + MIDDLE
    }

    /// Top edge of a row: 0 is the dense layer, then the layers from the top, then the input.
    fn row(&self, row: i32) -> i32 {
        TOP + row * (BOX.1 + GAP.1)
    }

    /// Left edge of a step; the last one stands a little apart, behind the dots.
    fn column(&self, left: i32, step: i32) -> i32 {
        left + step * (BOX.0 + GAP.0) + if step == DRAWN_STEPS - 1 { GAP.0 } else { 0 }
    }

    fn draw_side(&self, area: &Area<'_>, side: Side) -> Drawn {
        let layers = self.hidden_sizes.len() as i32;
        let (left, title, color, steps) = match side {
            Side::Encoder => (LEFT, "encoder", PAST, self.steps.0),
            Side::Decoder => (self.decoder_left(), "decoder", PREDICTION, self.steps.1),
        };
        area.draw(&Text::new(title, (left, 14), text(18, color)))?;
        for drawn in 0..drawn_steps(steps) {
            let x = self.column(left, drawn);
            // With fewer steps than are drawn, each step is the one that it is.
            let last = drawn + 1 == drawn_steps(steps);
            let step = if last { steps } else { drawn as usize + 1 };
            for layer in 0..layers {
                let y = self.row(1 + layer);
                labelled_box(area, (x, y), BOX, color, self.cell)?;
                let above = y - GAP.1;
                if layer > 0 || matches!(side, Side::Decoder) {
                    arrow(area, &[(x + BOX.0 / 2, y), (x + BOX.0 / 2, above)], INK)?;
                }
                if drawn > 0 {
                    let before = self.column(left, drawn - 1) + BOX.0;
                    arrow(area, &[(before, y + BOX.1 / 2), (x, y + BOX.1 / 2)], color)?;
                }
            }
            let below = self.row(1 + layers);
            let (color, label) = match (side, self.decoder_input) {
                (Side::Encoder, _) => (PAST, format!("x{step}")),
                (Side::Decoder, DecoderInput::RepeatLast) => (PAST, "last".to_owned()),
                (Side::Decoder, DecoderInput::Zeros) => (INK, "0".to_owned()),
            };
            labelled_box(area, (x, below), BOX, color, &label)?;
            arrow(area, &[(x + BOX.0 / 2, below), (x + BOX.0 / 2, below - GAP.1)], INK)?;
            if matches!(side, Side::Decoder) {
                labelled_box(area, (x, self.row(0)), BOX, FUTURE, &format!("y{step}"))?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Side {
    Encoder,
    Decoder,
}

impl Drawing for Diagram {
    fn title(&self) -> String {
        "An encoder-decoder, unrolled over time".to_owned()
    }

    fn alt(&self) -> String {
        let sizes: Vec<_> = self.hidden_sizes.iter().map(usize::to_string).collect();
        let reads = match self.decoder_input {
            DecoderInput::RepeatLast => "the encoder's last output",
            DecoderInput::Zeros => "zeros",
        };
        format!(
            "Diagram, an encoder-decoder unrolled over time. The encoder, {} of {} cells with {} units \
             from the input up, reads {} with {} each. The states of all its layers go to the decoder, \
             which has layers of the same sizes and reads {reads} at each of {}. A dense layer makes {} \
             of every decoder output.",
            count(sizes.len(), "layer"),
            self.cell,
            list(&sizes, ", "),
            count(self.steps.0, "step"),
            count(self.features.0, "feature"),
            count(self.steps.1, "step"),
            count(self.features.1, "value")
        )
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let layers = self.hidden_sizes.len() as i32;
        self.draw_side(area, Side::Encoder)?;
        self.draw_side(area, Side::Decoder)?;

        for (left, steps) in [(LEFT, self.steps.0), (self.decoder_left(), self.steps.1)] {
            if steps > DRAWN_STEPS as usize {
                let x = self.column(left, DRAWN_STEPS - 1) - GAP.0;
                let at = (x, self.row(1 + layers) + BOX.1 / 2);
                area.draw(&Text::new("...", at, anchored(18, HPos::Center, VPos::Center)))?;
            }
        }
        let note = match self.decoder_input {
            DecoderInput::RepeatLast => "last: the encoder's last output, at every step",
            DecoderInput::Zeros => "0: zeros at every step",
        };
        let at = (self.decoder_left(), self.row(2 + layers) - GAP.1 + 10);
        area.draw(&Text::new(note, at, text(14, INK)))?;

        let name = |row: i32, label: String| {
            let style = anchored(14, HPos::Right, VPos::Center);
            area.draw(&Text::new(label, (LEFT - 14, self.row(row) + BOX.1 / 2), style))
        };
        name(0, format!("dense ({})", self.features.1))?;
        for layer in 0..layers {
            let from_below = self.hidden_sizes.len() - 1 - layer as usize;
            name(1 + layer, format!("layer {from_below} ({})", self.hidden_sizes[from_below]))?;
        }
        name(1 + layers, format!("input ({})", self.features.0))?;

        // The states of all layers pass from the encoder's last step to the decoder's first.
        let drawn = drawn_steps(self.steps.0) - 1;
        for layer in 0..layers {
            let y = self.row(1 + layer) + BOX.1 / 2;
            let from = self.column(LEFT, drawn) + BOX.0;
            arrow(area, &[(from, y), (self.decoder_left(), y)], PAST)?;
        }
        let middle = self.decoder_left() - (MIDDLE + GAP.0) / 2;
        let style = anchored(14, HPos::Center, VPos::Bottom);
        area.draw(&Text::new("states", (middle, self.row(1) + BOX.1 / 2 - 8), style))
    }
}

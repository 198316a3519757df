use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::picture::{Area, Drawing, Drawn};
use super::shapes::{RADIUS, arrow, branch, labelled_box, line, operation};
use super::style::{FUTURE, GRID, INK, PAPER, PAST, PREDICTION, anchored, text};
use crate::error::Result;
use crate::layers::Cell;

type Point = (i32, i32);

const GATE: Point = (84, 46);
/// A vector that comes in or goes out.
const VECTOR: Point = (50, 40);
/// Where h and x enter a gate from below, left and right of its middle.
const ENTRY: i32 = 18;
/// Left edge of what comes in.
const IN: i32 = 20;
/// Upper edge of the cell's frame.
const TOP: i32 = 46;

/// One recurrent cell at one step, as a schematic: the input x comes from below, the state h of the
/// step before (and the cell state c of an LSTM) from the left, and the new ones, with a prime,
/// leave on the right. Inside, boxes are the gates with their activations, and circles elementwise
/// operations; lines that cross without a dot are not connected.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let picture = plot::cell(Cell::Gru)?; // as the last value of a cell: shown below it
/// assert!(picture.svg().contains("h&apos; = (1 - z) × n + z × h"));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/cell.svg")))]
pub fn cell(cell: Cell) -> Result<Picture> {
    match cell {
        Cell::SimpleRnn => Picture::new((560, 300), &SimpleRnn),
        Cell::Gru => Picture::new((736, 520), &Gru),
        Cell::Lstm => Picture::new((736, 500), &Lstm),
    }
}

struct SimpleRnn;
struct Gru;
struct Lstm;

/// The area, with the shapes of a cell.
struct Pen<'p, 'a>(&'p Area<'a>);

impl Pen<'_, '_> {
    /// Title, and the frame around all that belongs to the cell.
    fn frame(&self, title: &'static str, right: i32, bottom: i32) -> Drawn {
        self.0.draw(&Text::new(title, (IN, 14), text(18, INK)))?;
        let corners = [(IN + VECTOR.0 + 18, TOP), (right, bottom)];
        self.0.draw(&Rectangle::new(corners, GRID.mix(0.25).filled()))?;
        self.0.draw(&Rectangle::new(corners, GRID.stroke_width(2)))
    }

    /// A vector, and below it the step that it belongs to.
    fn vector(&self, (x, y): Point, color: RGBColor, label: &str, step: &'static str) -> Drawn {
        self.centred_box((x, y), VECTOR, color, label)?;
        let below = (x, y + VECTOR.1 / 2 + 5);
        self.0.draw(&Text::new(step, below, anchored(13, HPos::Center, VPos::Top)))
    }

    /// A state of the step before.
    fn incoming(&self, y: i32, label: &str) -> Drawn {
        self.vector((IN + VECTOR.0 / 2, y), INK, label, "step t-1")
    }

    fn gate(&self, middle: Point, name: &str, activation: &str) -> Drawn {
        let color = if activation == "tanh" { FUTURE } else { PREDICTION };
        self.centred_box(middle, GATE, color, &format!("{name}\n{activation}"))
    }

    fn centred_box(&self, (x, y): Point, size: Point, color: RGBColor, label: &str) -> Drawn {
        let corner = (x - size.0 / 2, y - size.1 / 2);
        // Paper below the tint, so that neither frame nor line shines through.
        let corners = [corner, (corner.0 + size.0, corner.1 + size.1)];
        self.0.draw(&Rectangle::new(corners, PAPER.filled()))?;
        labelled_box(self.0, corner, size, color, label)
    }

    fn arrow(&self, points: &[Point], color: RGBColor) -> Drawn {
        arrow(self.0, points, color)
    }

    /// Arrows from the lines of h and x, at heights `lines`, up to the lower edges of the gates that
    /// stand at `gates`. The lines end at `ends`.
    fn feed(&self, gates: &[i32], lines: Point, bottom: i32, ends: Point) -> Drawn {
        for &x in gates {
            self.arrow(&[(x - ENTRY, lines.0), (x - ENTRY, bottom)], INK)?;
            self.arrow(&[(x + ENTRY, lines.1), (x + ENTRY, bottom)], PAST)?;
            // The end of a line is a bend, not a branch.
            if x - ENTRY != ends.0 {
                branch(self.0, (x - ENTRY, lines.0), INK)?;
            }
            if x + ENTRY != ends.1 {
                branch(self.0, (x + ENTRY, lines.1), PAST)?;
            }
        }
        Ok(())
    }

    fn line(&self, points: &[Point], color: RGBColor) -> Drawn {
        line(self.0, points, color)
    }

    fn formulas(&self, (x, y): Point, lines: &[&'static str]) -> Drawn {
        for (&line, y) in lines.iter().zip((y..).step_by(22)) {
            self.0.draw(&Text::new(line, (x, y), text(15, INK)))?;
        }
        Ok(())
    }
}

impl Drawing for SimpleRnn {
    fn title(&self) -> String {
        "Simple recurrent cell".to_owned()
    }

    fn alt(&self) -> String {
        "Diagram, a simple recurrent cell at one step. From the input x of step t and the \
         state h of step t-1 it makes the new state h' = tanh(W x + U h). Biases are left \
         out."
            .to_owned()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let pen = Pen(area);
        let (y, right, middle) = (110, 530 - VECTOR.0 / 2, 280);
        pen.frame("simple recurrent cell", 460, 180)?;
        pen.arrow(&[(IN + VECTOR.0, y), (middle - GATE.0 / 2, y)], INK)?;
        pen.arrow(&[(middle, 220), (middle, y + GATE.1 / 2)], PAST)?;
        pen.arrow(&[(middle + GATE.0 / 2, y), (right - VECTOR.0 / 2, y)], INK)?;
        pen.centred_box((middle, y), GATE, FUTURE, "tanh")?;
        pen.incoming(y, "h")?;
        pen.vector((middle, 240), PAST, "x", "step t")?;
        pen.vector((right, y), INK, "h'", "step t")?;
        pen.formulas((336, 226), &["h' = tanh(W x + U h)", "(biases are left out)"])
    }
}

impl Drawing for Gru {
    fn title(&self) -> String {
        "Gated recurrent unit (GRU)".to_owned()
    }

    fn alt(&self) -> String {
        "Diagram, a gated recurrent unit (GRU) at one step. From the input x of step t and \
         the state h of step t-1 it makes two gates, z and r = sigmoid(W x + U h), each with \
         its own W and U; a candidate n = tanh(W x + r × (U h)); and the new state h' = (1 - \
         z) × n + z × h. Biases are left out."
            .to_owned()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let pen = Pen(area);
        // Heights: the state, 1 - z, r and n, the gates, and the lines of h and x.
        let (state, keep, reset, gates, h, x) = (88, 146, 206, 286, 350, 382);
        let (z, r, u, n, sum, right) = (190, 320, 430, 535, 615, 716 - VECTOR.0 / 2);
        let (tap, input) = (110, 120);
        let (above, below) = (gates - GATE.1 / 2, gates + GATE.1 / 2);
        pen.frame("gated recurrent unit (GRU)", 648, 410)?;

        // From the lines of h and x into the gates.
        pen.line(&[(tap, state), (tap, h), (u, h)], INK)?;
        branch(area, (tap, state), INK)?;
        pen.line(&[(input, 450), (input, x), (n, x)], PAST)?;
        pen.feed(&[z, r], (h, x), below, (u, n))?;
        pen.arrow(&[(u, h), (u, below)], INK)?;
        pen.arrow(&[(n, x), (n, reset + GATE.1 / 2)], PAST)?;
        // n = tanh(W x + r * (U h))
        pen.arrow(&[(r, above), (r, reset), (u - RADIUS, reset)], INK)?;
        pen.arrow(&[(u, above), (u, reset + RADIUS)], INK)?;
        pen.arrow(&[(u + RADIUS, reset), (n - GATE.0 / 2, reset)], INK)?;
        // h' = (1 - z) * n + z * h
        pen.arrow(&[(IN + VECTOR.0, state), (z - RADIUS, state)], INK)?;
        pen.arrow(&[(z, above), (z, state + RADIUS)], INK)?;
        branch(area, (z, keep), INK)?;
        pen.arrow(&[(z, keep), (r - RADIUS, keep)], INK)?;
        pen.arrow(&[(r + RADIUS, keep), (sum - RADIUS, keep)], INK)?;
        pen.arrow(&[(n + GATE.0 / 2, reset), (sum, reset), (sum, keep + RADIUS)], INK)?;
        pen.arrow(&[(sum, keep - RADIUS), (sum, state + RADIUS)], INK)?;
        pen.arrow(&[(z + RADIUS, state), (sum - RADIUS, state)], INK)?;
        pen.arrow(&[(sum + RADIUS, state), (right - VECTOR.0 / 2, state)], INK)?;

        pen.gate((z, gates), "z", "sigmoid")?;
        pen.gate((r, gates), "r", "sigmoid")?;
        pen.centred_box((u, gates), (60, GATE.1), INK, "U h")?;
        pen.gate((n, reset), "n", "tanh")?;
        operation(area, (u, reset), "×")?;
        operation(area, (z, state), "×")?;
        operation(area, (r, keep), "1-")?;
        operation(area, (sum, keep), "×")?;
        operation(area, (sum, state), "+")?;
        pen.incoming(state, "h")?;
        pen.vector((input, 470), PAST, "x", "step t")?;
        pen.vector((right, state), INK, "h'", "step t")?;
        pen.formulas(
            (200, 428),
            &[
                "z, r = sigmoid(W x + U h), each with its own W and U (biases are left out)",
                "n = tanh(W x + r × (U h))",
                "h' = (1 - z) × n + z × h",
            ],
        )
    }
}

impl Drawing for Lstm {
    fn title(&self) -> String {
        "Long short-term memory (LSTM)".to_owned()
    }

    fn alt(&self) -> String {
        "Diagram, a long short-term memory cell (LSTM) at one step. From the input x of step \
         t and the state h of step t-1 it makes three gates, f, i and o = sigmoid(W x + U h), \
         and a candidate g = tanh(W x + U h), each with its own W and U. The cell state \
         becomes c' = f × c + i × g, and the new state is h' = o × tanh(c'). Biases are left \
         out."
            .to_owned()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let pen = Pen(area);
        // Heights: the cell state, i * g, the gates, and the lines of h and x.
        let (state, write, gates, h, x) = (88, 172, 262, 328, 360);
        let (f, i, g, o, out, right) = (175, 290, 400, 510, 608, 716 - VECTOR.0 / 2);
        let input = 120;
        let (above, below) = (gates - GATE.1 / 2, gates + GATE.1 / 2);
        pen.frame("long short-term memory (LSTM)", 648, 388)?;

        // From the lines of h and x into the gates.
        pen.line(&[(IN + VECTOR.0, h), (o - ENTRY, h)], INK)?;
        pen.line(&[(input, 430), (input, x), (o + ENTRY, x)], PAST)?;
        pen.feed(&[f, i, g, o], (h, x), below, (o - ENTRY, o + ENTRY))?;
        // c' = f * c + i * g
        pen.arrow(&[(IN + VECTOR.0, state), (f - RADIUS, state)], INK)?;
        pen.arrow(&[(f, above), (f, state + RADIUS)], INK)?;
        pen.arrow(&[(f + RADIUS, state), (i - RADIUS, state)], INK)?;
        pen.arrow(&[(i, above), (i, write + RADIUS)], INK)?;
        pen.arrow(&[(g, above), (g, write), (i + RADIUS, write)], INK)?;
        pen.arrow(&[(i, write - RADIUS), (i, state + RADIUS)], INK)?;
        pen.arrow(&[(i + RADIUS, state), (right - VECTOR.0 / 2, state)], INK)?;
        // h' = o * tanh(c')
        branch(area, (out, state), INK)?;
        pen.arrow(&[(out, state), (out, write - 20)], INK)?;
        pen.arrow(&[(out, write + 20), (out, gates - RADIUS)], INK)?;
        pen.arrow(&[(o + GATE.0 / 2, gates), (out - RADIUS, gates)], INK)?;
        pen.arrow(&[(out, gates + RADIUS), (out, h), (right - VECTOR.0 / 2, h)], INK)?;

        for (middle, name) in [(f, "f"), (i, "i"), (o, "o")] {
            pen.gate((middle, gates), name, "sigmoid")?;
        }
        pen.gate((g, gates), "g", "tanh")?;
        pen.centred_box((out, write), (60, 40), FUTURE, "tanh")?;
        operation(area, (f, state), "×")?;
        operation(area, (i, write), "×")?;
        operation(area, (i, state), "+")?;
        operation(area, (out, gates), "×")?;
        pen.incoming(state, "c")?;
        pen.incoming(h, "h")?;
        pen.vector((input, 450), PAST, "x", "step t")?;
        pen.vector((right, state), INK, "c'", "step t")?;
        pen.vector((right, h), INK, "h'", "step t")?;
        pen.formulas(
            (200, 406),
            &[
                "f, i, o = sigmoid(W x + U h), g = tanh(W x + U h),",
                "each with its own W and U (biases are left out)",
                "c' = f × c + i × g",
                "h' = o × tanh(c')",
            ],
        )
    }
}

//! What the diagrams are put together from: boxes, arrows, circles.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::picture::{Area, Drawn};
use super::style::{INK, PAPER, anchored};

/// Radius of the circle of an [`operation`].
pub(super) const RADIUS: i32 = 13;

/// A box with its upper left corner at (x, y), tinted, with a label in its middle, the lines of
/// which stand below each other.
pub(super) fn labelled_box(
    area: &Area<'_>,
    (x, y): (i32, i32),
    (width, height): (i32, i32),
    color: RGBColor,
    label: &str,
) -> Drawn {
    const LINE: i32 = 17;
    let corners = [(x, y), (x + width, y + height)];
    area.draw(&Rectangle::new(corners, color.mix(0.16).filled()))?;
    area.draw(&Rectangle::new(corners, color.stroke_width(2)))?;
    let first = y + height / 2 - LINE * (label.lines().count() as i32 - 1) / 2;
    for (line, y) in label.lines().zip((first..).step_by(LINE as usize)) {
        let style = anchored(15, HPos::Center, VPos::Center);
        area.draw(&Text::new(line.to_owned(), (x + width / 2, y), style))?;
    }
    Ok(())
}

/// A line through `points`.
pub(super) fn line(area: &Area<'_>, points: &[(i32, i32)], color: RGBColor) -> Drawn {
    // Piece by piece: in one, the bitmap's line gets thinner behind a corner.
    for piece in points.windows(2) {
        area.draw(&PathElement::new(piece.to_vec(), color.stroke_width(2)))?;
    }
    Ok(())
}

/// A line through `points`, along the axes, with a small head at the last.
pub(super) fn arrow(area: &Area<'_>, points: &[(i32, i32)], color: RGBColor) -> Drawn {
    const HEAD: i32 = 5;
    line(area, points, color)?;
    let &[.., from, to] = points else { return Ok(()) };
    let head = if from.0 == to.0 {
        let back = to.1 + HEAD * (from.1 - to.1).signum();
        vec![to, (to.0 - HEAD, back), (to.0 + HEAD, back)]
    } else {
        let back = to.0 + HEAD * (from.0 - to.0).signum();
        vec![to, (back, to.1 - HEAD), (back, to.1 + HEAD)]
    };
    area.draw(&Polygon::new(head, color.filled()))
}

/// A dot where a line branches. Lines that cross without one have nothing to do with each other.
pub(super) fn branch(area: &Area<'_>, at: (i32, i32), color: RGBColor) -> Drawn {
    area.draw(&Circle::new(at, 4, color.filled()))
}

/// An elementwise operation: a circle with its sign.
pub(super) fn operation(area: &Area<'_>, at: (i32, i32), sign: &'static str) -> Drawn {
    area.draw(&Circle::new(at, RADIUS, PAPER.filled()))?;
    area.draw(&Circle::new(at, RADIUS, INK.stroke_width(2)))?;
    area.draw(&Text::new(sign, at, anchored(15, HPos::Center, VPos::Center)))
}

use super::Picture;
use crate::notebook::{self, Display};

/// Shows a picture in the middle of a cell, and returns the place where it stands:
/// [`Shown::update`] replaces the picture there.
///
/// In a notebook with a kernel other than the workbook's, the picture is shown as that kernel shows it,
/// and an update shows another one. A program that runs outside a notebook shows nothing.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let shown = plot::show(&plot::unrolled(&[20], 1)?);
/// for steps in 2..=10 {
///     shown.update(&plot::unrolled(&[20], steps)?);
/// }
/// # Ok::<(), Error>(())
/// ```
pub fn show(picture: &Picture) -> Shown {
    let mut display = Display::new();
    if notebook::reads_marks() {
        display.show(&picture.bundle());
    } else if notebook::runs_cells() {
        picture.evcxr_display();
    }
    Shown { display }
}

/// A picture on show, which can be replaced in place. Dropped, it leaves the picture where it is.
#[derive(Debug)]
pub struct Shown {
    display: Display,
}

impl Shown {
    /// Shows `picture` in place of the one before.
    pub fn update(&self, picture: &Picture) {
        if notebook::reads_marks() {
            self.display.update(&picture.bundle());
        } else if notebook::runs_cells() {
            picture.evcxr_display();
        }
    }

    /// Shows nothing: as the last value of a cell, the place needs no output of its own.
    pub fn evcxr_display(&self) {}
}

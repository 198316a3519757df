use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Display;

use super::Picture;
use super::describe::{brief, extent, list, range};
use super::picture::{Area, Drawing, Drawn};
use super::style::{INK, PAPER, PREDICTION, anchored, text};
use crate::error::{Result, check_number, check_size};

/// Rows and columns of one picture, at most.
const MOST: usize = 30;
const CELL: (i32, i32) = (104, 46);
const LEFT: i32 = 150;
const TOP: i32 = 50;
const TITLE: &str = "Validation MSE after training";

/// The errors of a sweep over two hyperparameters: a row for each of `rows`, a column for each of
/// `columns`, and `errors`, `(rows, columns)`, row by row. Dark is low, on a logarithmic scale; the
/// lowest error has a frame.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when there is no row or no column, or more than 30,
/// [`Error::Shape`](crate::Error::Shape) when there is not one error for each pair,
/// [`Error::Picture`](crate::Error::Picture) when drawing fails.
#[cfg_attr(doc, doc = concat!("\n\n", include_str!("pictures/heat_map.svg")))]
pub fn heat_map(
    row_name: &str,
    rows: &[impl Display],
    column_name: &str,
    columns: &[impl Display],
    errors: &[f64],
) -> Result<Picture> {
    check_number("the number of rows", rows.len(), MOST, "")?;
    check_number("the number of columns", columns.len(), MOST, "")?;
    check_size("the number of errors (rows x columns)", rows.len() * columns.len(), errors.len())?;
    let width = LEFT + columns.len() as i32 * CELL.0 + 20;
    let height = TOP + rows.len() as i32 * CELL.1 + 62;
    let map = HeatMap {
        names: (row_name, column_name),
        rows: rows.iter().map(ToString::to_string).collect(),
        columns: columns.iter().map(ToString::to_string).collect(),
        errors,
    };
    Picture::new((width.max(420) as u32, height as u32), &map)
}

struct HeatMap<'a> {
    names: (&'a str, &'a str),
    rows: Vec<String>,
    columns: Vec<String>,
    errors: &'a [f64],
}

impl HeatMap<'_> {
    /// Where an error lies between the lowest, 0, and the highest, 1, on a logarithmic scale. An
    /// error that is not a positive number counts as the highest.
    fn level(&self, error: f64) -> f64 {
        let (low, high) =
            extent(self.errors.iter().copied().filter(|&e| e > 0.0)).unwrap_or_default();
        let level = (error.ln() - low.ln()) / (high.ln() - low.ln()).max(1e-9);
        if level.is_finite() { level.clamp(0.0, 1.0) } else { 1.0 }
    }

    /// The index of the lowest error.
    fn best(&self) -> Option<usize> {
        let numbers = (0..self.errors.len()).filter(|&index| !self.errors[index].is_nan());
        numbers.min_by(|&a, &b| self.errors[a].total_cmp(&self.errors[b]))
    }
}

impl Drawing for HeatMap<'_> {
    fn title(&self) -> String {
        TITLE.to_owned()
    }

    fn alt(&self) -> String {
        let (row_name, column_name) = self.names;
        let (rows, columns) = (list(&self.rows, ", "), list(&self.columns, ", "));
        let mut alt = format!(
            "Heat map, {TITLE}. Rows: {row_name}, {rows}; columns: {column_name}, {columns}."
        );
        if let Some((low, high)) = extent(self.errors.iter().copied()) {
            alt += &format!(" Errors: {}", range(low, high));
        }
        if let Some(best) = self.best() {
            let (row, column) = (best / self.columns.len(), best % self.columns.len());
            let (row, column) = (&self.rows[row], &self.columns[column]);
            let lowest = brief(self.errors[best]);
            alt += &format!("; lowest {lowest} at {row_name} {row}, {column_name} {column}.");
        }
        alt
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let columns = self.columns.len();
        let place = |index: usize| {
            let (row, column) = ((index / columns) as i32, (index % columns) as i32);
            (LEFT + column * CELL.0, TOP + row * CELL.1)
        };
        area.draw(&Text::new(TITLE, (14, 12), text(20, INK)))?;
        let best = self.best();
        for (index, &error) in self.errors.iter().enumerate() {
            let (x, y) = place(index);
            let level = self.level(error);
            // Viridis, which stays readable without colour: only its lightness is needed.
            let color = ViridisRGB::get_color(level);
            let inset = |by| [(x + by, y + by), (x + CELL.0 - 2 - by, y + CELL.1 - 2 - by)];
            if best == Some(index) {
                // The stroke of a rectangle is thin in plotters, however wide it is meant to be.
                area.draw(&Rectangle::new(inset(0), PREDICTION.filled()))?;
                area.draw(&Rectangle::new(inset(4), color.filled()))?;
            } else {
                area.draw(&Rectangle::new(inset(0), color.filled()))?;
            }
            let ink = if level < 0.5 { PAPER } else { INK };
            let style = text(15, ink).pos(Pos::new(HPos::Center, VPos::Center));
            let at = (x + CELL.0 / 2 - 1, y + CELL.1 / 2 - 1);
            let written = if error < 1e4 { format!("{error:.5}") } else { format!("{error:.2e}") };
            area.draw(&Text::new(written, at, style))?;
        }

        for (row, label) in self.rows.iter().enumerate() {
            let at = (LEFT - 10, TOP + row as i32 * CELL.1 + CELL.1 / 2);
            area.draw(&Text::new(label.clone(), at, anchored(15, HPos::Right, VPos::Center)))?;
        }
        let bottom = TOP + self.rows.len() as i32 * CELL.1;
        for (column, label) in self.columns.iter().enumerate() {
            let at = (LEFT + column as i32 * CELL.0 + CELL.0 / 2, bottom + 6);
            area.draw(&Text::new(label.clone(), at, anchored(15, HPos::Center, VPos::Top)))?;
        }
        let (row_name, column_name) = self.names;
        let middle = (LEFT + columns as i32 * CELL.0 / 2, bottom + 32);
        let style = anchored(16, HPos::Center, VPos::Top);
        area.draw(&Text::new(column_name.to_owned(), middle, style))?;
        let middle = (14, TOP + self.rows.len() as i32 * CELL.1 / 2);
        area.draw(&Text::new(row_name.to_owned(), middle, anchored(16, HPos::Left, VPos::Center)))
    }
}

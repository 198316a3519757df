//! Pictures for notebooks.
//!
//! Every function returns a [`Picture`], which a cell shows when it is the cell's last value; [`show`]
//! shows one in the middle of a cell, and renews it there. The
//! past, the true future and the prediction have the same colours in all of them, from the palette
//! of Okabe and Ito, which colour-blind readers can tell apart.

mod axis;
mod cell;
mod describe;
mod diagram;
mod heat_map;
mod lines;
mod losses;
mod picture;
mod series;
mod shapes;
mod shown;
mod style;
mod training;
mod unrolled;

pub use cell::cell;
pub use diagram::encoder_decoder;
pub use heat_map::heat_map;
pub use lines::{by_step, lines, log_lines};
pub use losses::losses;
pub use picture::Picture;
pub use series::{examples, forecasts, predictions};
pub use shown::{Shown, show};
pub(crate) use training::TrainingState;
pub use unrolled::unrolled;

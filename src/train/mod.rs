//! Training: [`fit`] for the stock model, [`fit_on_tape`] for any other, and the parts that a
//! training loop of one's own needs.

mod adam;
mod fit;
mod history;
mod hyperparameters;
mod on_tape;

pub use adam::Adam;
pub use fit::{fit, fit_with, loss};
pub use history::{Epoch, History};
pub use hyperparameters::Hyperparameters;
pub use on_tape::{Traced, fit_at_every_step, fit_on_tape, predict_with};

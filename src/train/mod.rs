//! Training: [`fit`] for the stock model, and the parts that a training loop of one's own needs.

mod adam;
mod fit;
mod history;
mod hyperparameters;

pub use adam::Adam;
pub use fit::{fit, fit_with, loss};
pub use history::{Epoch, History};
pub use hyperparameters::Hyperparameters;

//! Training: [`fit`] for the stock model, and the parts that a training loop of one's own needs.

mod adam;
mod clip;
mod fit;
mod history;
mod hyperparameters;
mod rms_prop;
mod schedule;
mod sgd;

pub use crate::kernels::cpu::optimizer::Optimizer;
pub use adam::Adam;
pub use clip::clip_gradients;
pub use fit::{fit, fit_with, loss};
pub use history::{Epoch, History};
pub use hyperparameters::Hyperparameters;
pub use rms_prop::RmsProp;
pub use schedule::Schedule;
pub use sgd::Sgd;

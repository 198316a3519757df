//! Training: [`fit`] for the stock model, [`fit_on_tape`] for any other, and the parts that a
//! training loop of one's own needs.

mod adam;
mod background;
mod checkpoint;
mod clip;
mod course;
mod fit;
mod history;
mod hyperparameters;
#[cfg(any(test, feature = "cuda"))]
mod in_queue;
mod on_tape;
mod progress;
mod rms_prop;
mod schedule;
mod sgd;

pub use crate::kernels::optimizer::Optimizer;
pub use adam::Adam;
pub use background::Training;
pub use clip::clip_gradients;
pub use fit::{fit, fit_with, fit_with_checkpoint, loss, resume};
pub use history::{End, Epoch, History};
pub use hyperparameters::Hyperparameters;
pub use on_tape::{Traced, fit_at_every_step, fit_on_tape, predict_with};
pub use rms_prop::RmsProp;
pub use schedule::Schedule;
pub use sgd::Sgd;

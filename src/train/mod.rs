//! Training: [`Trainer`] for every network, with [`fit`], [`fit_on_tape`] and others as short names of its usual
//! forms, and the parts that a training loop of one's own needs.
//!
//! | file | its one idea |
//! |---|---|
//! | `fit` | the short names |
//! | `trainer` | what is chosen before a training |
//! | `run` | the one loop over epochs, and what is left at its end |
//! | `engine` | what the loop asks of a network |
//! | `engines/` | fused kernels on the CPU, dfdx's tape, a GPU |
//! | `loss` | what is minimised |
//! | `descent` | how the weights follow their gradient, in a loop of one's own and on the tape |
//! | `course` | the epochs so far: schedule, patience, time limit |
//! | `checkpoint` | the file of a training that can go on |
//! | `background` | a training in a thread |
//! | `progress` | what is shown meanwhile |

mod background;
mod checkpoint;
mod course;
mod descent;
mod engine;
mod engines;
mod fit;
mod loss;
mod progress;
mod run;
mod trainer;

pub use crate::history::{End, Epoch, History};
pub use crate::kernels::optimizer::Optimizer;
pub use crate::settings::{Hyperparameters, Schedule};
pub use background::Training;
pub use descent::{Descent, Memory};
pub use engines::tape::{Traced, predict_with};
pub use fit::{fit, fit_at_every_step, fit_on_tape, fit_with, fit_with_checkpoint, resume};
pub use loss::loss;
pub use trainer::Trainer;

//! What is chosen before a training, as plain data that models and trainings read.

mod hyperparameters;
mod schedule;

pub use hyperparameters::Hyperparameters;
pub use schedule::Schedule;

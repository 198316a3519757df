//! How good a prediction is, and what it has to be better than.

mod baselines;
mod check;
mod metrics;

pub use baselines::{LeastSquares, repeat_last};
pub use check::Check;
pub use metrics::{mse, mse_of_feature};

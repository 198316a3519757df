//! How good a prediction is, and what it has to be better than.

mod back_test;
mod baselines;
mod check;
mod metrics;
mod probe;

pub use back_test::{Fold, RollingOrigin};
pub use baselines::{LeastSquares, repeat_last};
pub use check::Check;
pub use metrics::{Scores, mse, mse_by_feature, mse_by_series, mse_by_step, mse_of_feature};
pub use probe::{correlation, linear_probe, mean_by_band};

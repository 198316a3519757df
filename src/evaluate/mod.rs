//! How good a prediction is, and what it has to be better than.

mod back_test;
mod baselines;
mod check;
mod diebold_mariano;
mod exponential_smoothing;
mod metrics;
mod probe;

pub use back_test::{Fold, RollingOrigin};
pub use baselines::{LeastSquares, drift, repeat_last, seasonal_naive};
pub use check::Check;
pub use diebold_mariano::DieboldMariano;
pub use exponential_smoothing::ExponentialSmoothing;
pub use metrics::{Scores, mse, mse_by_feature, mse_by_series, mse_by_step, mse_of_feature};
pub use probe::{correlation, linear_probe, mean_by_band};

//! From a signal to the windows that a network learns from.
//!
//! [`sine_cosine`] and [`two_sines`] make a [`Dataset`]; [`Dataset::split`] sets a part aside **before anything is
//! fitted**; [`WindowScaler`] brings each window to the same height.

mod dataset;
mod signals;
mod windows;

pub use dataset::{Dataset, Window};
pub use signals::{SineCosine, TwoSines, sine_cosine, two_sines};
pub use windows::WindowScaler;

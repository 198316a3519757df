//! From a signal to the windows that a network learns from.
//!
//! [`sine_cosine`] makes a [`Dataset`]; [`Dataset::split`] sets a part aside **before anything is
//! fitted**; [`WindowScaler`] brings each window to the same height.

mod dataset;
mod signals;
mod windows;

pub use dataset::{Dataset, Window};
pub use signals::{SineCosine, sine_cosine};
pub use windows::WindowScaler;

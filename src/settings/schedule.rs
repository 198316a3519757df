use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;

/// How the learning rate changes from step to step of a training.
///
/// Large steps find the region, small steps find the point in it: a rate that falls towards zero
/// ends lower than any rate that is kept, and it may begin several times higher. The first steps
/// are the exception. The weights are random then, and Adam knows little of its gradients: hence
/// the warm-up.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let schedule = Schedule::Cosine { warmup_fraction: 0.1 };
/// let rates: Vec<f64> = (0..100).map(|step| schedule.rate(0.01, step, 100)).collect();
/// assert_eq!(rates[9], 0.01); // after a tenth of the steps
/// assert!((rates[55] - 0.005).abs() < 1e-9); // half of the rest later
/// assert!(rates[99] < 0.0001);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// The same rate from the first step to the last.
    #[default]
    Constant,
    /// Up to the learning rate in a straight line, then down towards zero along half a cosine.
    ///
    /// Of N steps, W = `warmup_fraction` · N (rounded) warm up. Step i, counted from 0, has the
    /// learning rate times (i + 1) / W while i < W, and times ½ (1 + cos(π (i − W) / (N − W)))
    /// after that. Where [`max_seconds`](crate::train::Hyperparameters::max_seconds) is set, i is at least
    /// the part of that time that is over, times N.
    /// Sources: I. Loshchilov and F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*,
    /// ICLR 2017, equation 5, with one period and the minimum 0; P. Goyal et al., *Accurate, Large
    /// Minibatch SGD*, 2017, section 2.2, for the warm-up.
    Cosine {
        /// Part of the steps that warm up, from 0 to below 1; 0 for none.
        warmup_fraction: f64,
    },
}

impl Schedule {
    /// The learning rate of step number `step`, counted from 0, of `steps`, where `learning_rate`
    /// is the highest. From step number `steps` on, a cosine is 0.
    pub fn rate(self, learning_rate: f64, step: usize, steps: usize) -> f64 {
        match self {
            Self::Constant => learning_rate,
            Self::Cosine { warmup_fraction } => {
                let warmup = (warmup_fraction * steps as f64).round();
                let (step, steps) = (step as f64, steps as f64);
                if step < warmup {
                    return learning_rate * (step + 1.0) / warmup;
                }
                // At most 1, also of 0 / 0: after the last step the rate would rise again.
                let done = ((step - warmup) / (steps - warmup)).min(1.0);
                // `libm` gives the same bits on every machine.
                learning_rate * 0.5 * (1.0 + libm::cos(PI * done))
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => write!(f, "constant"),
            Self::Cosine { warmup_fraction } => write!(f, "cosine, warm-up {warmup_fraction}"),
        }
    }
}

//! The optimisers, as PyTorch computes them: from a gradient to new weights in one pass.

use super::level::{Isa, Kernel, Level};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the weights follow their gradient.
///
/// For each weight w with gradient g, step size α, L2 factor λ and ε = 1e-7 (Keras' default), all
/// starting from m = v = 0, and as in PyTorch:
///
/// ```text
/// all       g ← g + λw
///
/// Adam      m ← β₁m + (1 − β₁)g                 β₁ = 0.9
///           v ← β₂v + (1 − β₂)g²                β₂ = 0.999
///           w ← w − α/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)   in step t = 1, 2, …
///
/// RMSProp   v ← ρv + (1 − ρ)g²                  ρ is `decay`
///           m ← μm + g / (√v + ε)               μ is `momentum`
///           w ← w − αm
///
/// SGD       m ← μm + g                          μ is `momentum`
///           w ← w − αm
/// ```
///
/// Sources: D. P. Kingma and J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015;
/// T. Tieleman and G. Hinton, *Lecture 6.5: RMSProp*, 2012; B. T. Polyak, *Some methods of speeding
/// up the convergence of iteration methods*, 1964. TensorFlow's RMSProp has the ε inside the root,
/// and its oldest version starts from v = 1: its first steps are smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Adam: a running mean of the gradients, divided by the root of that of their squares.
    #[default]
    Adam,
    /// RMSProp: each gradient divided by the root of the running mean of its square.
    RmsProp {
        /// Decay of the mean squared gradient ρ, from 0 to below 1. PyTorch's default is 0.99.
        decay: f64,
        /// Part of the last step that is taken again μ, from 0 to below 1; 0 for none.
        momentum: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Part of the last step that is taken again μ, from 0 to below 1; 0 for none.
        momentum: f64,
    },
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adam => write!(f, "Adam"),
            Self::RmsProp { decay, momentum } => {
                write!(f, "RMSProp, decay {decay}, momentum {momentum}")
            }
            Self::Sgd { momentum } => write!(f, "SGD, momentum {momentum}"),
        }
    }
}

/// Decay of Adam's mean gradient, β₁.
pub const BETA_1: f32 = 0.9;
/// Decay of Adam's mean squared gradient, β₂.
pub const BETA_2: f32 = 0.999;
/// Added to the denominator of Adam and RMSProp, ε.
pub const EPSILON: f32 = 1e-7;

/// What a step does with the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The formula. Default Adam.
    pub optimizer: Optimizer,
    /// Step size α. Default 0.001.
    pub learning_rate: f32,
    /// L2 factor λ: λw is added to the gradient of every weight. Default 0.
    pub weight_decay: f32,
    /// The longest gradient that is used as it is; see [`clip_factor`]. Default none.
    pub clip_norm: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            optimizer: Optimizer::Adam,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            clip_norm: None,
        }
    }
}

/// What a gradient of length `norm` is multiplied by so that it is no longer than `clip_norm`:
/// min(1, `clip_norm` / (`norm` + 1e-6)), as PyTorch's `clip_grad_norm_`.
///
/// Source: R. Pascanu, T. Mikolov and Y. Bengio, *On the difficulty of training recurrent neural
/// networks*, ICML 2013, algorithm 1.
pub fn clip_factor(norm: f64, clip_norm: f64) -> f64 {
    (clip_norm / (norm + 1e-6)).min(1.0)
}

/// The length of a gradient, √(Σ g²), added up in an order that does not depend on the threads.
pub fn norm(gradient: &[f32]) -> f64 {
    squared_length(gradient).sqrt()
}

/// The sum of squares of a range of a gradient: of its halves, and so on down to a chunk.
fn squared_length(gradient: &[f32]) -> f64 {
    if gradient.len() <= CHUNK {
        return sum_of_squares(gradient);
    }
    let (left, right) = gradient.split_at(gradient.len().div_ceil(2));
    let (left, right) = rayon::join(|| squared_length(left), || squared_length(right));
    left + right
}

/// The same of a chunk. The order of the additions is fixed.
fn sum_of_squares(gradient: &[f32]) -> f64 {
    // As many sums as fill the vector registers, each of them independent of the others.
    let mut sums = [0.0; 16];
    for values in gradient.chunks(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums.iter().sum()
}

/// Weights that a thread sums and updates at once.
pub(crate) const CHUNK: usize = 4096;

/// One step on `weights`, with `momentum` and `square` as m and v of [`Optimizer`]: step number `step`, from
/// 1, on the gradient times `scale`. All four have the same length.
pub fn update(
    settings: Settings,
    step: i32,
    scale: f64,
    gradient: &[f32],
    weights: &mut [f32],
    momentum: &mut [f32],
    square: &mut [f32],
) {
    let scale = scale as f32;
    Update { settings, step, scale, gradient, weights, momentum, square }.chunks(Level::best());
}

/// One update of a range of weights.
pub(crate) struct Update<'a> {
    pub(crate) settings: Settings,
    /// Steps taken, this one included: t = 1, 2, …
    pub(crate) step: i32,
    /// Multiplies the gradient before all else (1, or less where its norm is clipped).
    pub(crate) scale: f32,
    pub(crate) gradient: &'a [f32],
    pub(crate) weights: &'a mut [f32],
    /// m of [`Optimizer`].
    pub(crate) momentum: &'a mut [f32],
    /// v of [`Optimizer`].
    pub(crate) square: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let splat = |value| isa.splat_f32s(value);
        let rate = self.settings.learning_rate;
        match self.settings.optimizer {
            Optimizer::Adam => {
                // The corrections are powers close to one: in f64, once a step.
                let correction_1 = 1.0 - f64::from(BETA_1).powi(self.step);
                let correction_2 = 1.0 - f64::from(BETA_2).powi(self.step);
                let rule = Adam {
                    rate: splat((f64::from(rate) / correction_1) as f32),
                    root: splat((1.0 / correction_2.sqrt()) as f32),
                    beta_1: [splat(BETA_1), splat(1.0 - BETA_1)],
                    beta_2: [splat(BETA_2), splat(1.0 - BETA_2)],
                    epsilon: splat(EPSILON),
                };
                self.apply(isa, rule);
            }
            Optimizer::RmsProp { decay, momentum } => {
                let rule = RmsProp {
                    rate: splat(rate),
                    decay: [splat(decay as f32), splat((1.0 - decay) as f32)],
                    momentum: splat(momentum as f32),
                    epsilon: splat(EPSILON),
                };
                self.apply(isa, rule);
            }
            Optimizer::Sgd { momentum } => {
                let rule = Sgd { rate: splat(rate), momentum: splat(momentum as f32) };
                self.apply(isa, rule);
            }
        }
    }
}

impl Update<'_> {
    /// Updates, chunk by chunk where other threads can help.
    pub(crate) fn chunks(self, level: Level) {
        if self.weights.len() <= CHUNK {
            return level.run(self); // not worth entering the thread pool
        }
        let Update { settings, step, scale, gradient, weights, momentum, square } = self;
        let states = momentum.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
        let weights = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        weights.zip(states).for_each(|((weights, gradient), (momentum, square))| {
            level.run(Update { settings, step, scale, gradient, weights, momentum, square });
        });
    }

    #[inline(always)]
    fn apply<S: Isa>(self, isa: S, rule: impl Rule<S>) {
        let scale = isa.splat_f32s(self.scale);
        let decay = isa.splat_f32s(self.settings.weight_decay);
        let lanes = S::F32_LANES;
        let chunks = self
            .weights
            .chunks_mut(lanes)
            .zip(self.gradient.chunks(lanes))
            .zip(self.momentum.chunks_mut(lanes))
            .zip(self.square.chunks_mut(lanes));
        for (((w_chunk, g_chunk), m_chunk), v_chunk) in chunks {
            let w = isa.partial_load_f32s(w_chunk);
            let g = isa.mul_f32s(isa.partial_load_f32s(g_chunk), scale);
            let g = isa.fma(decay, w, g);
            let (m, v) = (isa.partial_load_f32s(m_chunk), isa.partial_load_f32s(v_chunk));
            let (w, m, v) = rule.step(isa, w, g, m, v);
            isa.partial_store_f32s(w_chunk, w);
            isa.partial_store_f32s(m_chunk, m);
            isa.partial_store_f32s(v_chunk, v);
        }
    }
}

/// w, m and v of [`Optimizer`] after a step.
type Stepped<S> = (<S as pulp::Simd>::f32s, <S as pulp::Simd>::f32s, <S as pulp::Simd>::f32s);

/// The formula of an [`Optimizer`] with its constants in registers.
trait Rule<S: Isa> {
    fn step(&self, isa: S, w: S::f32s, g: S::f32s, m: S::f32s, v: S::f32s) -> Stepped<S>;
}

struct Adam<S: Isa> {
    /// α / (1 − β₁ᵗ)
    rate: S::f32s,
    /// 1 / √(1 − β₂ᵗ)
    root: S::f32s,
    /// β₁ and 1 − β₁
    beta_1: [S::f32s; 2],
    /// β₂ and 1 − β₂
    beta_2: [S::f32s; 2],
    epsilon: S::f32s,
}

impl<S: Isa> Rule<S> for Adam<S> {
    #[inline(always)]
    fn step(&self, isa: S, w: S::f32s, g: S::f32s, m: S::f32s, v: S::f32s) -> Stepped<S> {
        let m = isa.fma(self.beta_1[1], g, isa.mul_f32s(m, self.beta_1[0]));
        let v = isa.fma(self.beta_2[1], isa.mul_f32s(g, g), isa.mul_f32s(v, self.beta_2[0]));
        let denominator = isa.fma(isa.sqrt_f32s(v), self.root, self.epsilon);
        let w = isa.sub_f32s(w, isa.mul_f32s(self.rate, isa.div_f32s(m, denominator)));
        (w, m, v)
    }
}

struct RmsProp<S: Isa> {
    rate: S::f32s,
    /// ρ and 1 − ρ
    decay: [S::f32s; 2],
    momentum: S::f32s,
    epsilon: S::f32s,
}

impl<S: Isa> Rule<S> for RmsProp<S> {
    #[inline(always)]
    fn step(&self, isa: S, w: S::f32s, g: S::f32s, m: S::f32s, v: S::f32s) -> Stepped<S> {
        let v = isa.fma(self.decay[1], isa.mul_f32s(g, g), isa.mul_f32s(v, self.decay[0]));
        let denominator = isa.add_f32s(isa.sqrt_f32s(v), self.epsilon);
        let m = isa.fma(self.momentum, m, isa.div_f32s(g, denominator));
        (isa.sub_f32s(w, isa.mul_f32s(self.rate, m)), m, v)
    }
}

struct Sgd<S: Isa> {
    rate: S::f32s,
    momentum: S::f32s,
}

impl<S: Isa> Rule<S> for Sgd<S> {
    #[inline(always)]
    fn step(&self, isa: S, w: S::f32s, g: S::f32s, m: S::f32s, v: S::f32s) -> Stepped<S> {
        let m = isa.fma(self.momentum, m, g);
        (isa.sub_f32s(w, isa.mul_f32s(self.rate, m)), m, v)
    }
}

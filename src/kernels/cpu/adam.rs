//! Adam, as PyTorch computes it.
//!
//! D. P. Kingma and J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, with L2 added
//! to the gradient:
//!
//! ```text
//! g ← g + λw
//! m ← β₁m + (1 − β₁)g
//! v ← β₂v + (1 − β₂)g²
//! w ← w − α/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//! ```

use super::level::{Isa, Kernel};

/// The settings of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size α. Default 0.001.
    pub learning_rate: f32,
    /// Decay of the mean gradient β₁, in 0 to 1. Default 0.9.
    pub beta_1: f32,
    /// Decay of the mean squared gradient β₂, in 0 to 1. Default 0.999.
    pub beta_2: f32,
    /// Added to the denominator, ε. Default 1e-7.
    pub epsilon: f32,
    /// L2 factor λ: λw is added to the gradient of every weight. Default 0.
    pub weight_decay: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 0.0 }
    }
}

/// One update of a range of weights.
pub(crate) struct Update<'a> {
    pub(crate) adam: Adam,
    /// Steps taken, this one included: t = 1, 2, …
    pub(crate) step: i32,
    /// Multiplies the gradient before all else (1, or less where its norm is clipped).
    pub(crate) scale: f32,
    pub(crate) gradient: &'a [f32],
    pub(crate) weights: &'a mut [f32],
    pub(crate) mean: &'a mut [f32],
    pub(crate) square: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let Adam { learning_rate, beta_1, beta_2, epsilon, weight_decay } = self.adam;
        // The corrections are powers close to one: in f64, once a step.
        let correction_1 = 1.0 - f64::from(beta_1).powi(self.step);
        let correction_2 = 1.0 - f64::from(beta_2).powi(self.step);
        let splat = |value| isa.splat_f32s(value);
        let rate = splat((f64::from(learning_rate) / correction_1) as f32);
        let root = splat((1.0 / correction_2.sqrt()) as f32);
        let (beta_1, rest_1) = (splat(beta_1), splat(1.0 - beta_1));
        let (beta_2, rest_2) = (splat(beta_2), splat(1.0 - beta_2));
        let (epsilon, decay, scale) = (splat(epsilon), splat(weight_decay), splat(self.scale));

        let lanes = S::F32_LANES;
        let chunks = self
            .weights
            .chunks_mut(lanes)
            .zip(self.gradient.chunks(lanes))
            .zip(self.mean.chunks_mut(lanes))
            .zip(self.square.chunks_mut(lanes));
        for (((w_chunk, g_chunk), m_chunk), v_chunk) in chunks {
            let w = isa.partial_load_f32s(w_chunk);
            let g = isa.mul_f32s(isa.partial_load_f32s(g_chunk), scale);
            let g = isa.fma(decay, w, g);
            let m = isa.mul_f32s(isa.partial_load_f32s(m_chunk), beta_1);
            let m = isa.fma(rest_1, g, m);
            let v = isa.mul_f32s(isa.partial_load_f32s(v_chunk), beta_2);
            let v = isa.fma(rest_2, isa.mul_f32s(g, g), v);
            let denominator = isa.fma(isa.sqrt_f32s(v), root, epsilon);
            let w = isa.sub_f32s(w, isa.mul_f32s(rate, isa.div_f32s(m, denominator)));
            isa.partial_store_f32s(w_chunk, w);
            isa.partial_store_f32s(m_chunk, m);
            isa.partial_store_f32s(v_chunk, v);
        }
    }
}

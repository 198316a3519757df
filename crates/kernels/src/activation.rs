//! Sigmoid and tanh on vectors.
//!
//! | function | method | largest relative error | where |
//! |---|---|---|---|
//! | `sigmoid` | 1 / (1 + e⁻ˣ), eˣ by Cody and Waite's reduction and a polynomial | 2e-7 | x > −87 |
//! | `tanh` | odd rational function x·p(x²)/q(x²) | 4e-7 | everywhere |
//!
//! Below −87 sigmoid stays at its smallest normal value, about 1.6e-38, instead of going on to
//! zero. Signed zeros keep their sign through tanh, infinities give the limits, and NaN stays NaN.
//! The test `activations` holds these statements against `f64` over the whole range of `f32`.

use super::level::{Isa, Kernel, Level};

/// eˣ for −87 ≤ x ≤ 87; NaN for NaN.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2 (W. J. Cody and W. Waite, *Software Manual for the Elementary
/// Functions*, 1980, chapter 6), eʳ by the minimax polynomial of the Cephes library's `expf`
/// (S. L. Moshier), and 2ⁿ put together from its bits.
#[inline(always)]
fn exp<S: Isa>(isa: S, x: S::f32s) -> S::f32s {
    // Adding 1.5·2²³ leaves no bits for a fraction: the sum's last bits are n.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let splat = |value| isa.splat_f32s(value);

    let shifted = isa.fma(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = isa.sub_f32s(shifted, splat(ROUND));
    let r = isa.fma(n, splat(-LN_2_HIGH), x);
    let r = isa.fma(n, splat(-LN_2_LOW), r);

    // In pairs, so that no product waits for all those before it.
    let r2 = isa.mul_f32s(r, r);
    let high = isa.fma(r, splat(1.987_569_1e-4), splat(1.398_199_9e-3));
    let middle = isa.fma(r, splat(8.333_452e-3), splat(4.166_579_6e-2));
    let low = isa.fma(r, splat(1.666_666_5e-1), splat(0.5));
    let p = isa.fma(isa.fma(high, r2, middle), r2, low);
    let p = isa.fma(p, r2, isa.add_f32s(r, splat(1.0)));

    let exponent = isa.wrapping_dyn_shl_u32s(isa.transmute_u32s_f32s(shifted), isa.splat_u32s(23));
    let power = isa.add_u32s(exponent, isa.transmute_u32s_f32s(splat(1.0)));
    isa.mul_f32s(p, isa.transmute_f32s_u32s(power))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid<S: Isa>(isa: S, x: S::f32s) -> S::f32s {
    let one = isa.splat_f32s(1.0);
    let e = exp(isa, isa.clamp(isa.neg_f32s(x), -87.0, 87.0));
    isa.div_f32s(one, isa.add_f32s(one, e))
}

/// tanh, as an odd rational function.
///
/// The coefficients are those of the Eigen library's `ptanh_float`, found by rminimax (N. Brisebarre,
/// S. Chevillard and S.-I. Filip); at the limit the quotient rounds to 1.
#[inline(always)]
pub(crate) fn tanh<S: Isa>(isa: S, x: S::f32s) -> S::f32s {
    const LIMIT: f32 = 8.017_734;
    const P: [f32; 4] = [2.102_733_6e-5, 3.520_756_7e-3, 1.340_216_1e-1, 1.0];
    const Q: [f32; 4] = [3.326_951_4e-4, 2.597_254_5e-2, 4.673_548_3e-1, 1.0];

    let x = isa.clamp(x, -LIMIT, LIMIT);
    let x2 = isa.mul_f32s(x, x);
    let mut p = isa.splat_f32s(1.394_553_6e-8);
    for coefficient in P {
        p = isa.fma(p, x2, isa.splat_f32s(coefficient));
    }
    let mut q = isa.splat_f32s(8.015_777e-7);
    for coefficient in Q {
        q = isa.fma(q, x2, isa.splat_f32s(coefficient));
    }
    // The quotient first: x·p would lose bits where it is too small for a normal number.
    isa.mul_f32s(x, isa.div_f32s(p, q))
}

/// Which function [`apply`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// Replaces every value by its activation.
pub fn apply(level: Level, activation: Activation, values: &mut [f32]) {
    level.run(Apply { activation, values });
}

struct Apply<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        for chunk in self.values.chunks_mut(S::F32_LANES) {
            let x = isa.partial_load_f32s(chunk);
            let y = match self.activation {
                Activation::Sigmoid => sigmoid(isa, x),
                Activation::Tanh => tanh(isa, x),
            };
            isa.partial_store_f32s(chunk, y);
        }
    }
}

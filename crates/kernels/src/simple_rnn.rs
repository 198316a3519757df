//! The formula of the simple RNN, forward and backward.
//!
//! ```text
//! h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
//! ```
//!
//! Backward, from e = ∂loss/∂h', with ∂a the gradient of the argument of tanh:
//!
//! ```text
//! ∂a = e∘(1 − h'²)
//! ∂h = W_hhᵀ ∂a
//! ```
//!
//! The one saved group is h', replaced by ∂a.

use super::activation::tanh;
use super::cell::{Cell, minus_square};
use super::level::Isa;
use super::tile::Row;

/// The simple recurrent unit (Elman's network), with tanh.
pub(crate) struct SimpleRnn;

impl Cell for SimpleRnn {
    const GATES: usize = 1;
    const SAVED: usize = 1;

    #[inline(always)]
    fn forward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        _before: &[Row<S, C>],
        after: &mut [Row<S, C>],
        _carried: &mut [Row<S, C>],
    ) {
        for (row, after) in gates.iter_mut().zip(after) {
            for x in row.iter_mut() {
                *x = tanh(isa, *x);
            }
            *after = *row;
        }
    }

    #[inline(always)]
    fn backward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        upstream: Option<&[Row<S, C>]>,
        carry: &mut [Row<S, C>],
        _carried: &mut [Row<S, C>],
    ) {
        let hidden = before.len();
        let (gates, carry) = (&mut gates[..hidden], &mut carry[..hidden]);
        let one = isa.splat_f32s(1.0);
        for j in 0..hidden {
            for c in 0..C {
                let mut e = carry[j][c];
                if let Some(upstream) = upstream {
                    e = isa.add_f32s(e, upstream[j][c]);
                }
                gates[j][c] = isa.mul_f32s(e, minus_square(isa, one, gates[j][c]));
                // All of the state's gradient passes through the weights.
                carry[j][c] = isa.splat_f32s(0.0);
            }
        }
    }
}

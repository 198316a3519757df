//! The gate formulas of the LSTM, forward and backward.
//!
//! The variant is PyTorch's and Keras's: forget gate, no peepholes. With σ the sigmoid and ∘ the
//! product of elements,
//!
//! ```text
//! i  = σ(W_ii x + b_ii + W_hi h + b_hi)
//! f  = σ(W_if x + b_if + W_hf h + b_hf)
//! g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
//! o  = σ(W_io x + b_io + W_ho h + b_ho)
//! c' = f∘c + i∘g
//! h' = o∘s       with s = tanh(c')
//! ```
//!
//! Backward, from e = ∂loss/∂h' and d = ∂loss/∂c', with ∂ read as the gradient of each gate's
//! argument:
//!
//! ```text
//! ∂o = e∘s∘o∘(1 − o)
//! δ  = d + e∘o∘(1 − s²)               all that reaches c'
//! ∂i = δ∘g∘i∘(1 − i)
//! ∂f = δ∘c∘f∘(1 − f)
//! ∂g = δ∘i∘(1 − g²)
//! ∂c = δ∘f
//! ∂h = W_hiᵀ ∂i + W_hfᵀ ∂f + W_hgᵀ ∂g + W_hoᵀ ∂o
//! ```
//!
//! The saved groups are `[i, f, g, o, c, s]`, of which the first four are replaced by
//! `[∂i, ∂f, ∂g, ∂o]`, the gradient that meets both weights. The cell state is carried: one block of
//! rows that each step replaces, by c' on the way forward and by ∂c on the way back.

use super::activation::{sigmoid, tanh};
use super::cell::{Cell, minus_square};
use super::level::Isa;
use super::tile::Row;

/// The long short-term memory.
pub(crate) struct Lstm;

impl Cell for Lstm {
    const GATES: usize = 4;
    const SAVED: usize = 6;
    const CARRIED: usize = 1;

    #[inline(always)]
    fn forward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        after: &mut [Row<S, C>],
        carried: &mut [Row<S, C>],
    ) {
        let hidden = before.len();
        let Groups { i, f, g, o, c, s } = Groups::<S, C>::split(gates, hidden);
        for gate in [&mut *i, &mut *f, &mut *o] {
            for row in gate {
                for x in row {
                    *x = sigmoid(isa, *x);
                }
            }
        }
        let (after, carried) = (&mut after[..hidden], &mut carried[..hidden]);
        for j in 0..hidden {
            for k in 0..C {
                let candidate = tanh(isa, g[j][k]);
                let before = carried[j][k];
                let new = isa.fma(f[j][k], before, isa.mul_f32s(i[j][k], candidate));
                let squashed = tanh(isa, new);
                g[j][k] = candidate;
                c[j][k] = before;
                s[j][k] = squashed;
                carried[j][k] = new;
                after[j][k] = isa.mul_f32s(o[j][k], squashed);
            }
        }
    }

    #[inline(always)]
    fn backward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        upstream: Option<&[Row<S, C>]>,
        carry: &mut [Row<S, C>],
        carried: &mut [Row<S, C>],
    ) {
        let hidden = before.len();
        let Groups { i, f, g, o, c, s } = Groups::<S, C>::split(gates, hidden);
        let (carry, carried) = (&mut carry[..hidden], &mut carried[..hidden]);
        let one = isa.splat_f32s(1.0);
        for j in 0..hidden {
            for k in 0..C {
                let mut e = carry[j][k];
                if let Some(upstream) = upstream {
                    e = isa.add_f32s(e, upstream[j][k]);
                }
                let (ij, fj, gj, oj, sj) = (i[j][k], f[j][k], g[j][k], o[j][k], s[j][k]);
                let eo = isa.mul_f32s(e, oj);
                let of_o = isa.mul_f32s(isa.mul_f32s(eo, sj), isa.sub_f32s(one, oj));
                let delta = isa.fma(eo, minus_square(isa, one, sj), carried[j][k]);
                let di = isa.mul_f32s(delta, ij);
                let df = isa.mul_f32s(delta, fj);
                i[j][k] = isa.mul_f32s(isa.mul_f32s(di, gj), isa.sub_f32s(one, ij));
                f[j][k] = isa.mul_f32s(isa.mul_f32s(df, c[j][k]), isa.sub_f32s(one, fj));
                g[j][k] = isa.mul_f32s(di, minus_square(isa, one, gj));
                o[j][k] = of_o;
                carried[j][k] = df;
                // All of the state's gradient passes through the weights.
                carry[j][k] = isa.splat_f32s(0.0);
            }
        }
    }
}

/// The saved groups of one step, a row a unit.
struct Groups<'a, S: Isa, const C: usize> {
    i: &'a mut [Row<S, C>],
    f: &'a mut [Row<S, C>],
    g: &'a mut [Row<S, C>],
    o: &'a mut [Row<S, C>],
    /// The cell state before the step.
    c: &'a mut [Row<S, C>],
    /// tanh of the cell state after it.
    s: &'a mut [Row<S, C>],
}

impl<'a, S: Isa, const C: usize> Groups<'a, S, C> {
    #[inline(always)]
    fn split(gates: &'a mut [Row<S, C>], hidden: usize) -> Self {
        let (i, rest) = gates.split_at_mut(hidden);
        let (f, rest) = rest.split_at_mut(hidden);
        let (g, rest) = rest.split_at_mut(hidden);
        let (o, rest) = rest.split_at_mut(hidden);
        let (c, s) = rest.split_at_mut(hidden);
        Groups { i, f, g, o, c, s: &mut s[..hidden] }
    }
}

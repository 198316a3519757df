//! The gate formulas of the GRU, forward and backward.
//!
//! The variant is PyTorch's and Keras's (`reset_after=True`): the reset gate acts after the
//! recurrent product, and each product has a bias of its own. With σ the sigmoid and ∘ the product
//! of elements,
//!
//! ```text
//! r  = σ(W_ir x + b_ir + W_hr h + b_hr)
//! z  = σ(W_iz x + b_iz + W_hz h + b_hz)
//! u  = W_hn h + b_hn
//! n  = tanh(W_in x + b_in + r∘u)
//! h' = (1 − z)∘n + z∘h
//! ```
//!
//! Backward, from g = ∂loss/∂h', with ∂ read as the gradient of each gate's argument:
//!
//! ```text
//! ∂n = g∘(1 − z)∘(1 − n²)             ∂u = ∂n∘r
//! ∂z = g∘(h − n)∘z∘(1 − z)
//! ∂r = ∂n∘u∘r∘(1 − r)
//! ∂h = g∘z + W_hrᵀ ∂r + W_hzᵀ ∂z + W_hnᵀ ∂u
//! ```
//!
//! The saved groups are `[n, r, z, u]`, replaced by `[∂n, ∂r, ∂z, ∂u]`: the first three are the
//! gradient that meets the input's weights, the last three the one that meets the recurrent
//! weights, and both are one block of rows.

use super::activation::{sigmoid, tanh};
use super::cell::{Cell, minus_square};
use super::level::Isa;
use super::product::{Block, PANEL, Panels, accumulate, two_panels_fit};
use super::tile::Row;

/// The gated recurrent unit.
pub(crate) struct Gru;

/// Units of a panel: a panel of `weight_hh` holds r, z and n of two units.
const UNITS: usize = PANEL / 3;

impl Cell for Gru {
    const GATES: usize = 3;
    const SAVED: usize = 4;
    const RECURRENT: usize = 1;

    /// Saved n, r, z are rows n, r, z of weights in the order r, z, n.
    #[inline(always)]
    fn input_row(k: usize, hidden: usize) -> usize {
        if k < hidden { k + 2 * hidden } else { k - hidden }
    }

    fn new_recurrent(hidden: usize) -> Panels {
        Panels::new(hidden.div_ceil(UNITS) * PANEL, hidden)
    }

    fn pack_recurrent(panels: &mut Panels, weight_hh: &[f32], hidden: usize) {
        panels.pack_rows(weight_hh, |p, r| {
            let (gate, unit) = (r / UNITS, p * UNITS + r % UNITS);
            (unit < hidden).then_some(gate * hidden + unit)
        });
    }

    fn pack_bias(
        input: &mut [f32],
        recurrent: &mut [f32],
        bias_ih: &[f32],
        bias_hh: &[f32],
        hidden: usize,
    ) {
        recurrent.copy_from_slice(&bias_hh[2 * hidden..]);
        for (k, to) in input.iter_mut().enumerate() {
            let row = Self::input_row(k, hidden);
            *to = bias_ih[row] + if row < 2 * hidden { bias_hh[row] } else { 0.0 };
        }
    }

    #[inline(always)]
    fn forward<S: Isa, const C: usize>(
        isa: S,
        recurrent: &Panels,
        bias: &[f32],
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        after: &mut [Row<S, C>],
        _carried: &mut [Row<S, C>],
    ) {
        let mut step = Step::new(recurrent, bias, gates, before, after);
        let mut p = 0;
        if two_panels_fit::<S, C>() {
            while p + 2 <= recurrent.len() {
                step.panels::<2>(isa, p);
                p += 2;
            }
        }
        while p < recurrent.len() {
            step.panels::<1>(isa, p);
            p += 1;
        }
        step.gates(isa);
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
        let (n, rest) = gates.split_at_mut(hidden);
        let (r, rest) = rest.split_at_mut(hidden);
        let (z, u) = rest.split_at_mut(hidden);
        let (u, carry) = (&mut u[..hidden], &mut carry[..hidden]);
        let one = isa.splat_f32s(1.0);
        for j in 0..hidden {
            for c in 0..C {
                let mut g = carry[j][c];
                if let Some(upstream) = upstream {
                    g = isa.add_f32s(g, upstream[j][c]);
                }
                let (nj, rj, zj, uj, h) = (n[j][c], r[j][c], z[j][c], u[j][c], before[j][c]);
                let gz = isa.mul_f32s(g, zj);
                let dn = isa.mul_f32s(isa.sub_f32s(g, gz), minus_square(isa, one, nj));
                let dz = isa.mul_f32s(isa.mul_f32s(gz, isa.sub_f32s(one, zj)), isa.sub_f32s(h, nj));
                let du = isa.mul_f32s(dn, rj);
                let dr = isa.mul_f32s(isa.mul_f32s(du, uj), isa.sub_f32s(one, rj));
                n[j][c] = dn;
                r[j][c] = dr;
                z[j][c] = dz;
                u[j][c] = du;
                carry[j][c] = gz;
            }
        }
    }
}

/// The arrays of one forward step, a row a unit.
struct Step<'a, S: Isa, const C: usize> {
    recurrent: &'a Panels,
    bias: &'a [f32],
    n: &'a mut [Row<S, C>],
    r: &'a mut [Row<S, C>],
    z: &'a mut [Row<S, C>],
    u: &'a mut [Row<S, C>],
    before: &'a [Row<S, C>],
    after: &'a mut [Row<S, C>],
}

impl<'a, S: Isa, const C: usize> Step<'a, S, C> {
    #[inline(always)]
    fn new(
        recurrent: &'a Panels,
        bias: &'a [f32],
        gates: &'a mut [Row<S, C>],
        before: &'a [Row<S, C>],
        after: &'a mut [Row<S, C>],
    ) -> Self {
        let hidden = before.len();
        let (n, rest) = gates.split_at_mut(hidden);
        let (r, rest) = rest.split_at_mut(hidden);
        let (z, u) = rest.split_at_mut(hidden);
        let (u, after, bias) = (&mut u[..hidden], &mut after[..hidden], &bias[..hidden]);
        Step { recurrent, bias, n, r, z, u, before, after }
    }

    /// The units of panels `p` to `p + P`: inner products, gates, new state.
    #[inline(always)]
    fn panels<const P: usize>(&mut self, isa: S, p: usize) {
        let hidden = self.before.len();
        let mut sums: [Block<S, C>; P] = [[[isa.splat_f32s(0.0); C]; PANEL]; P];
        for (i, sums) in sums.iter_mut().enumerate() {
            for unit in 0..UNITS {
                let j = (p + i) * UNITS + unit;
                if j < hidden {
                    sums[unit] = self.r[j];
                    sums[UNITS + unit] = self.z[j];
                    sums[2 * UNITS + unit] = [isa.splat_f32s(self.bias[j]); C];
                }
            }
        }
        let sums = accumulate(isa, sums, self.recurrent.get::<P>(p), self.before);
        for (i, sums) in sums.iter().enumerate() {
            for unit in 0..UNITS {
                let j = (p + i) * UNITS + unit;
                if j < hidden {
                    self.r[j] = sums[unit];
                    self.z[j] = sums[UNITS + unit];
                    self.u[j] = sums[2 * UNITS + unit];
                }
            }
        }
    }

    /// The gates of all units, from the sums that [`panels`](Step::panels) left in their places.
    ///
    /// A pass of its own: with the registers free of the inner products the units overlap better.
    #[inline(always)]
    fn gates(&mut self, isa: S) {
        for gate in [&mut *self.r, &mut *self.z] {
            for row in gate.iter_mut() {
                for x in row {
                    *x = sigmoid(isa, *x);
                }
            }
        }
        for j in 0..self.before.len() {
            for c in 0..C {
                let n = tanh(isa, isa.fma(self.r[j][c], self.u[j][c], self.n[j][c]));
                self.n[j][c] = n;
                self.after[j][c] = isa.fma(self.z[j][c], isa.sub_f32s(self.before[j][c], n), n);
            }
        }
    }
}

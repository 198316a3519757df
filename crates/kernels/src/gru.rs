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
use super::product::{Block, PANEL, Panels, accumulate, depths, two_panels_fit};
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
    fn recur<S: Isa, const C: usize>(
        isa: S,
        recurrent: &Panels,
        bias: &[f32],
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        tiles: usize,
    ) {
        let hidden = bias.len();
        for ks in depths(hidden) {
            for panels in recurrent.batches() {
                for i in 0..tiles {
                    let before = &before[i * hidden..][ks.clone()];
                    let gates = &mut gates[i * Self::SAVED * hidden..][..Self::SAVED * hidden];
                    let mut sums = Sums::new(gates, before, bias, ks.start == 0);
                    let mut p = panels.start;
                    while two_panels_fit::<S, C>() && p + 2 <= panels.end {
                        sums.add::<2>(isa, recurrent.get(p, &ks), p);
                        p += 2;
                    }
                    while p < panels.end {
                        sums.add::<1>(isa, recurrent.get(p, &ks), p);
                        p += 1;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn forward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        after: &mut [Row<S, C>],
        _carried: &mut [Row<S, C>],
    ) {
        let hidden = before.len();
        let (n, r, z, u) = split::<S, C>(gates, hidden);
        let after = &mut after[..hidden];
        for gate in [&mut *r, &mut *z] {
            for row in gate.iter_mut() {
                for x in row {
                    *x = sigmoid(isa, *x);
                }
            }
        }
        for j in 0..hidden {
            for c in 0..C {
                let candidate = tanh(isa, isa.fma(r[j][c], u[j][c], n[j][c]));
                n[j][c] = candidate;
                after[j][c] = isa.fma(z[j][c], isa.sub_f32s(before[j][c], candidate), candidate);
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
        _carried: &mut [Row<S, C>],
    ) {
        let hidden = before.len();
        let (n, r, z, u) = split::<S, C>(gates, hidden);
        let carry = &mut carry[..hidden];
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

/// The saved groups of one step, a row a unit.
#[inline(always)]
#[expect(clippy::type_complexity, reason = "four times the same")]
fn split<S: Isa, const C: usize>(
    gates: &mut [Row<S, C>],
    hidden: usize,
) -> (&mut [Row<S, C>], &mut [Row<S, C>], &mut [Row<S, C>], &mut [Row<S, C>]) {
    let (n, rest) = gates.split_at_mut(hidden);
    let (r, rest) = rest.split_at_mut(hidden);
    let (z, u) = rest.split_at_mut(hidden);
    (n, r, z, &mut u[..hidden])
}

/// The sums of r, z and u of one tile, while the inner products are added.
struct Sums<'a, S: Isa, const C: usize> {
    r: &'a mut [Row<S, C>],
    z: &'a mut [Row<S, C>],
    u: &'a mut [Row<S, C>],
    /// The part of the state before whose products are added.
    before: &'a [Row<S, C>],
    bias: &'a [f32],
    /// Whether `u` holds nothing yet: it begins with the bias.
    from_bias: bool,
}

impl<'a, S: Isa, const C: usize> Sums<'a, S, C> {
    #[inline(always)]
    fn new(
        gates: &'a mut [Row<S, C>],
        before: &'a [Row<S, C>],
        bias: &'a [f32],
        from_bias: bool,
    ) -> Self {
        let (_, r, z, u) = split::<S, C>(gates, bias.len());
        Sums { r, z, u, before, bias, from_bias }
    }

    /// The units of some panels, of which the first is number `p`.
    #[inline(always)]
    fn add<const P: usize>(&mut self, isa: S, panels: [&[[f32; PANEL]]; P], p: usize) {
        let hidden = self.bias.len();
        let mut sums: [Block<S, C>; P] = [[[isa.splat_f32s(0.0); C]; PANEL]; P];
        for (i, sums) in sums.iter_mut().enumerate() {
            for unit in 0..UNITS {
                let j = (p + i) * UNITS + unit;
                if j < hidden {
                    sums[unit] = self.r[j];
                    sums[UNITS + unit] = self.z[j];
                    sums[2 * UNITS + unit] = match self.from_bias {
                        true => [isa.splat_f32s(self.bias[j]); C],
                        false => self.u[j],
                    };
                }
            }
        }
        let sums = accumulate(isa, sums, panels, self.before);
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
}

//! What a recurrent cell is to the frame.
//!
//! The frame (`layer`, `stack`) owns time, tiles, weights' gradients and threads. A cell owns its gate
//! formulas and the order of its row groups: how its weights are packed, one step forward, and one
//! step back through the gates. An LSTM carries its cell state along beside its output; the simple
//! RNN has one group and no more.

use super::level::Isa;
use super::product::{Columns, PANEL, Panels, Start, product, products};
use super::tile::Row;

/// The formulas of one kind of recurrent cell.
///
/// The weights have `GATES` groups of H rows, the saved activations `SAVED` groups of H rows. Of
/// these, `GATES` groups from [`INPUT`](Cell::INPUT) on multiply `weight_ih` and `GATES` groups
/// from [`RECURRENT`](Cell::RECURRENT) on multiply `weight_hh`, in the orders of
/// [`input_row`](Cell::input_row) and [`recurrent_row`](Cell::recurrent_row).
///
/// What stands here for a constant or a method holds for a cell whose gates take the sum of both
/// products and both biases: its first saved groups are the gates in the order of the weights, and
/// the recurrent product is added to that of the input. The GRU, whose candidate keeps the two
/// apart, has its own.
pub(crate) trait Cell {
    /// Groups of H rows in each weight matrix.
    const GATES: usize;
    /// Groups of H rows kept from the forward pass.
    const SAVED: usize;
    /// The first saved group whose gradient goes to the input's weights.
    const INPUT: usize = 0;
    /// The first saved group whose gradient goes to the recurrent weights.
    const RECURRENT: usize = 0;
    /// Groups of H rows that a series carries from step to step beside its output.
    const CARRIED: usize = 0;

    /// The row of `weight_ih` that belongs to row `k` of the saved input groups.
    #[inline(always)]
    fn input_row(k: usize, _hidden: usize) -> usize {
        k
    }
    /// The row of `weight_hh` that belongs to row `k` of the saved recurrent groups.
    #[inline(always)]
    fn recurrent_row(k: usize, _hidden: usize) -> usize {
        k
    }

    /// The panels of `weight_hh` as [`recur`](Cell::recur) reads them.
    fn new_recurrent(hidden: usize) -> Panels {
        Panels::new(Self::GATES * hidden, hidden)
    }
    /// Fills the panels of [`new_recurrent`](Cell::new_recurrent).
    fn pack_recurrent(panels: &mut Panels, weight_hh: &[f32], hidden: usize) {
        panels.pack_rows(weight_hh, |p, r| {
            let row = p * PANEL + r;
            (row < Self::GATES * hidden).then_some(row)
        });
    }
    /// What is added to the input's product, and what inside the step, from the two biases.
    fn pack_bias(
        input: &mut [f32],
        _recurrent: &mut [f32],
        bias_ih: &[f32],
        bias_hh: &[f32],
        _hidden: usize,
    ) {
        for ((to, ih), hh) in input.iter_mut().zip(bias_ih).zip(bias_hh) {
            *to = ih + hh;
        }
    }

    /// The first half of a step, of one tile or of several that read the weights together: adds the
    /// recurrent product of the states before, (H, W) of each, to the input's product in `gates`, (SAVED·H, W)
    /// of each.
    #[inline(always)]
    fn recur<S: Isa, const C: usize>(
        isa: S,
        recurrent: &Panels,
        _bias: &[f32],
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        tiles: usize,
    ) {
        if tiles == 1 {
            let gates = &mut gates[..Self::GATES * before.len()];
            return product(isa, recurrent, before, Start::Output, gates);
        }
        let (stride, hidden) = (gates.len() / tiles, before.len() / tiles);
        let gates = Columns { rows: gates, stride, range: 0..Self::GATES * hidden };
        products(isa, recurrent, Columns::whole(before, hidden), Start::Output, gates);
    }

    /// The second half of a step, of one tile: from the sums in `gates` and the state before, the gates to save
    /// and the state after. What is carried beside the output is replaced in `carried`. Apart from the first
    /// half, because with the registers free of the inner products the units overlap better.
    fn forward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        after: &mut [Row<S, C>],
        carried: &mut [Row<S, C>],
    );

    /// One step back through the gates: replaces the saved gates by the gradients of their
    /// arguments, the state's gradient by the part that does not pass through the weights, and the
    /// gradient of what was carried after the step by that of what was carried before it.
    fn backward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        upstream: Option<&[Row<S, C>]>,
        carry: &mut [Row<S, C>],
        carried: &mut [Row<S, C>],
    );
}

/// `a − x²`.
#[inline(always)]
pub(super) fn minus_square<S: Isa>(isa: S, a: S::f32s, x: S::f32s) -> S::f32s {
    isa.fma(isa.neg_f32s(x), x, a)
}

//! What a recurrent cell is to the frame.
//!
//! The frame (`layer`) owns time, tiles, weights' gradients and threads. A cell owns its gate
//! formulas and the order of its row groups: how its weights are packed, one step forward, and one
//! step back through the gates. An LSTM adds its cell state as one more saved group; the simple
//! RNN has one group and no more.

use super::layer::Shape;
use super::level::Isa;
use super::product::Panels;
use super::tile::Row;

/// The formulas of one kind of recurrent cell.
///
/// The weights have `GATES` groups of H rows, the saved activations `SAVED` groups of H rows. Of
/// these, `GATES` groups from [`INPUT`](Cell::INPUT) on multiply `weight_ih` and `GATES` groups
/// from [`RECURRENT`](Cell::RECURRENT) on multiply `weight_hh`, in the orders of
/// [`input_row`](Cell::input_row) and [`recurrent_row`](Cell::recurrent_row).
pub(crate) trait Cell {
    /// Groups of H rows in each weight matrix.
    const GATES: usize;
    /// Groups of H rows kept from the forward pass.
    const SAVED: usize;
    /// The first saved group whose gradient goes to the input's weights.
    const INPUT: usize;
    /// The first saved group whose gradient goes to the recurrent weights.
    const RECURRENT: usize;

    /// The row of `weight_ih` that belongs to row `k` of the saved input groups.
    fn input_row(k: usize, hidden: usize) -> usize;
    /// The row of `weight_hh` that belongs to row `k` of the saved recurrent groups.
    fn recurrent_row(k: usize, hidden: usize) -> usize;

    /// The panels of `weight_hh` as [`forward`](Cell::forward) wants them.
    fn new_recurrent(hidden: usize) -> Panels;
    /// Fills the panels of [`new_recurrent`](Cell::new_recurrent).
    fn pack_recurrent(panels: &mut Panels, weight_hh: &[f32], hidden: usize);
    /// What is added to the input's product, and what inside the step, from the two biases.
    fn pack_bias(
        input: &mut [f32],
        recurrent: &mut [f32],
        bias_ih: &[f32],
        bias_hh: &[f32],
        shape: Shape,
    );

    /// One step: from the input's product in `gates` and the state before, the gates to save and
    /// the state after.
    fn forward<S: Isa, const C: usize>(
        isa: S,
        recurrent: &Panels,
        bias: &[f32],
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        after: &mut [Row<S, C>],
    );

    /// One step back through the gates: replaces the saved gates by the gradients of their
    /// arguments, and the state's gradient by the part that does not pass through the weights.
    fn backward<S: Isa, const C: usize>(
        isa: S,
        gates: &mut [Row<S, C>],
        before: &[Row<S, C>],
        upstream: Option<&[Row<S, C>]>,
        carry: &mut [Row<S, C>],
    );
}

//! The dense head: the same affine map of every output of a layer, for one tile.

use super::level::Isa;
use super::outer::{Sequence, outer, row_sums};
use super::product::{Columns, PANEL, Panels, Start, products};
use super::tile::{TileKernel, rows, rows_mut};

/// Weights (O, H) and bias (O) of the head, packed for both directions.
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    weight: Panels,
    transposed: Panels,
    bias: Vec<f32>,
}

impl Dense {
    /// Space for the weights; [`pack`](Dense::pack) fills it.
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        Dense {
            inputs,
            outputs,
            weight: Panels::new(outputs, inputs),
            transposed: Panels::new(inputs, outputs),
            bias: vec![0.0; outputs],
        }
    }

    /// Weights of a head: weight, then bias.
    pub(crate) fn weights(inputs: usize, outputs: usize) -> usize {
        outputs * (inputs + 1)
    }

    /// Takes over new weights.
    pub(crate) fn pack(&mut self, flat: &[f32]) {
        let (weight, bias) = flat.split_at(self.outputs * self.inputs);
        self.weight.pack_rows(weight, |p, r| {
            let row = p * PANEL + r;
            (row < self.outputs).then_some(row)
        });
        self.transposed.pack_columns(weight, self.inputs, |k| k);
        self.bias.copy_from_slice(bias);
    }
}

/// The head's outputs for all steps of a tile, or for a step of several tiles.
pub(crate) struct Forward<'a> {
    pub(crate) dense: &'a Dense,
    /// (H, W) of each step or tile.
    pub(crate) input: &'a [f32],
    /// O rows of each, written.
    pub(crate) output: Columns<&'a mut [f32]>,
}

impl TileKernel for Forward<'_> {
    #[inline(always)]
    fn compute<S: Isa, const C: usize>(self, isa: S) {
        let Dense { weight, bias, .. } = self.dense;
        let Columns { rows: output, stride, range } = self.output;
        let output = Columns { rows: rows_mut::<S, C>(output), stride, range };
        let input = Columns::whole(rows::<S, C>(self.input), self.dense.inputs);
        products(isa, weight, input, Start::Bias(bias), output);
    }
}

/// The gradient of the head's input for all steps of a tile.
pub(crate) struct Backward<'a> {
    pub(crate) dense: &'a Dense,
    /// (T·O, W): the gradient of the outputs.
    pub(crate) upstream: &'a [f32],
    /// (T·H, W), overwritten.
    pub(crate) input_gradient: &'a mut [f32],
}

impl TileKernel for Backward<'_> {
    #[inline(always)]
    fn compute<S: Isa, const C: usize>(self, isa: S) {
        let Dense { inputs, outputs, .. } = *self.dense;
        let upstream = Columns::whole(rows::<S, C>(self.upstream), outputs);
        let to = Columns::whole(rows_mut::<S, C>(self.input_gradient), inputs);
        products(isa, &self.dense.transposed, upstream, Start::Zero, to);
    }
}

/// The gradient of the head's weights, of one tile, added to `gradient`.
pub(crate) struct Weights<'a> {
    pub(crate) dense: &'a Dense,
    /// (T·H, W), as in the forward pass.
    pub(crate) input: &'a [f32],
    /// (T·O, W): the gradient of the outputs.
    pub(crate) upstream: &'a [f32],
    /// Weight, then bias.
    pub(crate) gradient: &'a mut [f32],
    /// [`scratch_len`](super::outer::scratch_len) floats for H.
    pub(crate) scratch: &'a mut [f32],
}

impl TileKernel for Weights<'_> {
    #[inline(always)]
    fn compute<S: Isa, const C: usize>(self, isa: S) {
        let Dense { inputs, outputs, .. } = *self.dense;
        let (weight, bias) = self.gradient.split_at_mut(outputs * inputs);
        let input = Sequence::whole(rows::<S, C>(self.input), inputs);
        let upstream = Sequence::whole(rows::<S, C>(self.upstream), outputs);
        outer(isa, 1, |_| upstream.clone(), input, weight, self.scratch);
        row_sums(isa, upstream, |row, sum| bias[row] += sum);
    }
}

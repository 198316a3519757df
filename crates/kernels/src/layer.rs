//! A cell over time: forward, then backward, for one tile; or one step forward, [`Step`], for some tiles.
//!
//! ```text
//! forward   gates(t) ← W_ih x(t) + b          for all t, no step waits for another
//!           gates(t), h(t+1) ← cell           for t = 0, 1, …
//! backward  gates(t) ← gradients of gates     for t = T−1, …, 0
//!           carry    ← carry + W_hhᵀ gates(t)
//!           dx(t)    ← W_ihᵀ gates(t)         for all t
//! weights   dW_ih ← Σₜ gates(t) x(t)ᵀ,  dW_hh ← Σₜ gates(t) h(t)ᵀ,  db ← Σₜ gates(t)
//! ```

use super::cell::Cell;
use super::level::Isa;
use super::outer::{Sequence, outer, row_sums};
use super::product::{Columns, PANEL, Panels, Start, product, products};
use super::shape::{CellKind, Shape, with_cell};
use super::tile::{Row, Tile, TileKernel, rows, rows_mut};
use std::marker::PhantomData;
use std::ops::Range;

/// The four tensors of a layer's flat weights.
struct Tensors<'a> {
    weight_ih: &'a [f32],
    weight_hh: &'a [f32],
    bias_ih: &'a [f32],
    bias_hh: &'a [f32],
}

impl<'a> Tensors<'a> {
    fn split(flat: &'a [f32], shape: Shape) -> Self {
        let Shape { input, hidden, .. } = shape;
        let rows = shape.groups() * hidden;
        let (weight_ih, rest) = flat.split_at(rows * input);
        let (weight_hh, rest) = rest.split_at(rows * hidden);
        let (bias_ih, bias_hh) = rest.split_at(rows);
        Tensors { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}

/// A part of a layer's weights whose gradient is computed on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rows of each of some gates of `weight_ih`.
    Input { gates: Range<usize>, rows: Range<usize> },
    /// Rows of each of some gates of `weight_hh`.
    Recurrent { gates: Range<usize>, rows: Range<usize> },
    /// `bias_ih`, then `bias_hh`.
    Biases,
}

/// The most rows of a [`Part`]: enough to be worth a copy of what they are multiplied with, and few
/// enough that there are parts for all threads.
const PART_ROWS: usize = 512;

impl Part {
    /// The parts of a layer in the flat order of its weights, each with its number of weights.
    pub(crate) fn of(shape: Shape) -> impl Iterator<Item = (Part, usize)> {
        let (Shape { input, hidden, .. }, all) = (shape, shape.groups());
        // All gates, or gate by gate.
        let gates = if all * hidden <= PART_ROWS { all } else { 1 };
        let rows = move || {
            (0..all).step_by(gates).flat_map(move |gate| {
                (0..hidden)
                    .step_by(PART_ROWS)
                    .map(move |row| (gate..gate + gates, row..hidden.min(row + PART_ROWS)))
            })
        };
        let inputs = rows().map(move |(gates, rows)| {
            let weights = gates.len() * rows.len() * input;
            (Part::Input { gates, rows }, weights)
        });
        let recurrent = rows().map(move |(gates, rows)| {
            let weights = gates.len() * rows.len() * hidden;
            (Part::Recurrent { gates, rows }, weights)
        });
        inputs.chain(recurrent).chain([(Part::Biases, 2 * all * hidden)])
    }
}

/// A layer's weights, packed for the products of both directions.
pub(crate) struct Packed {
    pub(crate) shape: Shape,
    input: Panels,
    input_transposed: Panels,
    recurrent: Panels,
    recurrent_transposed: Panels,
    input_bias: Vec<f32>,
    recurrent_bias: Vec<f32>,
}

impl Packed {
    /// Space for the weights of a layer; [`pack`](Packed::pack) fills it.
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { cell, input, hidden } = shape;
        let rows = shape.groups() * hidden;
        Packed {
            shape,
            input: Panels::new(rows, input),
            input_transposed: Panels::new(input, rows),
            recurrent: with_cell!(cell, K => K::new_recurrent(hidden)),
            recurrent_transposed: Panels::new(hidden, rows),
            input_bias: vec![0.0; rows],
            recurrent_bias: vec![0.0; hidden],
        }
    }

    /// Takes over new weights, in the flat order of [`Shape::weights`].
    pub(crate) fn pack(&mut self, flat: &[f32]) {
        with_cell!(self.shape.cell, K => self.pack_cell::<K>(flat));
    }

    fn pack_cell<K: Cell>(&mut self, flat: &[f32]) {
        let Shape { input, hidden, .. } = self.shape;
        let parts = Tensors::split(flat, self.shape);
        let rows = K::GATES * hidden;
        self.input.pack_rows(parts.weight_ih, |p, r| {
            let k = p * PANEL + r;
            (k < rows).then(|| K::input_row(k, hidden))
        });
        self.input_transposed.pack_columns(parts.weight_ih, input, |k| K::input_row(k, hidden));
        K::pack_recurrent(&mut self.recurrent, parts.weight_hh, hidden);
        self.recurrent_transposed
            .pack_columns(parts.weight_hh, hidden, |k| K::recurrent_row(k, hidden));
        let (to_input, to_recurrent) = (&mut self.input_bias, &mut self.recurrent_bias);
        K::pack_bias(to_input, to_recurrent, parts.bias_ih, parts.bias_hh, hidden);
    }
}

/// What a layer reads.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// A row of features a step: (T·D, W).
    Sequence(&'a [f32]),
    /// The same features at every step: (D, W). Its product is computed once.
    Constant(&'a [f32]),
    /// Zeros at every step: no product at all.
    Zeros,
}

/// A computation for one tile in a layer, compiled for each kind of cell beside what a [`TileKernel`] is
/// compiled for.
pub(crate) trait LayerKernel: Sized {
    /// The cell of the layer.
    fn cell(&self) -> CellKind;

    /// The computation, to be inlined as [`TileKernel::compute`].
    fn compute<K: Cell, S: Isa, const C: usize>(self, isa: S);

    /// Computes for a tile.
    fn run(self, tile: Tile) {
        with_cell!(self.cell(), K => OfCell::<K, Self>(self, PhantomData).run(tile));
    }
}

/// A computation for one kind of cell.
struct OfCell<K, T>(T, PhantomData<K>);

impl<K: Cell, T: LayerKernel> TileKernel for OfCell<K, T> {
    #[inline(always)]
    fn compute<S: Isa, const C: usize>(self, isa: S) {
        self.0.compute::<K, S, C>(isa);
    }
}

/// The forward pass of one tile.
pub(crate) struct Forward<'a> {
    pub(crate) layer: &'a Packed,
    pub(crate) input: Input<'a>,
    /// (T, SAVED·H, W), written.
    pub(crate) gates: &'a mut [f32],
    /// (T + 1, H, W): step 0 is the initial state, the others are written.
    pub(crate) hidden: &'a mut [f32],
    /// (CARRIED·H, W): what is carried beside the output, before the first step, replaced by what
    /// it is after the last.
    pub(crate) carried: &'a mut [f32],
}

impl LayerKernel for Forward<'_> {
    fn cell(&self) -> CellKind {
        self.layer.shape.cell
    }

    #[inline(always)]
    fn compute<K: Cell, S: Isa, const C: usize>(self, isa: S) {
        let Shape { input, hidden, .. } = self.layer.shape;
        let saved = K::SAVED * hidden;
        let projected = K::INPUT * hidden..(K::INPUT + K::GATES) * hidden;
        let gates = rows_mut::<S, C>(self.gates);
        let states = rows_mut::<S, C>(self.hidden);
        let carried = rows_mut::<S, C>(self.carried);
        let bias = &self.layer.input_bias;

        match self.input {
            Input::Sequence(x) => {
                let x = Columns::whole(rows::<S, C>(x), input);
                let to = Columns { rows: &mut *gates, stride: saved, range: projected };
                products(isa, &self.layer.input, x, Start::Bias(bias), to);
            }
            Input::Constant(x) => {
                let (first, rest) = gates.split_at_mut(saved);
                let x = rows::<S, C>(x);
                let to = &mut first[projected.clone()];
                product(isa, &self.layer.input, x, Start::Bias(bias), to);
                for gates in rest.chunks_exact_mut(saved) {
                    gates[projected.clone()].copy_from_slice(&first[projected.clone()]);
                }
            }
            Input::Zeros => {
                for gates in gates.chunks_exact_mut(saved) {
                    bias_rows(isa, bias, &mut gates[projected.clone()]);
                }
            }
        }

        for (t, gates) in gates.chunks_exact_mut(saved).enumerate() {
            let (before, after) = states[t * hidden..(t + 2) * hidden].split_at_mut(hidden);
            let (weights, bias) = (&self.layer.recurrent, &self.layer.recurrent_bias);
            K::recur(isa, weights, bias, gates, before, 1);
            K::forward(isa, gates, before, after, carried);
        }
    }
}

/// One step of a tile, or of several that read the weights together; for predictions, which keep nothing.
pub(crate) struct Step<'a> {
    pub(crate) layer: &'a Packed,
    pub(crate) input: StepInput<'a>,
    /// (SAVED·H, W) of each tile, written.
    pub(crate) gates: &'a mut [f32],
    /// (H, W) of each tile: the state before.
    pub(crate) before: &'a [f32],
    /// (H, W) of each tile: the state after, written.
    pub(crate) after: &'a mut [f32],
    /// (CARRIED·H, W) of each tile, replaced.
    pub(crate) carried: &'a mut [f32],
}

/// What a layer reads in a [`Step`].
#[derive(Clone)]
pub(crate) enum StepInput<'a> {
    /// D rows of each tile.
    Columns(Columns<&'a [f32]>),
    /// What [`Project`] has made of the input, (GATES·H, W) of each tile.
    Projected(&'a [f32]),
    /// Zeros.
    Zeros,
}

impl LayerKernel for Step<'_> {
    fn cell(&self) -> CellKind {
        self.layer.shape.cell
    }

    #[inline(always)]
    fn compute<K: Cell, S: Isa, const C: usize>(self, isa: S) {
        let Step { layer, input, .. } = self;
        let Shape { hidden, .. } = layer.shape;
        let (stride, range) =
            (K::SAVED * hidden, K::INPUT * hidden..(K::INPUT + K::GATES) * hidden);
        let gates = rows_mut::<S, C>(self.gates);
        let (before, after) = (rows::<S, C>(self.before), rows_mut::<S, C>(self.after));
        let carried = rows_mut::<S, C>(self.carried);
        match input {
            StepInput::Columns(Columns { rows: x, stride: of_x, range: place }) => {
                let x = Columns { rows: rows::<S, C>(x), stride: of_x, range: place };
                let to = Columns { rows: &mut *gates, stride, range };
                products(isa, &layer.input, x, Start::Bias(&layer.input_bias), to);
            }
            StepInput::Projected(product) => {
                let product = rows::<S, C>(product).chunks_exact(range.len());
                for (gates, product) in gates.chunks_exact_mut(stride).zip(product) {
                    gates[range.clone()].copy_from_slice(product);
                }
            }
            StepInput::Zeros => {
                for gates in gates.chunks_exact_mut(stride) {
                    bias_rows(isa, &layer.input_bias, &mut gates[range.clone()]);
                }
            }
        }
        let tiles = before.len() / hidden;
        K::recur(isa, &layer.recurrent, &layer.recurrent_bias, gates, before, tiles);
        let beside = K::CARRIED * hidden;
        let states = before.chunks_exact(hidden).zip(after.chunks_exact_mut(hidden));
        for (i, (gates, (before, after))) in gates.chunks_exact_mut(stride).zip(states).enumerate()
        {
            let carried = &mut carried[i * beside..][..beside];
            K::forward(isa, gates, before, after, carried);
        }
    }
}

/// A bias in every lane: the product of zeros.
#[inline(always)]
fn bias_rows<S: Isa, const C: usize>(isa: S, bias: &[f32], to: &mut [Row<S, C>]) {
    for (to, bias) in to.iter_mut().zip(bias) {
        *to = [isa.splat_f32s(*bias); C];
    }
}

/// The product of an input that is the same at every step, of a tile or of several.
pub(crate) struct Project<'a> {
    pub(crate) layer: &'a Packed,
    /// (D, W) of each tile.
    pub(crate) input: &'a [f32],
    /// (GATES·H, W) of each tile, written.
    pub(crate) product: &'a mut [f32],
}

impl TileKernel for Project<'_> {
    #[inline(always)]
    fn compute<S: Isa, const C: usize>(self, isa: S) {
        let Packed { shape, input: weights, input_bias, .. } = self.layer;
        let x = Columns::whole(rows::<S, C>(self.input), shape.input);
        let to = Columns::whole(rows_mut::<S, C>(self.product), shape.groups() * shape.hidden);
        products(isa, weights, x, Start::Bias(input_bias), to);
    }
}

/// The backward pass of one tile, after [`Forward`].
pub(crate) struct Backward<'a> {
    pub(crate) layer: &'a Packed,
    /// (T, SAVED·H, W): what the forward pass saved, replaced by gradients.
    pub(crate) gates: &'a mut [f32],
    /// (T + 1, H, W), from the forward pass.
    pub(crate) hidden: &'a [f32],
    /// (T, H, W): the gradient of each output, if anything but the last state was used.
    pub(crate) upstream: Option<&'a [f32]>,
    /// (H, W): in, the gradient of the last state; out, that of the initial state.
    pub(crate) carry: &'a mut [f32],
    /// (CARRIED·H, W): in, the gradient of what is carried after the last step; out, of what is
    /// carried before the first.
    pub(crate) carried: &'a mut [f32],
    /// Where the input's gradient goes.
    pub(crate) input: InputGradient<'a>,
}

/// The gradient that a layer passes on to its input.
pub(crate) enum InputGradient<'a> {
    /// Of a [`Input::Sequence`]: (T·D, W), overwritten.
    Sequence(&'a mut [f32]),
    /// Of a [`Input::Constant`]: (D, W), added to. The gates' gradients summed over time are left
    /// in `summed`, (GATES·H, W).
    Constant { gradient: &'a mut [f32], summed: &'a mut [f32] },
    /// Nobody asks for it.
    Unused,
}

impl LayerKernel for Backward<'_> {
    fn cell(&self) -> CellKind {
        self.layer.shape.cell
    }

    #[inline(always)]
    fn compute<K: Cell, S: Isa, const C: usize>(self, isa: S) {
        let Shape { input, hidden, .. } = self.layer.shape;
        let saved = K::SAVED * hidden;
        let projected = K::INPUT * hidden..(K::INPUT + K::GATES) * hidden;
        let recurrent = K::RECURRENT * hidden..(K::RECURRENT + K::GATES) * hidden;
        let gates = rows_mut::<S, C>(self.gates);
        let states = rows::<S, C>(self.hidden);
        let carry = rows_mut::<S, C>(self.carry);
        let carried = rows_mut::<S, C>(self.carried);
        let upstream = self.upstream.map(rows::<S, C>);

        for (t, gates) in gates.chunks_exact_mut(saved).enumerate().rev() {
            let before = &states[t * hidden..][..hidden];
            let upstream = upstream.map(|upstream| &upstream[t * hidden..][..hidden]);
            K::backward(isa, gates, before, upstream, carry, carried);
            let gates = &gates[recurrent.clone()];
            let weights = &self.layer.recurrent_transposed;
            product(isa, weights, gates, Start::Output, carry);
        }

        match self.input {
            InputGradient::Sequence(gradient) => {
                let gates = Columns { rows: &*gates, stride: saved, range: projected };
                let to = Columns::whole(rows_mut::<S, C>(gradient), input);
                products(isa, &self.layer.input_transposed, gates, Start::Zero, to);
            }
            InputGradient::Constant { gradient, summed } => {
                let summed = rows_mut::<S, C>(summed);
                sum_over_time(isa, gates, saved, projected.start, summed);
                let to = rows_mut::<S, C>(gradient);
                product(isa, &self.layer.input_transposed, summed, Start::Output, to);
            }
            InputGradient::Unused => {}
        }
    }
}

/// `summed = Σₜ gates(t)`, of the rows from `first` on.
#[inline(always)]
fn sum_over_time<S: Isa, const C: usize>(
    isa: S,
    gates: &[Row<S, C>],
    stride: usize,
    first: usize,
    summed: &mut [Row<S, C>],
) {
    summed.fill([isa.splat_f32s(0.0); C]);
    for gates in gates.chunks_exact(stride) {
        for (to, from) in summed.iter_mut().zip(&gates[first..]) {
            for c in 0..C {
                to[c] = isa.add_f32s(to[c], from[c]);
            }
        }
    }
}

/// What the gradients of a layer's weights come from, for one tile, after [`Backward`].
#[derive(Clone, Copy)]
pub(crate) struct Traces<'a> {
    pub(crate) shape: Shape,
    /// (T, SAVED·H, W): the gradients of the gates, among what was saved.
    pub(crate) gates: &'a [f32],
    /// (T + 1, H, W), from the forward pass.
    pub(crate) hidden: &'a [f32],
    /// What the layer read.
    pub(crate) input: Input<'a>,
    /// With a [`Input::Constant`]: what [`InputGradient::Constant`] left.
    pub(crate) summed: &'a [f32],
}

/// The gradient of a part of the weights, of one tile, added to `gradient`.
pub(crate) struct Weights<'a> {
    pub(crate) traces: Traces<'a>,
    pub(crate) part: Part,
    /// As many as the part has weights.
    pub(crate) gradient: &'a mut [f32],
    /// [`scratch_len`](super::outer::scratch_len) floats for the larger of D and H.
    pub(crate) scratch: &'a mut [f32],
}

impl LayerKernel for Weights<'_> {
    fn cell(&self) -> CellKind {
        self.traces.shape.cell
    }

    #[inline(always)]
    fn compute<K: Cell, S: Isa, const C: usize>(self, isa: S) {
        let Traces { shape: Shape { input, hidden, .. }, gates, .. } = self.traces;
        let gates = Sequence::whole(rows::<S, C>(gates), K::SAVED * hidden);
        let states = Sequence::whole(rows::<S, C>(self.traces.hidden), hidden);
        match self.part {
            Part::Recurrent { gates: part, rows } => {
                let left = |i| {
                    let group =
                        group(part.start + i, |k| K::recurrent_row(k * hidden, hidden) / hidden);
                    gates.part((K::RECURRENT + group) * hidden + rows.start, rows.len())
                };
                outer(isa, part.len(), left, states, self.gradient, self.scratch);
            }
            Part::Input { gates: part, rows: units } => {
                let (gates, x) = match self.traces.input {
                    Input::Sequence(x) => (gates.part(K::INPUT * hidden, K::GATES * hidden), x),
                    Input::Constant(x) => {
                        let summed = rows::<S, C>(self.traces.summed);
                        (Sequence::whole(summed, K::GATES * hidden), x)
                    }
                    Input::Zeros => return,
                };
                let left = |i| {
                    let group =
                        group(part.start + i, |k| K::input_row(k * hidden, hidden) / hidden);
                    gates.part(group * hidden + units.start, units.len())
                };
                let x = Sequence::whole(rows::<S, C>(x), input);
                outer(isa, part.len(), left, x, self.gradient, self.scratch);
            }
            Part::Biases => {
                // Most groups belong to both biases: each row is summed once. What follows the last
                // of them is no gradient.
                let count = K::GATES * hidden;
                let (bias_ih, bias_hh) = self.gradient.split_at_mut(count);
                let groups = K::INPUT.max(K::RECURRENT) + K::GATES;
                row_sums(isa, gates.part(0, groups * hidden), |row, sum| {
                    if let Some(k) = row.checked_sub(K::INPUT * hidden).filter(|k| *k < count) {
                        bias_ih[K::input_row(k, hidden)] += sum;
                    }
                    if let Some(k) = row.checked_sub(K::RECURRENT * hidden).filter(|k| *k < count) {
                        bias_hh[K::recurrent_row(k, hidden)] += sum;
                    }
                });
            }
        }
    }
}

/// The saved group that belongs to a gate: the inverse of `gate_of`.
#[inline(always)]
fn group(gate: usize, gate_of: impl Fn(usize) -> usize) -> usize {
    let mut group = 0;
    while gate_of(group) != gate {
        group += 1;
    }
    group
}

//! A cell over time: forward, then backward, for one tile.
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
use super::level::{Isa, Kernel};
use super::outer::{Sequence, outer, row_sums};
use super::product::{Panels, Start, product};
use super::tile::{Row, rows, rows_mut};
use std::marker::PhantomData;

/// The sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Features of the input, D.
    pub(crate) input: usize,
    /// Units, H.
    pub(crate) hidden: usize,
}

impl Shape {
    /// Weights in the flat order `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    pub(crate) fn weights<K: Cell>(self) -> usize {
        K::GATES * self.hidden * (self.input + self.hidden + 2)
    }

    /// Rows of one step's saved gates.
    pub(crate) fn gates<K: Cell>(self) -> usize {
        K::SAVED * self.hidden
    }
}

/// The four parts of a layer's flat weights, or of their gradient.
struct Parts<T> {
    weight_ih: T,
    weight_hh: T,
    bias_ih: T,
    bias_hh: T,
}

impl<'a> Parts<&'a [f32]> {
    fn split<K: Cell>(flat: &'a [f32], Shape { input, hidden }: Shape) -> Self {
        let rows = K::GATES * hidden;
        let (weight_ih, rest) = flat.split_at(rows * input);
        let (weight_hh, rest) = rest.split_at(rows * hidden);
        let (bias_ih, bias_hh) = rest.split_at(rows);
        Parts { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}

impl<'a> Parts<&'a mut [f32]> {
    #[inline(always)]
    fn split_mut<K: Cell>(flat: &'a mut [f32], Shape { input, hidden }: Shape) -> Self {
        let rows = K::GATES * hidden;
        let (weight_ih, rest) = flat.split_at_mut(rows * input);
        let (weight_hh, rest) = rest.split_at_mut(rows * hidden);
        let (bias_ih, bias_hh) = rest.split_at_mut(rows);
        Parts { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}

/// A layer's weights, packed for the products of both directions.
pub(crate) struct Packed<K> {
    pub(crate) shape: Shape,
    input: Panels,
    input_transposed: Panels,
    recurrent: Panels,
    recurrent_transposed: Panels,
    input_bias: Vec<f32>,
    recurrent_bias: Vec<f32>,
    cell: PhantomData<K>,
}

impl<K: Cell> Packed<K> {
    /// Space for the weights of a layer; [`pack`](Packed::pack) fills it.
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { input, hidden } = shape;
        let rows = K::GATES * hidden;
        Packed {
            shape,
            input: Panels::new(rows, input),
            input_transposed: Panels::new(input, rows),
            recurrent: K::new_recurrent(hidden),
            recurrent_transposed: Panels::new(hidden, rows),
            input_bias: vec![0.0; rows],
            recurrent_bias: vec![0.0; hidden],
            cell: PhantomData,
        }
    }

    /// Takes over new weights, in the flat order of [`Shape::weights`].
    pub(crate) fn pack(&mut self, flat: &[f32]) {
        let Shape { input, hidden } = self.shape;
        let parts = Parts::split::<K>(flat, self.shape);
        let rows = K::GATES * hidden;
        self.input.pack_rows(parts.weight_ih, |p, r| {
            let k = p * super::product::PANEL + r;
            (k < rows).then(|| K::input_row(k, hidden))
        });
        self.input_transposed.pack_columns(parts.weight_ih, input, |k| K::input_row(k, hidden));
        K::pack_recurrent(&mut self.recurrent, parts.weight_hh, hidden);
        self.recurrent_transposed
            .pack_columns(parts.weight_hh, hidden, |k| K::recurrent_row(k, hidden));
        K::pack_bias(
            &mut self.input_bias,
            &mut self.recurrent_bias,
            parts.bias_ih,
            parts.bias_hh,
            self.shape,
        );
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

/// The forward pass of one tile.
pub(crate) struct Forward<'a, K> {
    pub(crate) layer: &'a Packed<K>,
    /// Registers of a row.
    pub(crate) vectors: usize,
    pub(crate) input: Input<'a>,
    /// (T, SAVED·H, W), written.
    pub(crate) gates: &'a mut [f32],
    /// (T + 1, H, W): step 0 is the initial state, the others are written.
    pub(crate) hidden: &'a mut [f32],
}

impl<K: Cell> Kernel for Forward<'_, K> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.steps::<S, 1>(isa),
            _ => self.steps::<S, 2>(isa),
        }
    }
}

impl<K: Cell> Forward<'_, K> {
    #[inline(always)]
    fn steps<S: Isa, const C: usize>(self, isa: S) {
        let Shape { input, hidden } = self.layer.shape;
        let saved = self.layer.shape.gates::<K>();
        let projected = K::INPUT * hidden..(K::INPUT + K::GATES) * hidden;
        let gates = rows_mut::<S, C>(self.gates);
        let states = rows_mut::<S, C>(self.hidden);
        let bias = &self.layer.input_bias;

        match self.input {
            Input::Sequence(x) => {
                let x = rows::<S, C>(x).chunks_exact(input);
                for (gates, x) in gates.chunks_exact_mut(saved).zip(x) {
                    let to = &mut gates[projected.clone()];
                    product(isa, &self.layer.input, x, Start::Bias(bias), to);
                }
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
                    for (to, bias) in gates[projected.clone()].iter_mut().zip(bias) {
                        *to = [isa.splat_f32s(*bias); C];
                    }
                }
            }
        }

        for (t, gates) in gates.chunks_exact_mut(saved).enumerate() {
            let (before, after) = states[t * hidden..(t + 2) * hidden].split_at_mut(hidden);
            let (weights, bias) = (&self.layer.recurrent, &self.layer.recurrent_bias);
            K::forward(isa, weights, bias, gates, before, after);
        }
    }
}

/// The backward pass of one tile, after [`Forward`].
pub(crate) struct Backward<'a, K> {
    pub(crate) layer: &'a Packed<K>,
    /// Registers of a row.
    pub(crate) vectors: usize,
    /// (T, SAVED·H, W): what the forward pass saved, replaced by gradients.
    pub(crate) gates: &'a mut [f32],
    /// (T + 1, H, W), from the forward pass.
    pub(crate) hidden: &'a [f32],
    /// (T, H, W): the gradient of each output, if anything but the last state was used.
    pub(crate) upstream: Option<&'a [f32]>,
    /// (H, W): in, the gradient of the last state; out, that of the initial state.
    pub(crate) carry: &'a mut [f32],
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

impl<K: Cell> Kernel for Backward<'_, K> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.steps::<S, 1>(isa),
            _ => self.steps::<S, 2>(isa),
        }
    }
}

impl<K: Cell> Backward<'_, K> {
    #[inline(always)]
    fn steps<S: Isa, const C: usize>(self, isa: S) {
        let Shape { input, hidden } = self.layer.shape;
        let saved = self.layer.shape.gates::<K>();
        let projected = K::INPUT * hidden..(K::INPUT + K::GATES) * hidden;
        let recurrent = K::RECURRENT * hidden..(K::RECURRENT + K::GATES) * hidden;
        let gates = rows_mut::<S, C>(self.gates);
        let states = rows::<S, C>(self.hidden);
        let carry = rows_mut::<S, C>(self.carry);
        let upstream = self.upstream.map(rows::<S, C>);

        for (t, gates) in gates.chunks_exact_mut(saved).enumerate().rev() {
            let before = &states[t * hidden..][..hidden];
            let upstream = upstream.map(|upstream| &upstream[t * hidden..][..hidden]);
            K::backward(isa, gates, before, upstream, carry);
            let gates = &gates[recurrent.clone()];
            let weights = &self.layer.recurrent_transposed;
            product(isa, weights, gates, Start::Output, carry);
        }

        match self.input {
            InputGradient::Sequence(gradient) => {
                let gradient = rows_mut::<S, C>(gradient).chunks_exact_mut(input);
                for (gates, to) in gates.chunks_exact(saved).zip(gradient) {
                    let gates = &gates[projected.clone()];
                    product(isa, &self.layer.input_transposed, gates, Start::Zero, to);
                }
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

/// The gradients of the weights of one tile, after [`Backward`], added to `gradient`.
pub(crate) struct Weights<'a, K> {
    pub(crate) layer: &'a Packed<K>,
    /// Registers of a row.
    pub(crate) vectors: usize,
    /// (T, SAVED·H, W): the gradients of the gates.
    pub(crate) gates: &'a [f32],
    /// (T + 1, H, W), from the forward pass.
    pub(crate) hidden: &'a [f32],
    /// What the layer read.
    pub(crate) input: Input<'a>,
    /// With a [`Input::Constant`]: what [`InputGradient::Constant`] left.
    pub(crate) summed: &'a [f32],
    /// In the flat order of [`Shape::weights`].
    pub(crate) gradient: &'a mut [f32],
    /// [`scratch_len`](super::outer::scratch_len) floats for the larger of D and H.
    pub(crate) scratch: &'a mut [f32],
}

impl<K: Cell> Kernel for Weights<'_, K> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.products::<S, 1>(isa),
            _ => self.products::<S, 2>(isa),
        }
    }
}

impl<K: Cell> Weights<'_, K> {
    #[inline(always)]
    fn products<S: Isa, const C: usize>(self, isa: S) {
        let Shape { input, hidden } = self.layer.shape;
        let parts = Parts::split_mut::<K>(self.gradient, self.layer.shape);
        let gates = Sequence {
            rows: rows::<S, C>(self.gates),
            stride: K::SAVED * hidden,
            first: 0,
            count: K::GATES * hidden,
        };
        let recurrent = Sequence { first: K::RECURRENT * hidden, ..gates };
        let projected = Sequence { first: K::INPUT * hidden, ..gates };
        let states = Sequence::whole(rows::<S, C>(self.hidden), hidden);
        let hh = |k| K::recurrent_row(k, hidden);
        let ih = |k| K::input_row(k, hidden);
        outer(isa, recurrent, states, parts.weight_hh, hh, self.scratch);
        match self.input {
            Input::Sequence(x) => {
                let x = Sequence::whole(rows::<S, C>(x), input);
                outer(isa, projected, x, parts.weight_ih, ih, self.scratch);
            }
            Input::Constant(x) => {
                let summed = rows::<S, C>(self.summed);
                let summed = Sequence::whole(summed, K::GATES * hidden);
                let x = Sequence::whole(rows::<S, C>(x), input);
                outer(isa, summed, x, parts.weight_ih, ih, self.scratch);
            }
            Input::Zeros => {}
        }
        // Most groups belong to both biases: each row is summed once.
        row_sums(isa, Sequence::whole(gates.rows, gates.stride), |row, sum| {
            if let Some(k) = row.checked_sub(projected.first).filter(|k| *k < gates.count) {
                parts.bias_ih[ih(k)] += sum;
            }
            if let Some(k) = row.checked_sub(recurrent.first).filter(|k| *k < gates.count) {
                parts.bias_hh[hh(k)] += sum;
            }
        });
    }
}

//! The fused kernels as operations on dfdx's tape.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::array;

use super::cpu::level::Level;
use super::cpu::recurrent::{CellKind, Initial, RecurrentLayer, Upstream};
use super::reference;
use crate::layers::{GruWeights, LstmState, LstmWeights, RecurrentWeights, SimpleRnnWeights};
use crate::{Sequence, State};

/// A device of dfdx that recurrent layers run on, with the fastest kernels that there are for it.
pub trait RecurrentDevice<E: Dtype>: Device<E> {
    /// One simple RNN layer over x, `(B, T, D)`, from the state h, `(B, H)`: the outputs
    /// `(B, T, H)`, with the tape, and the last of them, `(B, H)`.
    ///
    /// # Panics
    /// When the shapes do not fit the weights, or T is 0. The layer checks both.
    fn simple_rnn<T: Tape<E, Self>>(
        weights: &SimpleRnnWeights<E, Self>,
        x: Sequence<E, Self, T>,
        h: State<E, Self>,
    ) -> (Sequence<E, Self, T>, State<E, Self>) {
        reference::simple_rnn(weights, x, h)
    }

    /// One GRU layer over x, `(B, T, D)`, from the state h, `(B, H)`: the outputs `(B, T, H)`, with
    /// the tape, and the last of them, `(B, H)`.
    ///
    /// # Panics
    /// When the shapes do not fit the weights, or T is 0. The layer checks both.
    fn gru<T: Tape<E, Self>>(
        weights: &GruWeights<E, Self>,
        x: Sequence<E, Self, T>,
        h: State<E, Self>,
    ) -> (Sequence<E, Self, T>, State<E, Self>) {
        reference::gru(weights, x, h)
    }

    /// One LSTM layer over x, `(B, T, D)`, from a state of two tensors, `(B, H)` each: the outputs
    /// `(B, T, H)`, with the tape, and the state after the last step.
    ///
    /// # Panics
    /// When the shapes do not fit the weights, or T is 0. The layer checks both.
    fn lstm<T: Tape<E, Self>>(
        weights: &LstmWeights<E, Self>,
        x: Sequence<E, Self, T>,
        state: LstmState<E, Self>,
    ) -> (Sequence<E, Self, T>, LstmState<E, Self>) {
        reference::lstm(weights, x, state)
    }

    /// x, `(B, H)`, at every one of `steps` steps: `(B, T, H)`.
    fn repeat<T: Tape<E, Self>>(x: State<E, Self, T>, steps: usize) -> Sequence<E, Self, T> {
        reference::repeat(x, steps)
    }
}

impl RecurrentDevice<f64> for Cpu {}

#[cfg(feature = "cuda")]
impl RecurrentDevice<f32> for dfdx::tensor::Cuda {}
#[cfg(feature = "cuda")]
impl RecurrentDevice<f64> for dfdx::tensor::Cuda {}

impl RecurrentDevice<f32> for Cpu {
    fn simple_rnn<T: Tape<f32, Cpu>>(
        weights: &SimpleRnnWeights<f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
        h: State<f32, Cpu>,
    ) -> (Sequence<f32, Cpu, T>, State<f32, Cpu>) {
        let (outputs, [h]) = fused(CellKind::SimpleRnn, weights, x, [h]);
        (outputs, h)
    }

    fn gru<T: Tape<f32, Cpu>>(
        weights: &GruWeights<f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
        h: State<f32, Cpu>,
    ) -> (Sequence<f32, Cpu, T>, State<f32, Cpu>) {
        let (outputs, [h]) = fused(CellKind::Gru, weights, x, [h]);
        (outputs, h)
    }

    fn lstm<T: Tape<f32, Cpu>>(
        weights: &LstmWeights<f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
        state: LstmState<f32, Cpu>,
    ) -> (Sequence<f32, Cpu, T>, LstmState<f32, Cpu>) {
        let states = [state.hidden, state.cell];
        let (outputs, [hidden, cell]) = fused(CellKind::Lstm, weights, x, states);
        (outputs, LstmState { hidden, cell })
    }

    fn repeat<T: Tape<f32, Cpu>>(x: State<f32, Cpu, T>, steps: usize) -> Sequence<f32, Cpu, T> {
        // A broadcast of dfdx keeps one copy and steps over it, which the kernel above would have
        // to undo element by element. Copying whole rows is faster.
        let (batch, width) = *x.shape();
        let (x, mut tape) = x.contiguous().split_tape();
        let mut repeated = Vec::with_capacity(batch * steps * width);
        for row in values(&x).chunks_exact(width) {
            for _ in 0..steps {
                repeated.extend_from_slice(row);
            }
        }
        let repeated = x.device().tensor_from_vec(repeated, (batch, steps, width));
        let (x_ghost, repeated_ghost) = (x.ghost(), repeated.ghost());
        tape.add_backward_op(move |gradients| {
            let upstream = gradients.get_or_alloc_mut(&repeated_ghost)?.to_vec();
            let gradient = gradients.get_or_alloc_mut(&x_ghost)?;
            for (to, steps) in
                gradient.chunks_exact_mut(width).zip(upstream.chunks_exact(steps * width))
            {
                steps.chunks_exact(width).for_each(|step| add(to, step));
            }
            Ok(())
        });
        repeated.put_tape(tape)
    }
}

/// One layer over x, `(B, T, D)`, from the hidden state and, in an LSTM, the cell state, `(B, H)`
/// each: the outputs `(B, T, H)`, with the tape, and the same states after the last step.
fn fused<T: Tape<f32, Cpu>, const N: usize>(
    cell: CellKind,
    weights: &RecurrentWeights<f32, Cpu>,
    x: Sequence<f32, Cpu, T>,
    states: [State<f32, Cpu>; N],
) -> (Sequence<f32, Cpu, T>, [State<f32, Cpu>; N]) {
    let (batch, time, features) = *x.shape();
    let hidden = weights.hidden_size();
    let dev = x.device().clone();
    let (x, mut tape) = x.contiguous().split_tape();
    // A copy that makes a state contiguous goes on the tape as well: without it the gradient would
    // end at the copy.
    let states = states.map(|state| {
        let (state, copying) = state.put_tape(T::default()).contiguous().split_tape();
        tape = std::mem::take(&mut tape).merge(copying);
        state
    });
    let initial = states.each_ref().map(values);
    let initial =
        Initial { hidden: initial.first().map(|v| &v[..]), cell: initial.get(1).map(|v| &v[..]) };

    let layer = RecurrentLayer::new(cell, features, hidden, Level::best());
    let flat = flatten(weights, layer.num_weights());
    let (outputs, saved) = layer.forward(&flat, &values(&x), initial, batch);
    let mut last = Vec::with_capacity(batch * hidden);
    for series in outputs.hidden.chunks_exact(time * hidden) {
        last.extend_from_slice(&series[(time - 1) * hidden..]);
    }
    let mut last = [last, outputs.cell];
    let last: [State<f32, Cpu>; N] =
        array::from_fn(|i| dev.tensor_from_vec(std::mem::take(&mut last[i]), (batch, hidden)));
    let outputs = dev.tensor_from_vec(outputs.hidden, (batch, time, hidden));

    // A ghost stands for a tensor on the tape without holding its values.
    let (x_ghost, outputs_ghost) = (x.ghost(), outputs.ghost());
    let first_ghosts = states.each_ref().map(|state| state.ghost());
    let last_ghosts = last.each_ref().map(|state| state.ghost());
    let matrices = [weights.weight_ih.ghost(), weights.weight_hh.ghost()];
    let biases = [weights.bias_ih.ghost(), weights.bias_hh.ghost()];
    tape.add_backward_op(move |gradients| {
        let mut of_outputs = gradients.get_or_alloc_mut(&outputs_ghost)?.to_vec();
        let mut of_cell = None;
        for (i, last) in last_ghosts.iter().enumerate() {
            let of_last = gradients.get_or_alloc_mut(last)?;
            if i == 0 {
                // The last state is the last output too: what reaches either adds up.
                let steps = of_outputs.chunks_exact_mut(hidden).skip(time - 1).step_by(time);
                for (to, from) in steps.zip(of_last.chunks_exact(hidden)) {
                    add(to, from);
                }
            } else {
                of_cell = Some(of_last.to_vec());
            }
        }
        let upstream = Upstream { hidden: &of_outputs, cell: of_cell.as_deref() };
        let result = layer.backward(saved, upstream, true);
        add(gradients.get_or_alloc_mut(&x_ghost)?, &result.input);
        for (first, of_first) in first_ghosts.iter().zip([&result.hidden, &result.cell]) {
            add(gradients.get_or_alloc_mut(first)?, of_first);
        }
        let mut rest = &result.weights[..];
        for matrix in &matrices {
            rest = add_front(gradients.get_or_alloc_mut(matrix)?, rest);
        }
        for bias in &biases {
            rest = add_front(gradients.get_or_alloc_mut(bias)?, rest);
        }
        Ok(())
    });
    (outputs.put_tape(tape), last)
}

/// The values of a contiguous tensor, row by row.
pub(crate) fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// All weights of a layer in the order of [`RecurrentLayer`].
fn flatten(weights: &RecurrentWeights<f32, Cpu>, length: usize) -> Vec<f32> {
    let mut flat = Vec::with_capacity(length);
    flat.extend(values(&weights.weight_ih));
    flat.extend(values(&weights.weight_hh));
    flat.extend(values(&weights.bias_ih));
    flat.extend(values(&weights.bias_hh));
    flat
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Adds the front of `from` to `to`, and returns what follows it.
fn add_front<'a>(to: &mut [f32], from: &'a [f32]) -> &'a [f32] {
    let (front, rest) = from.split_at(to.len());
    add(to, front);
    rest
}

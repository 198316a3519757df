//! The fused kernels as operations on dfdx's tape.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{Device, ReshapeTo};

use super::cpu::level::Level;
use super::cpu::recurrent::GruLayer;
use super::reference;
use crate::layers::GruWeights;
use crate::{Sequence, State};

/// A device of dfdx that recurrent layers run on, with the fastest kernels that there are for it.
pub trait RecurrentDevice<E: Dtype>: Device<E> {
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
    fn gru<T: Tape<f32, Cpu>>(
        weights: &GruWeights<f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
        h: State<f32, Cpu>,
    ) -> (Sequence<f32, Cpu, T>, State<f32, Cpu>) {
        let (batch, time, features) = *x.shape();
        let hidden = weights.hidden_size();
        let (x, mut tape) = x.contiguous().split_tape();
        let h = h.contiguous();

        let layer = GruLayer::new(features, hidden, Level::best());
        let flat = flatten(weights, layer.num_weights());
        let (outputs, saved) = layer.forward(&flat, &values(&x), Some(&values(&h)), batch);
        let mut last = Vec::with_capacity(batch * hidden);
        for series in outputs.chunks_exact(time * hidden) {
            last.extend_from_slice(&series[(time - 1) * hidden..]);
        }
        let dev = x.device();
        let outputs = dev.tensor_from_vec(outputs, (batch, time, hidden));
        let last = dev.tensor_from_vec(last, (batch, hidden));

        // A ghost stands for a tensor on the tape without holding its values.
        let (x_ghost, h_ghost) = (x.ghost(), h.ghost());
        let (outputs_ghost, last_ghost) = (outputs.ghost(), last.ghost());
        let matrices = [weights.weight_ih.ghost(), weights.weight_hh.ghost()];
        let biases = [weights.bias_ih.ghost(), weights.bias_hh.ghost()];
        tape.add_backward_op(move |gradients| {
            let mut upstream = gradients.get_or_alloc_mut(&outputs_ghost)?.to_vec();
            // The last state is the last output too: what reaches either adds up.
            let of_last = gradients.get_or_alloc_mut(&last_ghost)?;
            let steps = upstream.chunks_exact_mut(hidden).skip(time - 1).step_by(time);
            for (to, from) in steps.zip(of_last.chunks_exact(hidden)) {
                add(to, from);
            }
            let result = layer.backward(saved, &upstream, true);
            add(gradients.get_or_alloc_mut(&x_ghost)?, &result.input);
            add(gradients.get_or_alloc_mut(&h_ghost)?, &result.initial);
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

/// The values of a contiguous tensor, row by row.
fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// All weights of a layer in the order of [`GruLayer`].
fn flatten(weights: &GruWeights<f32, Cpu>, length: usize) -> Vec<f32> {
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

//! The fused kernels as operations on dfdx's tape.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::array;
use std::mem::take;
use std::ops::Deref;

use super::{
    GruWeights, LastAndStates, LstmState, LstmWeights, OutputsAndStates, RecurrentWeights,
    SimpleRnnWeights, last, layer_by_layer, reference,
};
use crate::kernels::aligned::Recycled;
use crate::kernels::level::Level;
use crate::kernels::recurrent::{CellKind, Input, OwnedStates, RecurrentStack, States, Upstream};
use crate::{Sequence, State};

/// A device of dfdx that layers run on, with the fastest kernels that there are for it.
///
/// # Panics
/// All methods, when the shapes do not fit the weights or one another, or there is no layer or no
/// step. The layers check that.
pub trait RecurrentDevice<E: Dtype>: Device<E> {
    /// A stack of simple RNN layers over x, `(B, T, D)`, from a state for each layer, `(B, H)`, or
    /// from zeros: the outputs of the last layer, `(B, T, H)`, with the tape, and the state of each
    /// layer after the last step.
    fn simple_rnn<T: Tape<E, Self>>(
        layers: &[SimpleRnnWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[State<E, Self>]>,
    ) -> OutputsAndStates<E, Self, T> {
        layer_by_layer(layers, x, states, reference::simple_rnn)
    }

    /// As [`simple_rnn`](RecurrentDevice::simple_rnn), of GRU layers.
    fn gru<T: Tape<E, Self>>(
        layers: &[GruWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[State<E, Self>]>,
    ) -> OutputsAndStates<E, Self, T> {
        layer_by_layer(layers, x, states, reference::gru)
    }

    /// As [`gru`](RecurrentDevice::gru), with [`dense`](RecurrentDevice::dense) at every step:
    /// `(B, T, N)`.
    fn gru_dense<T: Tape<E, Self>>(
        layers: &[GruWeights<E, Self>],
        head: Head<'_, E, Self>,
        x: Sequence<E, Self, T>,
        states: Option<&[State<E, Self>]>,
    ) -> Sequence<E, Self, T> {
        let (weight, bias) = head;
        Self::dense(weight, bias, Self::gru(layers, x, states).0)
    }

    /// As [`gru_dense`](RecurrentDevice::gru_dense), over the same x, `(B, D)`, at every one of `steps`
    /// steps.
    fn gru_repeated_dense<T: Tape<E, Self>>(
        layers: &[GruWeights<E, Self>],
        head: Head<'_, E, Self>,
        x: State<E, Self, T>,
        steps: usize,
        states: Option<&[State<E, Self>]>,
    ) -> Sequence<E, Self, T> {
        Self::gru_dense(layers, head, reference::repeat(x, steps), states)
    }

    /// As [`simple_rnn`](RecurrentDevice::simple_rnn), of LSTM layers, whose states are two tensors,
    /// `(B, H)` each.
    fn lstm<T: Tape<E, Self>>(
        layers: &[LstmWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[LstmState<E, Self>]>,
    ) -> OutputsAndStates<E, Self, T, LstmState<E, Self>> {
        layer_by_layer(layers, x, states, reference::lstm)
    }

    /// As [`simple_rnn`](RecurrentDevice::simple_rnn), but of the outputs only the last, `(B, H)`.
    fn simple_rnn_last<T: Tape<E, Self>>(
        layers: &[SimpleRnnWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[State<E, Self>]>,
    ) -> LastAndStates<E, Self, T> {
        last(Self::simple_rnn(layers, x, states))
    }

    /// As [`gru`](RecurrentDevice::gru), but of the outputs only the last, `(B, H)`.
    fn gru_last<T: Tape<E, Self>>(
        layers: &[GruWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[State<E, Self>]>,
    ) -> LastAndStates<E, Self, T> {
        last(Self::gru(layers, x, states))
    }

    /// As [`lstm`](RecurrentDevice::lstm), but of the outputs only the last, `(B, H)`.
    fn lstm_last<T: Tape<E, Self>>(
        layers: &[LstmWeights<E, Self>],
        x: Sequence<E, Self, T>,
        states: Option<&[LstmState<E, Self>]>,
    ) -> LastAndStates<E, Self, T, LstmState<E, Self>> {
        last(Self::lstm(layers, x, states))
    }

    /// x · Wᵀ + b at every step of x, `(B, T, K)`, with W `(N, K)` and b `(N,)`: `(B, T, N)`.
    fn dense<T: Tape<E, Self>>(
        weight: &Tensor<(usize, usize), E, Self>,
        bias: &Tensor<(usize,), E, Self>,
        x: Sequence<E, Self, T>,
    ) -> Sequence<E, Self, T> {
        reference::dense(weight, bias, x)
    }
}

/// The weights of a dense layer: the matrix `(N, K)` and the bias `(N,)`.
pub type Head<'a, E, D> = (&'a Tensor<(usize, usize), E, D>, &'a Tensor<(usize,), E, D>);

impl RecurrentDevice<f64> for Cpu {}

#[cfg(feature = "cuda")]
impl RecurrentDevice<f32> for dfdx::tensor::Cuda {}
#[cfg(feature = "cuda")]
impl RecurrentDevice<f64> for dfdx::tensor::Cuda {}

impl RecurrentDevice<f32> for Cpu {
    #[inline(never)]
    fn simple_rnn<T: Tape<f32, Cpu>>(
        layers: &[SimpleRnnWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T> {
        let given = Given::sequence(CellKind::SimpleRnn, layers, &x, true);
        fused(given, x, single(states)).every_step(|[state]| state)
    }

    #[inline(never)]
    fn gru<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T> {
        let given = Given::sequence(CellKind::Gru, layers, &x, true);
        fused(given, x, single(states)).every_step(|[state]| state)
    }

    #[inline(never)]
    fn gru_dense<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        head: Head<'_, f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> Sequence<f32, Cpu, T> {
        let given = Given { head: Some(head), ..Given::sequence(CellKind::Gru, layers, &x, true) };
        fused(given, x, single(states)).every_step(|[state]| state).0
    }

    #[inline(never)]
    fn gru_repeated_dense<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        head: Head<'_, f32, Cpu>,
        x: State<f32, Cpu, T>,
        steps: usize,
        states: Option<&[State<f32, Cpu>]>,
    ) -> Sequence<f32, Cpu, T> {
        let (cell, batch, head) = (CellKind::Gru, x.shape().0, Some(head));
        let given = Given { cell, layers, batch, steps, repeated: true, every_step: true, head };
        fused(given, x, single(states)).every_step(|[state]| state).0
    }

    #[inline(never)]
    fn lstm<T: Tape<f32, Cpu>>(
        layers: &[LstmWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[LstmState<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T, LstmState<f32, Cpu>> {
        let given = Given::sequence(CellKind::Lstm, layers, &x, true);
        fused(given, x, pair(states)).every_step(|[hidden, cell]| LstmState { hidden, cell })
    }

    #[inline(never)]
    fn simple_rnn_last<T: Tape<f32, Cpu>>(
        layers: &[SimpleRnnWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> LastAndStates<f32, Cpu, T> {
        let given = Given::sequence(CellKind::SimpleRnn, layers, &x, false);
        fused(given, x, single(states)).last_step(|[state]| state)
    }

    #[inline(never)]
    fn gru_last<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> LastAndStates<f32, Cpu, T> {
        let given = Given::sequence(CellKind::Gru, layers, &x, false);
        fused(given, x, single(states)).last_step(|[state]| state)
    }

    #[inline(never)]
    fn lstm_last<T: Tape<f32, Cpu>>(
        layers: &[LstmWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[LstmState<f32, Cpu>]>,
    ) -> LastAndStates<f32, Cpu, T, LstmState<f32, Cpu>> {
        let given = Given::sequence(CellKind::Lstm, layers, &x, false);
        fused(given, x, pair(states)).last_step(|[hidden, cell]| LstmState { hidden, cell })
    }

    #[inline(never)]
    fn dense<T: Tape<f32, Cpu>>(
        weight: &Tensor<(usize, usize), f32, Cpu>,
        bias: &Tensor<(usize,), f32, Cpu>,
        x: Sequence<f32, Cpu, T>,
    ) -> Sequence<f32, Cpu, T> {
        let ((outputs, inputs), (batch, steps, _)) = (*weight.shape(), *x.shape());
        if batch * steps == 0 {
            return reference::dense(weight, bias, x); // no tile
        }
        let map = RecurrentStack::new(CellKind::Gru, inputs, &[], Level::best()).with_head(outputs);
        let (x, mut tape) = x.contiguous().split_tape();
        let (weight, bias) = (contiguous(weight, &mut tape), contiguous(bias, &mut tape));
        let mut flat = Recycled::new(outputs * (inputs + 1));
        let (matrix, vector) = flat.split_at_mut(outputs * inputs);
        weight.copy_into(matrix);
        bias.copy_into(vector);
        let (y, saved) = map.forward(&flat, Input::Sequence(&copied(&x)), &[], batch, true);
        let y = x.device().tensor_from_vec(y.every_step, (batch, steps, outputs));

        let (x_ghost, y_ghost) = (x.ghost(), y.ghost());
        let (weight_ghost, bias_ghost) = (weight.ghost(), bias.ghost());
        tape.add_backward_op(move |gradients| {
            let upstream = take::<Vec<_>>(gradients.get_or_alloc_mut(&y_ghost)?);
            let of_x = gradients.get_or_alloc_mut(&x_ghost)?;
            let given = Upstream { every_step: Some(&upstream), last: &[] };
            let of_weights = map.backward(saved, given, Some(of_x)).weights;
            **gradients.get_or_alloc_mut(&y_ghost)? = upstream;
            let rest = add_front(gradients.get_or_alloc_mut(&weight_ghost)?, &of_weights);
            add(gradients.get_or_alloc_mut(&bias_ghost)?, rest);
            Ok(())
        });
        y.put_tape(tape)
    }
}

/// The states of layers that have one each.
fn single(states: Option<&[State<f32, Cpu>]>) -> Vec<[State<f32, Cpu>; 1]> {
    states.unwrap_or_default().iter().map(|state| [state.clone()]).collect()
}

/// The states of LSTM layers.
fn pair(states: Option<&[LstmState<f32, Cpu>]>) -> Vec<[State<f32, Cpu>; 2]> {
    let states = states.unwrap_or_default().iter();
    states.map(|state| [state.hidden.clone(), state.cell.clone()]).collect()
}

/// What a stack computes with, beside its input and first states.
struct Given<'a> {
    cell: CellKind,
    layers: &'a [RecurrentWeights<f32, Cpu>],
    batch: usize,
    steps: usize,
    /// Whether the input is the same at all steps, and has no axis for them.
    repeated: bool,
    /// Whether the outputs of all steps are asked for.
    every_step: bool,
    /// A dense layer for the outputs of all steps.
    head: Option<Head<'a, f32, Cpu>>,
}

impl<'a> Given<'a> {
    fn sequence<T>(
        cell: CellKind,
        layers: &'a [RecurrentWeights<f32, Cpu>],
        x: &Sequence<f32, Cpu, T>,
        every_step: bool,
    ) -> Self {
        let (batch, steps, _) = *x.shape();
        Given { cell, layers, batch, steps, repeated: false, every_step, head: None }
    }
}

/// What a stack computes, and the tape.
struct Fused<T, const N: usize> {
    /// Of the last layer, `(B, T, H)`, or of the head, `(B, T, O)`, if they were asked for.
    outputs: Option<Sequence<f32, Cpu>>,
    /// The hidden state and, in an LSTM, the cell state of each layer after the last step.
    last: Vec<[State<f32, Cpu>; N]>,
    tape: T,
}

impl<T: Tape<f32, Cpu>, const N: usize> Fused<T, N> {
    fn every_step<S>(
        self,
        state: fn([State<f32, Cpu>; N]) -> S,
    ) -> OutputsAndStates<f32, Cpu, T, S> {
        let outputs = self.outputs.expect("outputs that were asked for");
        (outputs.put_tape(self.tape), self.last.into_iter().map(state).collect())
    }

    fn last_step<S>(self, state: fn([State<f32, Cpu>; N]) -> S) -> LastAndStates<f32, Cpu, T, S> {
        let top = self.last[self.last.len() - 1][0].clone();
        (top.put_tape(self.tape), self.last.into_iter().map(state).collect())
    }
}

/// A stack over x, `(B, T, D)` or repeated `(B, D)`, from the hidden state and, in an LSTM, the cell
/// state of each layer, `(B, H)` each; from zeros, if there are none. With the head, if there is one.
fn fused<S: Shape, T: Tape<f32, Cpu>, const N: usize>(
    Given { cell, layers, batch, steps, repeated, every_step, head }: Given<'_>,
    x: Tensor<S, f32, Cpu, T>,
    states: Vec<[State<f32, Cpu>; N]>,
) -> Fused<T, N> {
    let dev = x.device().clone();
    let (x, mut tape) = x.contiguous().split_tape();
    let states: Vec<_> =
        states.iter().map(|state| state.each_ref().map(|s| contiguous(s, &mut tape))).collect();
    let layers: Vec<_> = layers.iter().map(|layer| contiguous_layer(layer, &mut tape)).collect();
    let head =
        head.map(|(weight, bias)| (contiguous(weight, &mut tape), contiguous(bias, &mut tape)));
    let initial: Vec<_> = states.iter().map(|state| state.each_ref().map(copied)).collect();
    let initial: Vec<_> = initial.iter().map(borrow).collect();

    let hidden: Vec<_> = layers.iter().map(RecurrentWeights::hidden_size).collect();
    let mut stack = RecurrentStack::new(cell, layers[0].inputs(), &hidden, Level::best());
    let mut features = hidden[hidden.len() - 1];
    if let Some((weight, bias)) = &head {
        let outputs = bias.shape().0;
        assert_eq!(*weight.shape(), (outputs, features), "a head that fits the layers");
        stack = stack.with_head(outputs);
        features = outputs;
    }
    let shape = (batch, steps, features);
    let x_values = copied(&x);
    let input = match repeated {
        true => Input::Repeated(&x_values, steps),
        false => Input::Sequence(&x_values),
    };
    let given_head = head.as_ref().map(|(weight, bias)| (weight, bias));
    let flat = flatten(&layers, given_head, stack.num_weights());
    let (outputs, saved) = stack.forward(&flat, input, &initial, batch, every_step);
    let tensors = |(mut last, &hidden): (OwnedStates, &usize)| -> [State<f32, Cpu>; N] {
        let parts = [&mut last.hidden, &mut last.cell];
        let mut parts = parts.into_iter().map(take);
        array::from_fn(|_| dev.tensor_from_vec(parts.next().unwrap_or_default(), (batch, hidden)))
    };
    let last: Vec<_> = outputs.last.into_iter().zip(&hidden).map(tensors).collect();
    let outputs = every_step.then(|| dev.tensor_from_vec(outputs.every_step, shape));

    // A ghost stands for a tensor on the tape without holding its values.
    let (x_ghost, outputs_ghost) = (x.ghost(), outputs.as_ref().map(|outputs| outputs.ghost()));
    let ghosts = |states: &[State<f32, Cpu>; N]| states.each_ref().map(|state| state.ghost());
    let first_ghosts: Vec<_> = states.iter().map(ghosts).collect();
    let last_ghosts: Vec<_> = last.iter().map(ghosts).collect();
    let weights: Vec<_> = layers
        .iter()
        .map(|weights| {
            let matrices = [weights.weight_ih.ghost(), weights.weight_hh.ghost()];
            (matrices, [weights.bias_ih.ghost(), weights.bias_hh.ghost()])
        })
        .collect();
    let head = head.as_ref().map(|(weight, bias)| (weight.ghost(), bias.ghost()));
    tape.add_backward_op(move |gradients| {
        // Gradients are lent from the map and go back to it: nothing else asks for these meanwhile.
        let mut of_outputs = None;
        if let Some(ghost) = &outputs_ghost {
            of_outputs = Some(take::<Vec<_>>(gradients.get_or_alloc_mut(ghost)?));
        }
        let mut of_last = Vec::with_capacity(last_ghosts.len());
        for ghosts in &last_ghosts {
            let mut of_layer = [const { Vec::new() }; N];
            for (gradient, ghost) in of_layer.iter_mut().zip(ghosts) {
                *gradient = take::<Vec<_>>(gradients.get_or_alloc_mut(ghost)?);
            }
            of_last.push(of_layer);
        }
        let mut of_x = take::<Vec<_>>(gradients.get_or_alloc_mut(&x_ghost)?);

        let last: Vec<_> = of_last.iter().map(borrow).collect();
        let upstream = Upstream { every_step: of_outputs.as_deref(), last: &last };
        let result = stack.backward(saved, upstream, Some(&mut of_x));

        **gradients.get_or_alloc_mut(&x_ghost)? = of_x;
        if let (Some(ghost), Some(gradient)) = (&outputs_ghost, of_outputs) {
            **gradients.get_or_alloc_mut(ghost)? = gradient;
        }
        for (ghosts, of_layer) in last_ghosts.iter().zip(of_last) {
            for (ghost, gradient) in ghosts.iter().zip(of_layer) {
                **gradients.get_or_alloc_mut(ghost)? = gradient;
            }
        }
        for (ghosts, OwnedStates { hidden, cell }) in first_ghosts.iter().zip(&result.initial) {
            for (ghost, gradient) in ghosts.iter().zip([hidden, cell]) {
                add(gradients.get_or_alloc_mut(ghost)?, gradient);
            }
        }
        let mut rest = &result.weights[..];
        for (matrices, biases) in &weights {
            for matrix in matrices {
                rest = add_front(gradients.get_or_alloc_mut(matrix)?, rest);
            }
            for bias in biases {
                rest = add_front(gradients.get_or_alloc_mut(bias)?, rest);
            }
        }
        if let Some((weight, bias)) = &head {
            rest = add_front(gradients.get_or_alloc_mut(weight)?, rest);
            add(gradients.get_or_alloc_mut(bias)?, rest);
        }
        Ok(())
    });
    Fused { outputs, last, tape }
}

/// The hidden state and, in an LSTM, the cell state of a layer.
fn borrow<V: Deref<Target = [f32]>, const N: usize>(states: &[V; N]) -> States<'_> {
    States { hidden: states.first().map(|v| &v[..]), cell: states.get(1).map(|v| &v[..]) }
}

/// The same tensor in row-major memory, which is the order that `copy_into` reads. A copy goes on the tape:
/// otherwise the gradient would end at the copy.
fn contiguous<S: Shape, T: Tape<f32, Cpu>>(
    tensor: &Tensor<S, f32, Cpu>,
    tape: &mut T,
) -> Tensor<S, f32, Cpu> {
    let (tensor, copying) = tensor.retaped::<T>().contiguous().split_tape();
    *tape = take(tape).merge(copying);
    tensor
}

fn contiguous_layer<T: Tape<f32, Cpu>>(
    layer: &RecurrentWeights<f32, Cpu>,
    tape: &mut T,
) -> RecurrentWeights<f32, Cpu> {
    RecurrentWeights {
        weight_ih: contiguous(&layer.weight_ih, tape),
        weight_hh: contiguous(&layer.weight_hh, tape),
        bias_ih: contiguous(&layer.bias_ih, tape),
        bias_hh: contiguous(&layer.bias_hh, tape),
    }
}

/// The values of a contiguous tensor, row by row.
pub(crate) fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// As [`values`], for as long as an operation takes.
fn copied<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Recycled {
    let mut values = Recycled::new(tensor.shape().num_elements());
    tensor.copy_into(&mut values);
    values
}

/// All weights in the order of [`RecurrentStack`].
fn flatten(
    layers: &[RecurrentWeights<f32, Cpu>],
    head: Option<Head<'_, f32, Cpu>>,
    length: usize,
) -> Recycled {
    let mut flat = Recycled::new(length);
    let mut rest = &mut flat[..];
    let mut next = |len: usize| rest.split_off_mut(..len).expect("weights of all layers");
    for RecurrentWeights { weight_ih, weight_hh, bias_ih, bias_hh } in layers {
        for matrix in [weight_ih, weight_hh] {
            matrix.copy_into(next(matrix.shape().num_elements()));
        }
        for bias in [bias_ih, bias_hh] {
            bias.copy_into(next(bias.shape().num_elements()));
        }
    }
    if let Some((weight, bias)) = head {
        weight.copy_into(next(weight.shape().num_elements()));
        bias.copy_into(next(bias.shape().num_elements()));
    }
    assert!(rest.is_empty(), "weights that fit one another");
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

//! The fused kernels as operations on dfdx's tape.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::array;
use std::mem::take;

use super::cpu::aligned::Recycled;
use super::cpu::level::Level;
use super::cpu::recurrent::{CellKind, Input, OwnedStates, RecurrentStack, States, Upstream};
use super::reference;
use crate::layers::{
    GruWeights, LstmState, LstmWeights, OutputsAndStates, RecurrentWeights, SimpleRnnWeights,
    layer_by_layer,
};
use crate::{Sequence, State};

/// A device of dfdx that recurrent layers run on, with the fastest kernels that there are for it.
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

    /// As [`gru`](RecurrentDevice::gru), over the same x, `(B, D)`, at every one of `steps` steps.
    fn gru_repeated<T: Tape<E, Self>>(
        layers: &[GruWeights<E, Self>],
        x: State<E, Self, T>,
        steps: usize,
        states: Option<&[State<E, Self>]>,
    ) -> OutputsAndStates<E, Self, T> {
        layer_by_layer(layers, reference::repeat(x, steps), states, reference::gru)
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
}

impl RecurrentDevice<f64> for Cpu {}

#[cfg(feature = "cuda")]
impl RecurrentDevice<f32> for dfdx::tensor::Cuda {}
#[cfg(feature = "cuda")]
impl RecurrentDevice<f64> for dfdx::tensor::Cuda {}

impl RecurrentDevice<f32> for Cpu {
    fn simple_rnn<T: Tape<f32, Cpu>>(
        layers: &[SimpleRnnWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T> {
        let steps = Steps::of(&x);
        let (outputs, last) = fused(CellKind::SimpleRnn, layers, x, steps, states.map(single));
        (outputs, last.into_iter().flatten().collect())
    }

    fn gru<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[State<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T> {
        let steps = Steps::of(&x);
        let (outputs, last) = fused(CellKind::Gru, layers, x, steps, states.map(single));
        (outputs, last.into_iter().flatten().collect())
    }

    fn gru_repeated<T: Tape<f32, Cpu>>(
        layers: &[GruWeights<f32, Cpu>],
        x: State<f32, Cpu, T>,
        steps: usize,
        states: Option<&[State<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T> {
        let steps = Steps { number: steps, repeated: true };
        let (outputs, last) = fused(CellKind::Gru, layers, x, steps, states.map(single));
        (outputs, last.into_iter().flatten().collect())
    }

    fn lstm<T: Tape<f32, Cpu>>(
        layers: &[LstmWeights<f32, Cpu>],
        x: Sequence<f32, Cpu, T>,
        states: Option<&[LstmState<f32, Cpu>]>,
    ) -> OutputsAndStates<f32, Cpu, T, LstmState<f32, Cpu>> {
        let pair = |state: &LstmState<f32, Cpu>| [state.hidden.clone(), state.cell.clone()];
        let states = states.map(|states| states.iter().map(pair).collect());
        let steps = Steps::of(&x);
        let (outputs, last) = fused(CellKind::Lstm, layers, x, steps, states);
        let last = last.into_iter().map(|[hidden, cell]| LstmState { hidden, cell });
        (outputs, last.collect())
    }
}

/// The states of layers that have one each.
fn single(states: &[State<f32, Cpu>]) -> Vec<[State<f32, Cpu>; 1]> {
    states.iter().map(|state| [state.clone()]).collect()
}

/// The steps of an input.
#[derive(Clone, Copy)]
struct Steps {
    number: usize,
    /// Whether it is the same at all of them, and has no axis for them.
    repeated: bool,
}

impl Steps {
    fn of<T>(x: &Sequence<f32, Cpu, T>) -> Self {
        Steps { number: x.shape().1, repeated: false }
    }
}

/// A stack over x, `(B, T, D)` or repeated `(B, D)`, from the hidden state and, in an LSTM, the cell
/// state of each layer, `(B, H)` each: the outputs of the last layer, `(B, T, H)`, with the tape,
/// and the same states after the last step.
fn fused<S: Shape, T: Tape<f32, Cpu>, const N: usize>(
    cell: CellKind,
    layers: &[RecurrentWeights<f32, Cpu>],
    x: Tensor<S, f32, Cpu, T>,
    Steps { number: steps, repeated }: Steps,
    states: Option<Vec<[State<f32, Cpu>; N]>>,
) -> (Sequence<f32, Cpu, T>, Vec<[State<f32, Cpu>; N]>) {
    let dev = x.device().clone();
    let (x, mut tape) = x.contiguous().split_tape();
    // A copy that makes a state contiguous goes on the tape as well: without it the gradient would
    // end at the copy.
    let mut contiguous = |state: State<f32, Cpu>| {
        let (state, copying) = state.put_tape(T::default()).contiguous().split_tape();
        tape = take(&mut tape).merge(copying);
        state
    };
    let states = states.unwrap_or_default();
    let states: Vec<_> = states.into_iter().map(|state| state.map(&mut contiguous)).collect();
    let initial: Vec<_> = states.iter().map(|state| state.each_ref().map(values)).collect();
    let initial: Vec<_> = initial.iter().map(borrow).collect();

    let hidden: Vec<_> = layers.iter().map(RecurrentWeights::hidden_size).collect();
    let stack = RecurrentStack::new(cell, layers[0].inputs(), &hidden, Level::best());
    let x_values = values(&x);
    let batch = x_values.len() / (layers[0].inputs() * if repeated { 1 } else { steps });
    let input = match repeated {
        true => Input::Repeated(&x_values, steps),
        false => Input::Sequence(&x_values),
    };
    let flat = flatten(layers, stack.num_weights());
    let (outputs, saved) = stack.forward(&flat, input, &initial, batch);
    let tensors = |(mut last, &hidden): (OwnedStates, &usize)| -> [State<f32, Cpu>; N] {
        let parts = [&mut last.hidden, &mut last.cell];
        let mut parts = parts.into_iter().map(take);
        array::from_fn(|_| dev.tensor_from_vec(parts.next().unwrap_or_default(), (batch, hidden)))
    };
    let last: Vec<_> = outputs.last.into_iter().zip(&hidden).map(tensors).collect();
    let shape = (batch, steps, hidden[hidden.len() - 1]);
    let outputs = dev.tensor_from_vec(outputs.hidden, shape);

    // A ghost stands for a tensor on the tape without holding its values.
    let (x_ghost, outputs_ghost) = (x.ghost(), outputs.ghost());
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
    tape.add_backward_op(move |gradients| {
        // Gradients are lent from the map and go back to it: nothing else asks for these meanwhile.
        let of_outputs = take::<Vec<_>>(gradients.get_or_alloc_mut(&outputs_ghost)?);
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
        let upstream = Upstream { hidden: &of_outputs, last: &last };
        let result = stack.backward(saved, upstream, Some(&mut of_x));

        **gradients.get_or_alloc_mut(&x_ghost)? = of_x;
        **gradients.get_or_alloc_mut(&outputs_ghost)? = of_outputs;
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
        Ok(())
    });
    (outputs.put_tape(tape), last)
}

/// The hidden state and, in an LSTM, the cell state of a layer.
fn borrow<const N: usize>(states: &[Vec<f32>; N]) -> States<'_> {
    States { hidden: states.first().map(|v| &v[..]), cell: states.get(1).map(|v| &v[..]) }
}

/// The values of a contiguous tensor, row by row.
pub(crate) fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// All weights in the order of [`RecurrentStack`].
fn flatten(layers: &[RecurrentWeights<f32, Cpu>], length: usize) -> Recycled {
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

//! The fused kernels as operations on dfdx's tape.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, SplitTape, Storage, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::mem::take;

use super::{
    Input, LayerState, Parameter, RecurrentCell, RecurrentWeights, Request, Response, Wanted,
    reference,
};
use crate::kernels::aligned::Recycled;
use crate::kernels::level::Level;
use crate::kernels::recurrent::{self, CellKind, OwnedStates, RecurrentStack, States, Upstream};
use crate::{Sequence, State};

/// A device of dfdx that layers run on, with the fastest kernels that there are for it.
///
/// # Panics
/// When the shapes of a request do not fit one another. The layers check that.
pub trait RecurrentDevice<E: Dtype>: Device<E> {
    /// What `request` asks for. `tape` belongs to its input, and afterwards to what it returns.
    fn run<C: RecurrentCell, T: Tape<E, Self>>(
        request: Request<'_, C, E, Self>,
        tape: &mut T,
    ) -> Response<C, E, Self> {
        reference::run(request, tape)
    }
}

impl RecurrentDevice<f64> for Cpu {}

#[cfg(feature = "cuda")]
impl RecurrentDevice<f32> for dfdx::tensor::Cuda {}
#[cfg(feature = "cuda")]
impl RecurrentDevice<f64> for dfdx::tensor::Cuda {}

// One operation. What depends on the type of the tape or of the cell is here; the rest is compiled once, in
// `run` below.
impl RecurrentDevice<f32> for Cpu {
    #[inline(never)]
    fn run<C: RecurrentCell, T: Tape<f32, Cpu>>(
        request: Request<'_, C, f32, Cpu>,
        tape: &mut T,
    ) -> Response<C, f32, Cpu> {
        let (batch, steps, _) = request.x.sizes();
        if batch * steps == 0 {
            return reference::run(request, tape); // no tile
        }
        let Request { layers, x, states, wanted } = request;
        let given = Given {
            cell: C::KIND,
            x: match x {
                Input::Sequence(x) => Input::Sequence(contiguous(&x, tape)),
                Input::Repeated(x, steps) => Input::Repeated(contiguous(&x, tape), steps),
            },
            states: (states.unwrap_or_default().iter())
                .map(|state| {
                    state.tensors().into_iter().map(|(_, s)| contiguous(s, tape)).collect()
                })
                .collect(),
            layers: (layers.iter())
                .map(|layer| RecurrentWeights {
                    weight_ih: contiguous(&layer.weight_ih, tape),
                    weight_hh: contiguous(&layer.weight_hh, tape),
                    bias_ih: contiguous(&layer.bias_ih, tape),
                    bias_hh: contiguous(&layer.bias_hh, tape),
                })
                .collect(),
            head: match wanted {
                Wanted::Dense((weight, bias)) => {
                    Some((contiguous(weight, tape), contiguous(bias, tape)))
                }
                _ => None,
            },
            every_step: !matches!(wanted, Wanted::States),
        };
        let (outputs, last, backward) = run(given);
        tape.add_backward_op(backward);
        let state = |tensors: Vec<State>| {
            let mut tensors = tensors.into_iter();
            C::State::build(|| tensors.next().expect("as many states as the cell has"))
        };
        Response { outputs, states: last.into_iter().map(state).collect() }
    }
}

type Vector = Tensor<(usize,), f32, Cpu>;
type Matrix = Tensor<(usize, usize), f32, Cpu>;
type Error = <Cpu as dfdx::tensor::HasErr>::Err;
/// What an operation leaves on the tape.
type Backward = Box<dyn FnOnce(&mut Gradients<f32, Cpu>) -> Result<(), Error>>;
/// Finds the gradient of one tensor. It does not hold the tensor's values.
type Slot = Box<dyn Fn(&mut Gradients<f32, Cpu>) -> Result<&mut <Cpu as Storage<f32>>::Vec, Error>>;

/// A [`Request`] with the cell as a value and all tensors contiguous.
struct Given {
    cell: CellKind,
    x: Input<f32, Cpu>,
    /// The hidden state and, in an LSTM, the cell state of each layer; none for zeros.
    states: Vec<Vec<State>>,
    layers: Vec<RecurrentWeights>,
    head: Option<(Matrix, Vector)>,
    every_step: bool,
}

/// The outputs that were asked for, and the hidden state and, in an LSTM, the cell state of each layer
/// after the last step; none with a head.
fn run(given: Given) -> (Option<Sequence>, Vec<Vec<State>>, Backward) {
    let Given { cell, x, states, layers, head, every_step } = given;
    let (batch, steps, features) = x.sizes();
    let hidden: Vec<_> = layers.iter().map(RecurrentWeights::hidden_size).collect();
    let mut stack = RecurrentStack::new(cell, features, &hidden, Level::best());
    let mut width = hidden.last().copied().unwrap_or(features);
    let mut weights: Vec<_> = layers.iter().flat_map(|layer| layer.parameters()).collect();
    if let Some((weight, bias)) = &head {
        let outputs = bias.shape().0;
        assert_eq!(*weight.shape(), (outputs, width), "a head that fits the layers");
        stack = stack.with_head(outputs);
        width = outputs;
        weights.extend([("weight", Parameter::Matrix(weight)), ("bias", Parameter::Vector(bias))]);
    }
    let flat = flatten(&weights, stack.num_weights());
    let initial: Vec<Vec<_>> =
        states.iter().map(|state| state.iter().map(copied).collect()).collect();
    let initial: Vec<_> = initial.iter().map(|state| borrow(state)).collect();
    let (values, of_x) = match &x {
        Input::Sequence(x) => (copied(x), slot(x)),
        Input::Repeated(x, _) => (copied(x), slot(x)),
    };
    let input = match x {
        Input::Sequence(_) => recurrent::Input::Sequence(&values),
        Input::Repeated(..) => recurrent::Input::Repeated(&values, steps),
    };
    let (computed, saved) = stack.forward(&flat, input, &initial, batch, every_step);
    let dev = Cpu::default();
    let last: Vec<Vec<_>> = (computed.last.into_iter().zip(&hidden))
        .map(|(OwnedStates { hidden, cell }, &units)| {
            let tensors = [hidden, cell].into_iter().filter(|values| !values.is_empty());
            tensors.map(|values| dev.tensor_from_vec(values, (batch, units))).collect()
        })
        .collect();
    let outputs =
        every_step.then(|| dev.tensor_from_vec(computed.every_step, (batch, steps, width)));

    let slots = |states: &[Vec<State>]| -> Vec<Vec<Slot>> {
        states.iter().map(|state| state.iter().map(slot).collect()).collect()
    };
    let (first_slots, last_slots) = (slots(&states), slots(&last));
    let output_slot = outputs.as_ref().map(slot);
    let weight_slots: Vec<Slot> = (weights.iter())
        .map(|(_, weight)| match weight {
            Parameter::Matrix(matrix) => slot(matrix),
            Parameter::Vector(vector) => slot(vector),
        })
        .collect();
    let backward = move |gradients: &mut Gradients<f32, Cpu>| {
        // Gradients are lent from the map and go back to it: nothing else asks for these meanwhile.
        let mut lend = |slot: &Slot| Ok::<Vec<f32>, Error>(take(&mut **slot(gradients)?));
        let of_outputs = output_slot.as_ref().map(&mut lend).transpose()?;
        let of_last = last_slots.iter().map(|state| state.iter().map(&mut lend).collect());
        let of_last = of_last.collect::<Result<Vec<Vec<_>>, _>>()?;
        let mut of_input = lend(&of_x)?;

        let last: Vec<_> = of_last.iter().map(|state| borrow(state)).collect();
        let upstream = Upstream { every_step: of_outputs.as_deref(), last: &last };
        let result = stack.backward(saved, upstream, Some(&mut of_input));

        **of_x(gradients)? = of_input;
        for (slot, gradient) in output_slot.iter().zip(of_outputs) {
            **slot(gradients)? = gradient;
        }
        for (slot, gradient) in last_slots.iter().flatten().zip(of_last.into_iter().flatten()) {
            **slot(gradients)? = gradient;
        }
        for (slots, OwnedStates { hidden, cell }) in first_slots.iter().zip(&result.initial) {
            for (slot, gradient) in slots.iter().zip([hidden, cell]) {
                add_front(slot(gradients)?, gradient);
            }
        }
        let mut rest = &result.weights[..];
        for slot in &weight_slots {
            rest = add_front(slot(gradients)?, rest);
        }
        Ok(())
    };
    (outputs, last, Box::new(backward))
}

fn slot<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Slot {
    let ghost = tensor.ghost();
    Box::new(move |gradients| gradients.get_or_alloc_mut(&ghost))
}

/// The hidden state and, in an LSTM, the cell state of a layer.
fn borrow<V: std::ops::Deref<Target = [f32]>>(states: &[V]) -> States<'_> {
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

/// The values of a contiguous tensor, row by row, for as long as an operation takes.
fn copied<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Recycled {
    let mut values = Recycled::new(tensor.shape().num_elements());
    tensor.copy_into(&mut values);
    values
}

/// Contiguous weights one after the other.
fn flatten(weights: &[(&str, Parameter<'_, f32, Cpu>)], length: usize) -> Recycled {
    let mut flat = Recycled::new(length);
    let mut rest = &mut flat[..];
    for (_, weight) in weights {
        let len = weight.shape().iter().product();
        let next = rest.split_off_mut(..len).expect("weights of all layers");
        match weight {
            Parameter::Matrix(matrix) => matrix.copy_into(next),
            Parameter::Vector(vector) => vector.copy_into(next),
        }
    }
    assert!(rest.is_empty(), "weights that fit one another");
    flat
}

/// Adds the front of `from` to `to`, and returns what follows it.
fn add_front<'a>(to: &mut [f32], from: &'a [f32]) -> &'a [f32] {
    let (front, rest) = from.split_at(to.len());
    to.iter_mut().zip(front).for_each(|(to, from)| *to += from);
    rest
}

//! The recurrent layers in plain dfdx operations, on any of its devices: slow, and easy to compare
//! with the formulas. The fast kernels are tested against these.

use dfdx::shapes::{Axes3, Axis, Dtype, HasShape};
use dfdx::tensor::{PutTape, SplitTape, Tape, Tensor};
use dfdx::tensor_ops::{BroadcastTo, Device, PermuteTo, ReshapeTo, SelectTo, TryMatMul, TryStack};
use std::mem::take;

use super::{Head, Input, LayerState, RecurrentCell, RecurrentWeights, Request, Response, Wanted};
use crate::{Sequence, State};

/// What `request` asks for, layer by layer and step by step.
///
/// # Panics
/// When the shapes do not fit one another, or layers have no step. The stack checks both.
pub fn run<C: RecurrentCell, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    Request { layers, x, states, wanted }: Request<'_, C, E, D>,
    tape: &mut T,
) -> Response<C, E, D> {
    let (batch, ..) = x.sizes();
    let dev = x.device().clone();
    let mut outputs = match x {
        Input::Sequence(x) => x.put_tape(take(tape)),
        Input::Repeated(x, steps) => {
            let (_, width) = *x.shape();
            x.put_tape(take(tape)).broadcast_like::<_, Axis<1>>(&(batch, steps, width))
        }
    };
    let mut last = Vec::with_capacity(layers.len());
    for (l, weights) in layers.iter().enumerate() {
        let first = match states {
            Some(states) => states[l].clone(),
            None => C::State::build(|| dev.zeros_like(&(batch, weights.hidden_size()))),
        };
        let state;
        (outputs, state) = layer::<C, _, _, _>(weights, outputs, first);
        last.push(state);
    }
    if let Wanted::Dense(head) = wanted {
        outputs = dense(head, outputs);
    }
    let (outputs, used) = outputs.split_tape();
    *tape = used;
    let outputs = (!matches!(wanted, Wanted::States)).then_some(outputs);
    Response { outputs, states: last }
}

/// One layer over x, `(B, T, D)`, from a state: the outputs `(B, T, H)` and the state after the last step.
/// The formulas are those of [`RecurrentCell::step`].
///
/// # Panics
/// As [`run`].
pub fn layer<C: RecurrentCell, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    weights: &RecurrentWeights<E, D>,
    x: Sequence<E, D, T>,
    mut state: C::State<E, D>,
) -> (Sequence<E, D, T>, C::State<E, D>) {
    let (_, time, _) = *x.shape();
    let (x, mut tape) = x.permute::<_, Axes3<1, 0, 2>>().split_tape(); // (T, B, D)
    let mut outputs = Vec::with_capacity(time);
    for t in 0..time {
        let (x, with_x) = at(x.clone().put_tape(tape), t).split_tape();
        (state, tape) = C::step(weights, x, state, with_x);
        outputs.push(state.output().retaped::<T>());
    }
    outputs[time - 1] = state.output().clone().put_tape(tape);
    let outputs = outputs.stack().permute::<_, Axes3<1, 0, 2>>(); // (B, T, H)
    (outputs.contiguous(), state)
}

/// x · Wᵀ + b at every step of x, `(B, T, K)`, with W `(N, K)` and b `(N,)`: `(B, T, N)`.
fn dense<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    (weight, bias): Head<'_, E, D>,
    x: Sequence<E, D, T>,
) -> Sequence<E, D, T> {
    let ((batch, time, features), (outputs, _)) = (*x.shape(), *weight.shape());
    // One product of all steps of all series: of three axes dfdx makes a product each series.
    let y = affine(x.reshape_like(&(batch * time, features)), weight, bias);
    y.reshape_like(&(batch, time, outputs))
}

/// x · Wᵀ + b, for x `(B, K)`, W `(N, K)` and b `(N,)`.
pub(super) fn affine<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: State<E, D, T>,
    weight: &Tensor<(usize, usize), E, D>,
    bias: &Tensor<(usize,), E, D>,
) -> State<E, D, T> {
    let shape = (x.shape().0, weight.shape().0);
    let weight = weight.retaped::<T>().permute();
    x.matmul(weight) + bias.retaped::<T>().broadcast_like::<_, Axis<0>>(&shape)
}

/// The gates `(B, H)` that lie side by side in g, `(B, G·H)`; the first has the tape.
pub(super) fn gates<const G: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    g: State<E, D, T>,
) -> [State<E, D, T>; G] {
    // `slice` would read better, but its backward pass on the CPU overwrites the gradient that
    // another slice of the same tensor has left (dfdx 0.13.0); `select` adds.
    let (batch, width) = *g.shape();
    let g = g.reshape_like(&(batch, G, width / G)).permute::<_, Axes3<1, 0, 2>>(); // (G, B, H)
    let (g, tape) = g.split_tape();
    let mut tape = Some(tape);
    std::array::from_fn(|k| at(g.clone().put_tape(tape.take().unwrap_or_default()), k))
}

/// `x[i]`, for x `(N, B, K)`.
pub(crate) fn at<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Sequence<E, D, T>,
    i: usize,
) -> State<E, D, T> {
    let index: Tensor<(), usize, D> = x.device().tensor_from_vec(vec![i], ());
    x.select(index)
}

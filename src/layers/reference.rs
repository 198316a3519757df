//! The recurrent layers in plain dfdx operations, on any of its devices: slow, and easy to hold
//! against the formulas. The fast kernels are tested against these.

use dfdx::shapes::{Axes3, Axis, Dtype, HasShape};
use dfdx::tensor::{PutTape, SplitTape, Tape, Tensor};
use dfdx::tensor_ops::{BroadcastTo, Device, PermuteTo, ReshapeTo, SelectTo, TryMatMul, TryStack};

use super::{GruWeights, LstmState, LstmWeights, SimpleRnnWeights};
use crate::{Sequence, State};

/// One simple RNN layer over x, `(B, T, D)`, from the state h, `(B, H)`: the outputs `(B, T, H)`
/// and the last of them, `(B, H)`. The formula stands at
/// [`SimpleRnn`](crate::layers::SimpleRnn).
///
/// # Panics
/// When the shapes do not fit the weights, or T is 0. The layer checks both.
pub fn simple_rnn<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    weights: &SimpleRnnWeights<E, D>,
    x: Sequence<E, D, T>,
    h: State<E, D>,
) -> (Sequence<E, D, T>, State<E, D>) {
    over_time(x, h, |x, h| {
        let x = affine(x, &weights.weight_ih, &weights.bias_ih);
        let h = affine(h, &weights.weight_hh, &weights.bias_hh);
        (x + h).tanh()
    })
}

/// One GRU layer over x, `(B, T, D)`, from the state h, `(B, H)`: the outputs `(B, T, H)` and the
/// last of them, `(B, H)`. The formulas stand at [`Gru`](crate::layers::Gru).
///
/// # Panics
/// When the shapes do not fit the weights, or T is 0. The layer checks both.
pub fn gru<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    weights: &GruWeights<E, D>,
    x: Sequence<E, D, T>,
    h: State<E, D>,
) -> (Sequence<E, D, T>, State<E, D>) {
    over_time(x, h, |x, h| {
        let [xr, xz, xn] = gates(affine(x, &weights.weight_ih, &weights.bias_ih));
        let [hr, hz, hn] = gates(affine(h.retaped::<T>(), &weights.weight_hh, &weights.bias_hh));
        let r = (xr + hr).sigmoid();
        let z = (xz + hz).sigmoid();
        let n = (xn + r * hn).tanh();
        n.retaped::<T>() + z * (h - n) // = (1 - z) n + z h
    })
}

/// One LSTM layer over x, `(B, T, D)`, from a state of two tensors, `(B, H)` each: the outputs
/// `(B, T, H)` and the state after the last step. The formulas stand at
/// [`Lstm`](crate::layers::Lstm).
///
/// # Panics
/// When the shapes do not fit the weights, or T is 0. The layer checks both.
pub fn lstm<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    weights: &LstmWeights<E, D>,
    x: Sequence<E, D, T>,
    state: LstmState<E, D>,
) -> (Sequence<E, D, T>, LstmState<E, D>) {
    let LstmState { hidden, mut cell } = state;
    let (outputs, hidden) = over_time(x, hidden, |x, h| {
        let x = affine(x, &weights.weight_ih, &weights.bias_ih);
        let h = affine(h, &weights.weight_hh, &weights.bias_hh);
        let [i, f, g, o] = gates(x + h);
        let c = f.sigmoid() * cell.retaped::<T>() + i.sigmoid() * g.tanh();
        // The cell state goes on without the tape, which stays with the output.
        let (c, tape) = c.split_tape();
        cell = c.clone();
        o.sigmoid() * c.put_tape(tape).tanh()
    });
    (outputs, LstmState { hidden, cell })
}

/// x, `(B, H)`, at every one of `steps` steps: `(B, T, H)`.
pub fn repeat<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: State<E, D, T>,
    steps: usize,
) -> Sequence<E, D, T> {
    let (batch, width) = *x.shape();
    x.broadcast_like::<_, Axis<1>>(&(batch, steps, width))
}

/// x · Wᵀ + b at every step of x, `(B, T, K)`, with W `(N, K)` and b `(N,)`: `(B, T, N)`.
pub fn dense<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    weight: &Tensor<(usize, usize), E, D>,
    bias: &Tensor<(usize,), E, D>,
    x: Sequence<E, D, T>,
) -> Sequence<E, D, T> {
    let ((batch, time, features), (outputs, _)) = (*x.shape(), *weight.shape());
    // One product of all steps of all series: of three axes dfdx makes a product each series.
    let y = affine(x.reshape_like(&(batch * time, features)), weight, bias);
    y.reshape_like(&(batch, time, outputs))
}

/// Calls `step` with each step of x, `(B, D)`, and the state before it, `(B, H)`, for the state
/// after it: all of these, `(B, T, H)`, and the last.
fn over_time<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Sequence<E, D, T>,
    h: State<E, D>,
    mut step: impl FnMut(State<E, D, T>, State<E, D, T>) -> State<E, D, T>,
) -> (Sequence<E, D, T>, State<E, D>) {
    let (_, time, _) = *x.shape();
    let (x, tape) = x.permute::<_, Axes3<1, 0, 2>>().split_tape(); // (T, B, D)
    let mut h = h.retaped::<T>();
    let mut outputs = Vec::with_capacity(time);
    for t in 0..time {
        h = step(at(x.retaped::<T>(), t), h);
        outputs.push(h.retaped::<T>());
    }
    // The operations so far hang on the tape of the last state: the outputs take it over.
    let (last, steps_tape) = h.split_tape();
    outputs[time - 1] = last.clone().put_tape(tape.merge(steps_tape));
    let outputs = outputs.stack().permute::<_, Axes3<1, 0, 2>>(); // (B, T, H)
    (outputs.contiguous(), last)
}

/// x · Wᵀ + b, for x `(B, K)`, W `(N, K)` and b `(N,)`.
fn affine<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: State<E, D, T>,
    weight: &Tensor<(usize, usize), E, D>,
    bias: &Tensor<(usize,), E, D>,
) -> State<E, D, T> {
    let shape = (x.shape().0, weight.shape().0);
    let weight = weight.retaped::<T>().permute();
    x.matmul(weight) + bias.retaped::<T>().broadcast_like::<_, Axis<0>>(&shape)
}

/// The gates `(B, H)` that lie side by side in g, `(B, G·H)`; the first has the tape.
fn gates<const G: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
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

//! What a stack of recurrent layers is asked to compute, and what it answers.

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Storage, Tensor};

use super::{LayerState, RecurrentCell, RecurrentWeights};
use crate::{Sequence, State};

/// A stack of recurrent layers and what it is to run over. All shapes fit one another, which
/// [`Stack`](super::Stack) and [`Dense`](super::Dense) check before they ask. A dense layer alone is a stack
/// without layers, and may have no series or no step.
pub struct Request<'a, C: RecurrentCell, E: Dtype, D: Storage<E>> {
    /// The layers, from the input up.
    pub layers: &'a [RecurrentWeights<E, D>],
    /// What the first of them reads.
    pub x: Input<E, D>,
    /// The states to start from, one a layer; `None` for zeros.
    pub states: Option<&'a [C::State<E, D>]>,
    /// Which outputs are asked for.
    pub wanted: Wanted<'a, E, D>,
}

/// What a stack reads.
#[derive(Clone, Debug)]
pub enum Input<E: Dtype, D: Storage<E>> {
    /// Other features at every step, `(B, T, D)`.
    Sequence(Sequence<E, D>),
    /// The same features, `(B, D)`, at so many steps.
    Repeated(State<E, D>, usize),
}

impl<E: Dtype, D: Storage<E>> Input<E, D> {
    /// B, T and D.
    pub fn sizes(&self) -> (usize, usize, usize) {
        match self {
            Self::Sequence(x) => *x.shape(),
            Self::Repeated(x, steps) => (x.shape().0, *steps, x.shape().1),
        }
    }

    /// The device that holds the values.
    pub(super) fn device(&self) -> &D {
        match self {
            Self::Sequence(x) => x.device(),
            Self::Repeated(x, _) => x.device(),
        }
    }
}

/// Which outputs of a stack are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a, E: Dtype, D: Storage<E>> {
    /// None beside the last states, of which that of the top layer holds the last output.
    States,
    /// Those of the top layer at every step, `(B, T, H)`.
    EveryStep,
    /// What a dense layer makes of these, `(B, T, O)`. The last states may be left out.
    Dense(Head<'a, E, D>),
}

/// The weights of a dense layer: the matrix `(O, H)` and the bias `(O,)`.
pub type Head<'a, E, D> = (&'a Tensor<(usize, usize), E, D>, &'a Tensor<(usize,), E, D>);

/// What a stack has computed.
pub struct Response<C: RecurrentCell, E: Dtype, D: Storage<E>> {
    /// The outputs that were asked for.
    pub outputs: Option<Sequence<E, D>>,
    /// The state of each layer after the last step.
    pub states: Vec<C::State<E, D>>,
}

/// What computes a request: [`RecurrentDevice::run`](super::RecurrentDevice::run) or
/// [`reference::run`](super::reference::run).
pub(super) type Run<C, E, D, T> = fn(Request<'_, C, E, D>, &mut T) -> Response<C, E, D>;

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> Response<C, E, D> {
    /// Takes out the outputs, which were asked for.
    pub(super) fn outputs(&mut self) -> Sequence<E, D> {
        self.outputs.take().expect("outputs that were asked for")
    }

    /// The output of the top layer at the last step, `(B, H)`.
    pub(super) fn last(&self) -> State<E, D> {
        self.states[self.states.len() - 1].output().clone()
    }
}

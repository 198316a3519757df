//! What tells recurrent cells apart, and what a layer of any of them holds.

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::{Parameter, ParameterMut};
use crate::State;
use crate::kernels::recurrent::CellKind;

/// A kind of recurrent cell. `gru.rs` shows one: its constants, its state, and its formulas in plain
/// dfdx operations. The fast kernels compute what [`KIND`](RecurrentCell::KIND) names.
pub trait RecurrentCell: Clone + fmt::Debug + Send + Sync + 'static {
    /// The cell's name among the kernels.
    const KIND: CellKind;
    /// How a stack of them is printed, `GRU`.
    const NAME: &'static str;
    /// What errors call it, `a GRU`.
    const A_NAME: &'static str;
    /// What a layer remembers from step to step.
    type State<E: Dtype, D: Storage<E>>: LayerState<E, D>;

    /// One step of one layer, in plain dfdx operations: from x, `(B, D)`, and the state before to the
    /// state after. The tape, which both belong to, goes with them.
    fn step<E: Dtype, D: Device<E>, T: Tape<E, D>>(
        weights: &RecurrentWeights<E, D>,
        x: State<E, D>,
        state: Self::State<E, D>,
        tape: T,
    ) -> (Self::State<E, D>, T);
}

/// What one layer remembers of each series of a batch: one or more tensors, `(B, H)` each, of which the
/// first is the layer's output.
pub trait LayerState<E: Dtype, D: Storage<E>>: Clone {
    /// Its tensors, with the names that errors call them by.
    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)>;

    /// A state of the tensors that `next` makes, in the order of [`tensors`](LayerState::tensors).
    fn build(next: impl FnMut() -> State<E, D>) -> Self;

    /// The layer's output, `(B, H)`.
    fn output(&self) -> &State<E, D> {
        self.tensors()[0].1
    }
}

impl<E: Dtype, D: Storage<E>> LayerState<E, D> for State<E, D> {
    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)> {
        vec![("state", self)]
    }

    fn build(mut next: impl FnMut() -> State<E, D>) -> Self {
        next()
    }
}

/// The weights of one recurrent layer with G gates: 1 in a simple RNN, 3 in a GRU, 4 in an LSTM.
/// The rows hold one gate below the other.
#[derive(Clone, Debug)]
pub struct RecurrentWeights<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// `(G·H, D)`, D being the features of the layer's input.
    pub weight_ih: Tensor<(usize, usize), E, D>,
    /// `(G·H, H)`
    pub weight_hh: Tensor<(usize, usize), E, D>,
    /// `(G·H,)`
    pub bias_ih: Tensor<(usize,), E, D>,
    /// `(G·H,)`
    pub bias_hh: Tensor<(usize,), E, D>,
}

impl<E: Dtype, D: Storage<E>> RecurrentWeights<E, D> {
    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        self.weight_ih.shape().1
    }

    /// Units of the layer, H.
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.shape().1
    }

    pub(super) fn to_device<To: Device<E>>(&self, device: &To) -> RecurrentWeights<E, To> {
        RecurrentWeights {
            weight_ih: self.weight_ih.to_device(device),
            weight_hh: self.weight_hh.to_device(device),
            bias_ih: self.bias_ih.to_device(device),
            bias_hh: self.bias_hh.to_device(device),
        }
    }

    /// The weights with PyTorch's names, less the number of the layer, in PyTorch's order, which is that
    /// of the kernels.
    pub(super) fn parameters(&self) -> [(&'static str, Parameter<'_, E, D>); 4] {
        [
            ("weight_ih", Parameter::Matrix(&self.weight_ih)),
            ("weight_hh", Parameter::Matrix(&self.weight_hh)),
            ("bias_ih", Parameter::Vector(&self.bias_ih)),
            ("bias_hh", Parameter::Vector(&self.bias_hh)),
        ]
    }

    pub(super) fn parameters_mut(&mut self) -> [(&'static str, ParameterMut<'_, E, D>); 4] {
        [
            ("weight_ih", ParameterMut::Matrix(&mut self.weight_ih)),
            ("weight_hh", ParameterMut::Matrix(&mut self.weight_hh)),
            ("bias_ih", ParameterMut::Vector(&mut self.bias_ih)),
            ("bias_hh", ParameterMut::Vector(&mut self.bias_hh)),
        ]
    }
}

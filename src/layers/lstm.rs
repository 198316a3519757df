use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::Device;

use super::reference::{affine, gates};
use super::{LayerState, RecurrentCell, RecurrentWeights, Stack};
use crate::State;
use crate::kernels::recurrent::CellKind;

/// A stack of long short-term memories (Hochreiter and Schmidhuber, 1997; with the forget gate of
/// Gers et al., 2000): each layer reads the outputs of the one below it. What it does is told at
/// [`Stack`]; the state of each of its layers is an [`LstmState`].
///
/// At every step, with input x, and the hidden state h and the cell state c of the step before,
///
/// ```text
/// i  = sigmoid(x · W_iiᵀ + b_ii + h · W_hiᵀ + b_hi)     input gate
/// f  = sigmoid(x · W_ifᵀ + b_if + h · W_hfᵀ + b_hf)     forget gate
/// g  = tanh(x · W_igᵀ + b_ig + h · W_hgᵀ + b_hg)        candidate
/// o  = sigmoid(x · W_ioᵀ + b_io + h · W_hoᵀ + b_ho)     output gate
/// c' = f ∘ c + i ∘ g                                     new cell state
/// h' = o ∘ tanh(c')                                      new hidden state, and output
/// ```
///
/// This is PyTorch's `nn.LSTM`. The rows of each weight hold the gates in the order i, f, g, o; in
/// Keras, whose `LSTM` has one bias where this has the sum of two, the same order is called i, f,
/// c, o. All biases start at zero, that of the forget gate too, which Keras starts at one.
///
/// ONNX has the order i, o, f, c. Flax' `LSTMCell` has a matrix for each gate, `ii` to `io` and `hi`
/// to `ho`, and no biases at the first four. Weights with swapped gates have the right shapes: they
/// load without an error, and every prediction is wrong. `examples/convert_weights.py` converts each
/// of these.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let lstm = Lstm::new(1, &[20, 20], &mut Initializer::new(42), &dev)?;
/// let past: Sequence = dev.zeros_like(&(5, 50, 1));
/// let (outputs, states) = lstm.forward(past, None)?;
/// assert_eq!(outputs.shape(), &(5, 50, 20)); // of the top layer, at every step
/// assert_eq!(states[0].cell.shape(), &(5, 20)); // of the first layer, after the last step
/// # Ok::<(), Error>(())
/// ```
pub type Lstm<E = f32, D = Cpu> = Stack<LstmCell, E, D>;

/// The weights of one LSTM layer, G = 4; the rows hold the gates i, f, g, o.
pub type LstmWeights<E = f32, D = Cpu> = RecurrentWeights<E, D>;

/// What an LSTM layer remembers of each series of a batch.
#[derive(Clone, Debug)]
pub struct LstmState<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// h, the output of the step before, `(B, H)`.
    pub hidden: State<E, D>,
    /// c, what the gates write to and read from, `(B, H)`.
    pub cell: State<E, D>,
}

impl<E: Dtype, D: Storage<E>> LayerState<E, D> for LstmState<E, D> {
    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)> {
        vec![("hidden state", &self.hidden), ("cell state", &self.cell)]
    }

    fn build(mut next: impl FnMut() -> State<E, D>) -> Self {
        Self { hidden: next(), cell: next() }
    }
}

/// The cell of an [`Lstm`], whose docs have the formulas.
#[derive(Clone, Debug)]
pub struct LstmCell;

impl RecurrentCell for LstmCell {
    const KIND: CellKind = CellKind::Lstm;
    const NAME: &'static str = "LSTM";
    const A_NAME: &'static str = "an LSTM";
    type State<E: Dtype, D: Storage<E>> = LstmState<E, D>;

    fn step<E: Dtype, D: Device<E>, T: Tape<E, D>>(
        weights: &LstmWeights<E, D>,
        x: State<E, D>,
        LstmState { hidden, cell }: LstmState<E, D>,
        tape: T,
    ) -> (LstmState<E, D>, T) {
        let x = affine(x.put_tape(tape), &weights.weight_ih, &weights.bias_ih);
        let h = affine(hidden.retaped::<T>(), &weights.weight_hh, &weights.bias_hh);
        let [i, f, g, o] = gates(x + h);
        let c = f.sigmoid() * cell.retaped::<T>() + i.sigmoid() * g.tanh();
        let (cell, tape) = c.split_tape();
        let (hidden, tape) = (o.sigmoid() * cell.clone().put_tape(tape).tanh()).split_tape();
        (LstmState { hidden, cell }, tape)
    }
}

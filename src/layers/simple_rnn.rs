use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::Device;

use super::reference::affine;
use super::{RecurrentCell, RecurrentWeights, Stack};
use crate::State;
use crate::kernels::recurrent::CellKind;

/// A stack of simple recurrent layers (Elman, 1990): each layer reads the outputs of the one below
/// it. What it does is told at [`Stack`].
///
/// At every step, with input x and the state h of the step before,
///
/// ```text
/// h' = tanh(x · W_ihᵀ + b_ih + h · W_hhᵀ + b_hh)        new state, and output
/// ```
///
/// This is PyTorch's `nn.RNN`. Keras' `SimpleRNN` has one bias where this has the sum of two, so
/// that a layer with one unit and one feature counts 4 parameters here and 3 there; the two compute
/// the same. There are no gates, and so no order of them: ONNX' `RNN` has these rows too, and the
/// kernels of Keras and of Flax' `SimpleCell` are the transposed weights.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let rnn = SimpleRnn::new(1, &[20, 20], &mut Initializer::new(42), &dev)?;
/// let past: Sequence = dev.zeros_like(&(5, 50, 1));
/// let (last, states) = rnn.forward_last(past, None)?;
/// assert_eq!(last.shape(), &(5, 20)); // of the top layer, after the last step
/// assert_eq!(states.len(), 2); // of every layer
/// # Ok::<(), Error>(())
/// ```
pub type SimpleRnn<E = f32, D = Cpu> = Stack<SimpleRnnCell, E, D>;

/// The weights of one layer of a simple RNN, G = 1.
pub type SimpleRnnWeights<E = f32, D = Cpu> = RecurrentWeights<E, D>;

/// The cell of a [`SimpleRnn`], whose docs have the formula. It has no gates: all of its rows are the
/// argument of tanh. Its state is h, `(B, H)`.
#[derive(Clone, Debug)]
pub struct SimpleRnnCell;

impl RecurrentCell for SimpleRnnCell {
    const KIND: CellKind = CellKind::SimpleRnn;
    const NAME: &'static str = "SimpleRNN";
    const A_NAME: &'static str = "a simple RNN";
    type State<E: Dtype, D: Storage<E>> = State<E, D>;

    fn step<E: Dtype, D: Device<E>, T: Tape<E, D>>(
        weights: &SimpleRnnWeights<E, D>,
        x: State<E, D>,
        h: State<E, D>,
        tape: T,
    ) -> (State<E, D>, T) {
        let x = affine(x.put_tape(tape), &weights.weight_ih, &weights.bias_ih);
        let h = affine(h.retaped::<T>(), &weights.weight_hh, &weights.bias_hh);
        (x + h).tanh().split_tape()
    }
}

use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::Device;

use super::reference::{affine, gates};
use super::{RecurrentCell, RecurrentWeights, Stack};
use crate::State;
use crate::kernels::recurrent::CellKind;

/// A stack of gated recurrent units (Cho et al., 2014): each layer reads the outputs of the one
/// below it. What it does is told at [`Stack`].
///
/// At every step, with input x and the state h of the step before,
///
/// ```text
/// r  = sigmoid(x · W_irᵀ + b_ir + h · W_hrᵀ + b_hr)     reset gate
/// z  = sigmoid(x · W_izᵀ + b_iz + h · W_hzᵀ + b_hz)     update gate
/// n  = tanh(x · W_inᵀ + b_in + r ∘ (h · W_hnᵀ + b_hn))  candidate
/// h' = (1 − z) ∘ n + z ∘ h                               new state, and output
/// ```
///
/// This is the variant that applies the reset gate **after** the recurrent product, with two
/// biases: PyTorch's `nn.GRU` and Keras' `GRU(reset_after=True)`. The rows of each weight hold the
/// gates in the order r, z, n.
///
/// That is PyTorch's order. Keras, whose kernels are transposed, and ONNX
/// (`linear_before_reset=1`) have z, r, n, and call n h. Flax' `GRUCell` has a matrix for each gate,
/// `ir`, `iz`, `in`, `hr`, `hz` and `hn`, and no biases b_hr and b_hz. Weights with swapped gates
/// have the right shapes: they load without an error, and every prediction is wrong.
/// `examples/convert_weights.py` converts each of these.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let gru = Gru::new(2, &[12, 12], &mut Initializer::new(42), &dev)?;
/// let past: Sequence = dev.zeros_like(&(5, 10, 2));
/// let (outputs, states) = gru.forward(past, None)?;
/// assert_eq!(outputs.shape(), &(5, 10, 12)); // of the top layer, at every step
/// assert_eq!(states.len(), 2); // of every layer, after the last step
/// # Ok::<(), Error>(())
/// ```
pub type Gru<E = f32, D = Cpu> = Stack<GruCell, E, D>;

/// The weights of one GRU layer, G = 3; the rows hold the gates r, z, n.
pub type GruWeights<E = f32, D = Cpu> = RecurrentWeights<E, D>;

/// The cell of a [`Gru`], whose docs have the formulas. Its state is h, `(B, H)`.
#[derive(Clone, Debug)]
pub struct GruCell;

impl RecurrentCell for GruCell {
    const KIND: CellKind = CellKind::Gru;
    const NAME: &'static str = "GRU";
    const A_NAME: &'static str = "a GRU";
    type State<E: Dtype, D: Storage<E>> = State<E, D>;

    fn step<E: Dtype, D: Device<E>, T: Tape<E, D>>(
        weights: &GruWeights<E, D>,
        x: State<E, D>,
        h: State<E, D>,
        tape: T,
    ) -> (State<E, D>, T) {
        let [xr, xz, xn] = gates(affine(x.put_tape(tape), &weights.weight_ih, &weights.bias_ih));
        let [hr, hz, hn] = gates(affine(h.retaped::<T>(), &weights.weight_hh, &weights.bias_hh));
        let r = (xr + hr).sigmoid();
        let z = (xz + hz).sigmoid();
        let n = (xn + r * hn).tanh();
        let h = n.retaped::<T>() + z * (h.retaped::<T>() - n); // = (1 - z) n + z h
        h.split_tape()
    }
}

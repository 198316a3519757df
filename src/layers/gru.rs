use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, Storage, Tape};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::stack::{self, Kind, LastAndStates, OutputsAndStates, RecurrentWeights};
use super::{Dense, Initializer, Parameter, ParameterMut, Parameters};
use super::{RecurrentDevice, reference};
use crate::error::Result;
use crate::{Sequence, State};

/// A stack of gated recurrent units (Cho et al., 2014): each layer reads the outputs of the one
/// below it.
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
#[derive(Clone, Debug)]
pub struct Gru<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// The layers, from the input up.
    pub layers: Vec<GruWeights<E, D>>,
}

/// The weights of one GRU layer, G = 3; the rows hold the gates r, z, n.
pub type GruWeights<E = f32, D = Cpu> = RecurrentWeights<E, D>;

/// Gates of a GRU, the candidate included.
pub(crate) const GATES: usize = 3;

const KIND: Kind = Kind { name: "a GRU", gates: GATES };

impl<D: Device<f32>> Gru<f32, D> {
    /// A stack with one layer for each of `hidden_sizes`, from the input up.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when there is no layer or a size is 0.
    pub fn new(
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        Self::of_dtype(inputs, hidden_sizes, initializer, device)
    }
}

impl<E: Dtype + From<f32>, D: Device<E>> Gru<E, D> {
    /// As [`Gru::new`], for any type of number.
    ///
    /// # Errors
    /// As [`Gru::new`].
    #[inline(never)]
    pub fn of_dtype(
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        let layers = stack::new_layers(KIND, inputs, hidden_sizes, initializer, device)?;
        Ok(Self { layers })
    }
}

impl<E: Dtype, D: Storage<E>> Gru<E, D> {
    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        stack::inputs(&self.layers)
    }

    /// Hidden size of each layer, from the input up.
    pub fn hidden_sizes(&self) -> Vec<usize> {
        self.layers.iter().map(RecurrentWeights::hidden_size).collect()
    }

    /// Hidden size of the top layer: the features that come out.
    pub fn outputs(&self) -> usize {
        stack::outputs(&self.layers)
    }

    /// Refuses weights that do not fit one another.
    pub(crate) fn check_weights(&self) -> Result<()> {
        stack::check_weights(KIND, &self.layers)
    }

    /// The same layers, with copies of their weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Gru<E, To> {
        Gru { layers: self.layers.iter().map(|layer| layer.to_device(device)).collect() }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> Gru<E, D> {
    /// Runs over x, `(B, T, D)`: the outputs of the top layer at every step, `(B, T, H)`, and the
    /// state of each layer after the last step, `(B, H)` each.
    ///
    /// `states` are the states to start from, one a layer; `None` starts from zeros. The tape
    /// travels with the outputs, and gradients flow through the states as well.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when x or a state does not fit the weights, and
    /// [`Error::Setting`](crate::Error::Setting) when there is no series or no step.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T>> {
        stack::run(KIND, &self.layers, x, states, D::gru)
    }

    /// As [`Gru::forward`], but of the outputs only the last, `(B, H)`, which then carries the tape:
    /// sequence to vector.
    ///
    /// # Errors
    /// As [`Gru::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<LastAndStates<E, D, T>> {
        stack::run(KIND, &self.layers, x, states, D::gru_last)
    }

    /// What `dense` makes of the outputs of [`Gru::forward`], `(B, T, outputs)`; on the CPU one operation,
    /// so that the outputs stay in tiles.
    pub(crate) fn forward_dense<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
        dense: &Dense<E, D>,
    ) -> Result<Sequence<E, D, T>> {
        stack::check(KIND, &self.layers, *x.shape(), states)?;
        Ok(D::gru_dense(&self.layers, dense.head(self.outputs())?, x, states))
    }

    /// As [`Gru::forward_dense`], over the same x, `(B, D)`, at every one of `steps` steps.
    pub(crate) fn forward_repeated_dense<T: Tape<E, D>>(
        &self,
        x: State<E, D, T>,
        steps: usize,
        states: Option<&[State<E, D>]>,
        dense: &Dense<E, D>,
    ) -> Result<Sequence<E, D, T>> {
        let (batch, features) = *x.shape();
        stack::check(KIND, &self.layers, (batch, steps, features), states)?;
        Ok(D::gru_repeated_dense(&self.layers, dense.head(self.outputs())?, x, steps, states))
    }
}

impl<E: Dtype, D: Device<E>> Gru<E, D> {
    /// As [`Gru::forward`], in plain dfdx operations: what the fast kernels are tested against.
    ///
    /// # Errors
    /// As [`Gru::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T>> {
        stack::run(KIND, &self.layers, x, states, |layers, x, states| {
            stack::layer_by_layer(layers, x, states, reference::gru)
        })
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Gru<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        stack::parameters(&self.layers)
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        stack::parameters_mut(&mut self.layers)
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Gru<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        stack::display("GRU", &self.layers, f)
    }
}

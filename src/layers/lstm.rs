use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, Storage, Tape};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::stack::{self, Kind, LastAndStates, LayerState, OutputsAndStates, RecurrentWeights};
use super::{Initializer, Parameter, ParameterMut, Parameters};
use super::{RecurrentDevice, reference};
use crate::error::Result;
use crate::{Sequence, State};

/// A stack of long short-term memories (Hochreiter and Schmidhuber, 1997; with the forget gate of
/// Gers et al., 2000): each layer reads the outputs of the one below it.
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
#[derive(Clone, Debug)]
pub struct Lstm<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// The layers, from the input up.
    pub layers: Vec<LstmWeights<E, D>>,
}

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
    fn zeros(batch: usize, hidden: usize, device: &D) -> Self
    where
        D: Device<E>,
    {
        let zeros = || device.zeros_like(&(batch, hidden));
        Self { hidden: zeros(), cell: zeros() }
    }

    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)> {
        vec![("hidden state", &self.hidden), ("cell state", &self.cell)]
    }

    fn output(&self) -> &State<E, D> {
        &self.hidden
    }
}

/// The gates of an LSTM, the candidate included.
const KIND: Kind = Kind { name: "an LSTM", gates: 4 };

impl<D: Device<f32>> Lstm<f32, D> {
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

impl<E: Dtype + From<f32>, D: Device<E>> Lstm<E, D> {
    /// As [`Lstm::new`], for any type of number.
    ///
    /// # Errors
    /// As [`Lstm::new`].
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

impl<E: Dtype, D: Storage<E>> Lstm<E, D> {
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

    /// The same layers, with copies of their weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Lstm<E, To> {
        Lstm { layers: self.layers.iter().map(|layer| layer.to_device(device)).collect() }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> Lstm<E, D> {
    /// Runs over x, `(B, T, D)`: the outputs of the top layer at every step, `(B, T, H)`, and the
    /// state of each layer after the last step, two times `(B, H)` each.
    ///
    /// `states` are the states to start from, one a layer; `None` starts from zeros. The tape
    /// travels with the outputs, and gradients flow through the states, hidden and cell, as well.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when x or a state does not fit the weights, and
    /// [`Error::Setting`](crate::Error::Setting) when there is no series or no step.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[LstmState<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T, LstmState<E, D>>> {
        stack::run(KIND, &self.layers, x, states, D::lstm)
    }

    /// As [`Lstm::forward`], but of the outputs only the last, `(B, H)`, which then carries the tape:
    /// sequence to vector.
    ///
    /// # Errors
    /// As [`Lstm::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[LstmState<E, D>]>,
    ) -> Result<LastAndStates<E, D, T, LstmState<E, D>>> {
        stack::run(KIND, &self.layers, x, states, D::lstm_last)
    }
}

impl<E: Dtype, D: Device<E>> Lstm<E, D> {
    /// As [`Lstm::forward`], in plain dfdx operations: what the fast kernels are tested against.
    ///
    /// # Errors
    /// As [`Lstm::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[LstmState<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T, LstmState<E, D>>> {
        stack::run(KIND, &self.layers, x, states, |layers, x, states| {
            stack::layer_by_layer(layers, x, states, reference::lstm)
        })
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Lstm<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        stack::parameters(&self.layers)
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        stack::parameters_mut(&mut self.layers)
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Lstm<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        stack::display("LSTM", &self.layers, f)
    }
}

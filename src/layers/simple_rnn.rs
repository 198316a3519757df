use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, Storage, Tape};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::stack::{self, Kind, LastAndStates, OutputsAndStates, RecurrentWeights};
use super::{Initializer, Parameter, ParameterMut, Parameters};
use super::{RecurrentDevice, reference};
use crate::error::Result;
use crate::{Sequence, State};

/// A stack of simple recurrent layers (Elman, 1990): each layer reads the outputs of the one below
/// it.
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
#[derive(Clone, Debug)]
pub struct SimpleRnn<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// The layers, from the input up.
    pub layers: Vec<SimpleRnnWeights<E, D>>,
}

/// The weights of one layer of a simple RNN, G = 1.
pub type SimpleRnnWeights<E = f32, D = Cpu> = RecurrentWeights<E, D>;

/// A simple RNN has no gates: all of its rows are the argument of tanh.
const KIND: Kind = Kind { name: "a simple RNN", gates: 1 };

impl<D: Device<f32>> SimpleRnn<f32, D> {
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

impl<E: Dtype + From<f32>, D: Device<E>> SimpleRnn<E, D> {
    /// As [`SimpleRnn::new`], for any type of number.
    ///
    /// # Errors
    /// As [`SimpleRnn::new`].
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

impl<E: Dtype, D: Storage<E>> SimpleRnn<E, D> {
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
    pub fn to_device<To: Device<E>>(&self, device: &To) -> SimpleRnn<E, To> {
        SimpleRnn { layers: self.layers.iter().map(|layer| layer.to_device(device)).collect() }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> SimpleRnn<E, D> {
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
        stack::run(KIND, &self.layers, x, states, D::simple_rnn)
    }

    /// As [`SimpleRnn::forward`], but of the outputs only the last, `(B, H)`, which then carries the tape:
    /// sequence to vector.
    ///
    /// # Errors
    /// As [`SimpleRnn::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<LastAndStates<E, D, T>> {
        stack::run(KIND, &self.layers, x, states, D::simple_rnn_last)
    }
}

impl<E: Dtype, D: Device<E>> SimpleRnn<E, D> {
    /// As [`SimpleRnn::forward`], in plain dfdx operations: what the fast kernels are tested against.
    ///
    /// # Errors
    /// As [`SimpleRnn::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T>> {
        stack::run(KIND, &self.layers, x, states, |layers, x, states| {
            stack::layer_by_layer(layers, x, states, reference::simple_rnn)
        })
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for SimpleRnn<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        stack::parameters(&self.layers)
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        stack::parameters_mut(&mut self.layers)
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for SimpleRnn<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        stack::display("SimpleRNN", &self.layers, f)
    }
}

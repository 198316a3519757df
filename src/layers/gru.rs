use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::initializer::zeros;
use super::{Initializer, Parameter, ParameterMut, Parameters};
use crate::error::{Error, Result, check_size};
use crate::kernels::{RecurrentDevice, reference};
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

/// The weights of one layer; the rows hold the gates r, z, n.
#[derive(Clone, Debug)]
pub struct GruWeights<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// `(3H, D)`, D being the features of the layer's input.
    pub weight_ih: Tensor<(usize, usize), E, D>,
    /// `(3H, H)`
    pub weight_hh: Tensor<(usize, usize), E, D>,
    /// `(3H,)`
    pub bias_ih: Tensor<(usize,), E, D>,
    /// `(3H,)`
    pub bias_hh: Tensor<(usize,), E, D>,
}

/// What a recurrent stack returns: the outputs of its top layer at every step, `(B, T, H)`, and the
/// state of each layer after the last step, `(B, H)`.
pub type OutputsAndStates<E, D, T> = (Sequence<E, D, T>, Vec<State<E, D>>);

/// One layer over time: its weights, its input and its first state, to its outputs and last state.
type LayerOverTime<E, D, T> =
    fn(&GruWeights<E, D>, Sequence<E, D, T>, State<E, D>) -> (Sequence<E, D, T>, State<E, D>);

/// Gates of a GRU.
const GATES: usize = 3;

impl<D: Device<f32>> Gru<f32, D> {
    /// A stack with one layer for each of `hidden_sizes`, from the input up.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no layer or a size is 0.
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
    pub fn of_dtype(
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        if inputs == 0 {
            return Err(Error::setting("inputs", inputs, "at least 1"));
        }
        if hidden_sizes.is_empty() || hidden_sizes.contains(&0) {
            let value = format!("{hidden_sizes:?}");
            return Err(Error::setting("hidden_sizes", value, "one size a layer, each at least 1"));
        }
        let mut layers = Vec::with_capacity(hidden_sizes.len());
        let mut features = inputs;
        for &hidden in hidden_sizes {
            let rows = GATES * hidden;
            layers.push(GruWeights {
                weight_ih: initializer.glorot_uniform(rows, features, device),
                weight_hh: initializer.orthogonal(GATES, hidden, device),
                bias_ih: zeros(rows, device),
                bias_hh: zeros(rows, device),
            });
            features = hidden;
        }
        Ok(Self { layers })
    }
}

impl<E: Dtype, D: Storage<E>> Gru<E, D> {
    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Hidden size of each layer, from the input up.
    pub fn hidden_sizes(&self) -> Vec<usize> {
        self.layers.iter().map(GruWeights::hidden_size).collect()
    }

    /// Hidden size of the top layer: the features that come out.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].hidden_size()
    }
}

impl<E: Dtype, D: Storage<E>> GruWeights<E, D> {
    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        self.weight_ih.shape().1
    }

    /// Units of the layer, H.
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.shape().1
    }

    fn parameters(&self, l: usize) -> [(String, Parameter<'_, E, D>); 4] {
        [
            (format!("weight_ih_l{l}"), Parameter::Matrix(&self.weight_ih)),
            (format!("weight_hh_l{l}"), Parameter::Matrix(&self.weight_hh)),
            (format!("bias_ih_l{l}"), Parameter::Vector(&self.bias_ih)),
            (format!("bias_hh_l{l}"), Parameter::Vector(&self.bias_hh)),
        ]
    }

    fn parameters_mut(&mut self, l: usize) -> [(String, ParameterMut<'_, E, D>); 4] {
        [
            (format!("weight_ih_l{l}"), ParameterMut::Matrix(&mut self.weight_ih)),
            (format!("weight_hh_l{l}"), ParameterMut::Matrix(&mut self.weight_hh)),
            (format!("bias_ih_l{l}"), ParameterMut::Vector(&mut self.bias_ih)),
            (format!("bias_hh_l{l}"), ParameterMut::Vector(&mut self.bias_hh)),
        ]
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
    /// [`Error::Shape`] when x or a state does not fit the weights.
    pub fn forward<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T>> {
        self.run(x, states, D::gru)
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
        self.run(x, states, reference::gru)
    }

    fn run<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[State<E, D>]>,
        over_time: LayerOverTime<E, D, T>,
    ) -> Result<OutputsAndStates<E, D, T>> {
        let (batch, time, features) = *x.shape();
        check_size("the features axis of a GRU's input", self.inputs(), features)?;
        for (name, size) in [("the number of series", batch), ("the number of time steps", time)] {
            if size == 0 {
                return Err(Error::setting(name, size, "at least 1"));
            }
        }
        let states = match states {
            Some(states) => states.to_vec(),
            None => self.zero_states(batch, x.device()),
        };
        check_size("the number of states (one a layer)", self.layers.len(), states.len())?;
        let mut outputs = x;
        let mut last_states = Vec::with_capacity(states.len());
        for (layer, state) in self.layers.iter().zip(states) {
            check_size("the batch axis of a state", batch, state.shape().0)?;
            check_size("the hidden axis of a state", layer.hidden_size(), state.shape().1)?;
            let (layer_outputs, last_state) = over_time(layer, outputs, state);
            outputs = layer_outputs;
            last_states.push(last_state);
        }
        Ok((outputs, last_states))
    }

    /// States of zeros for a batch of B series.
    fn zero_states(&self, batch: usize, device: &D) -> Vec<State<E, D>> {
        self.layers.iter().map(|layer| device.zeros_like(&(batch, layer.hidden_size()))).collect()
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Gru<E, D> {
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(l, layer)| layer.parameters(l)).collect()
    }

    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(|(l, layer)| layer.parameters_mut(l)).collect()
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Gru<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GRU({}", self.inputs())?;
        for layer in &self.layers {
            write!(f, " -> {}", layer.hidden_size())?;
        }
        write!(f, ", {} parameters)", self.parameter_count())
    }
}

//! What the recurrent layers have in common: a stack, in which each layer reads the outputs of the
//! one below it.

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::initializer::zeros;
use super::{Initializer, Parameter, ParameterMut};
use crate::error::{Error, Result, check_size};
use crate::{Sequence, State};

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

/// What tells the stacks of different cells apart.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// What errors call it.
    pub(super) name: &'static str,
    /// Gates of a cell.
    pub(super) gates: usize,
}

/// Features that go into a stack, D.
pub(super) fn inputs<E: Dtype, D: Storage<E>>(layers: &[RecurrentWeights<E, D>]) -> usize {
    layers.first().map_or(0, RecurrentWeights::inputs)
}

/// Features that come out of a stack, the hidden size of its top layer.
pub(super) fn outputs<E: Dtype, D: Storage<E>>(layers: &[RecurrentWeights<E, D>]) -> usize {
    layers.last().map_or(0, RecurrentWeights::hidden_size)
}

/// What a recurrent stack returns: the outputs of its top layer at every step, `(B, T, H)`, and the
/// state of each layer after the last step.
pub type OutputsAndStates<E, D, T, S = State<E, D>> = (Sequence<E, D, T>, Vec<S>);

/// What a recurrent stack returns when only the end is of interest: the output of its top layer at
/// the last step, `(B, H)`, and the state of each layer after it.
pub type LastAndStates<E, D, T, S = State<E, D>> = (State<E, D, T>, Vec<S>);

impl<E: Dtype, D: Storage<E>> RecurrentWeights<E, D> {
    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        self.weight_ih.shape().1
    }

    /// Units of the layer, H.
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.shape().1
    }
}

impl<E: Dtype, D: Storage<E>> RecurrentWeights<E, D> {
    pub(super) fn to_device<To: Device<E>>(&self, device: &To) -> RecurrentWeights<E, To> {
        RecurrentWeights {
            weight_ih: self.weight_ih.to_device(device),
            weight_hh: self.weight_hh.to_device(device),
            bias_ih: self.bias_ih.to_device(device),
            bias_hh: self.bias_hh.to_device(device),
        }
    }
}

/// What one layer remembers of each series of a batch.
pub(crate) trait LayerState<E: Dtype, D: Storage<E>>: Clone {
    /// A state of zeros for B series and H units.
    fn zeros(batch: usize, hidden: usize, device: &D) -> Self
    where
        D: Device<E>;

    /// Its tensors, `(B, H)` each, with the names that errors call them by.
    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)>;

    /// The tensor that is the layer's output.
    fn output(&self) -> &State<E, D>;
}

impl<E: Dtype, D: Storage<E>> LayerState<E, D> for State<E, D> {
    fn zeros(batch: usize, hidden: usize, device: &D) -> Self
    where
        D: Device<E>,
    {
        device.zeros_like(&(batch, hidden))
    }

    fn tensors(&self) -> Vec<(&'static str, &State<E, D>)> {
        vec![("state", self)]
    }

    fn output(&self) -> &State<E, D> {
        self
    }
}

/// The layers of a stack, with their first weights.
pub(super) fn new_layers<E: Dtype + From<f32>, D: Device<E>>(
    kind: Kind,
    inputs: usize,
    hidden_sizes: &[usize],
    initializer: &mut Initializer,
    device: &D,
) -> Result<Vec<RecurrentWeights<E, D>>> {
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
        let rows = kind.gates * hidden;
        layers.push(RecurrentWeights {
            weight_ih: initializer.glorot_uniform(rows, features, device),
            weight_hh: initializer.orthogonal(kind.gates, hidden, device),
            bias_ih: zeros(rows, device),
            bias_hh: zeros(rows, device),
        });
        features = hidden;
    }
    Ok(layers)
}

/// Runs a stack over x, `(B, T, D)`.
pub(super) fn run<E: Dtype, D: Device<E>, T: Tape<E, D>, S: LayerState<E, D>, O>(
    kind: Kind,
    layers: &[RecurrentWeights<E, D>],
    x: Sequence<E, D, T>,
    states: Option<&[S]>,
    over_time: OverTime<E, D, T, S, O>,
) -> Result<(O, Vec<S>)> {
    check(kind, layers, *x.shape(), states)?;
    Ok(over_time(layers, x, states))
}

/// A stack over time: its weights, its input and its first states, to its outputs, all or the last,
/// and last states.
type OverTime<E, D, T, S, O> =
    fn(&[RecurrentWeights<E, D>], Sequence<E, D, T>, Option<&[S]>) -> (O, Vec<S>);

/// Refuses weights that do not fit one another: they are open to whoever brings their own.
pub(super) fn check_weights<E: Dtype, D: Storage<E>>(
    Kind { name, gates }: Kind,
    layers: &[RecurrentWeights<E, D>],
) -> Result<()> {
    if layers.is_empty() {
        return Err(Error::setting("layers", format!("empty in {name}"), "at least one layer"));
    }
    let mut inputs = layers[0].inputs();
    for (l, layer) in layers.iter().enumerate() {
        let rows = gates * layer.hidden_size();
        for (axis, expected, found) in [
            ("rows of weight_hh", rows, layer.weight_hh.shape().0),
            ("rows of weight_ih", rows, layer.weight_ih.shape().0),
            ("columns of weight_ih", inputs, layer.inputs()),
            ("numbers of bias_ih", rows, layer.bias_ih.shape().0),
            ("numbers of bias_hh", rows, layer.bias_hh.shape().0),
        ] {
            check_size(format_args!("the {axis} of layer {l} of {name}"), expected, found)?;
        }
        inputs = layer.hidden_size();
    }
    Ok(())
}

/// Refuses weights that do not fit one another, and an input, `(B, T, D)`, or states that do not fit the
/// weights.
pub(super) fn check<E: Dtype, D: Storage<E>, S: LayerState<E, D>>(
    kind: Kind,
    layers: &[RecurrentWeights<E, D>],
    (batch, time, features): (usize, usize, usize),
    states: Option<&[S]>,
) -> Result<()> {
    check_weights(kind, layers)?;
    let what = format_args!("the features axis of {}'s input", kind.name);
    check_size(what, layers[0].inputs(), features)?;
    for (name, size) in [("the number of series", batch), ("the number of time steps", time)] {
        if size == 0 {
            return Err(Error::setting(name, size, "at least 1"));
        }
    }
    let Some(states) = states else { return Ok(()) };
    check_size("the number of states (one a layer)", layers.len(), states.len())?;
    for (l, (layer, state)) in layers.iter().zip(states).enumerate() {
        for (name, tensor) in state.tensors() {
            let (state_batch, hidden) = *tensor.shape();
            let what = format_args!("the batch axis of the {name} of layer {l}");
            check_size(what, batch, state_batch)?;
            let what = format_args!("the hidden axis of the {name} of layer {l}");
            check_size(what, layer.hidden_size(), hidden)?;
        }
    }
    Ok(())
}

/// One layer over time: its weights, its input and its first state, to its outputs and last state.
type LayerOverTime<E, D, T, S> =
    fn(&RecurrentWeights<E, D>, Sequence<E, D, T>, S) -> (Sequence<E, D, T>, S);

/// A stack over time, put together from its layers.
pub(crate) fn layer_by_layer<E: Dtype, D: Device<E>, T: Tape<E, D>, S: LayerState<E, D>>(
    layers: &[RecurrentWeights<E, D>],
    x: Sequence<E, D, T>,
    states: Option<&[S]>,
    over_time: LayerOverTime<E, D, T, S>,
) -> OutputsAndStates<E, D, T, S> {
    let (batch, ..) = *x.shape();
    let mut outputs = x;
    let mut last_states = Vec::with_capacity(layers.len());
    for (l, layer) in layers.iter().enumerate() {
        let first = match states {
            Some(states) => states[l].clone(),
            None => S::zeros(batch, layer.hidden_size(), outputs.device()),
        };
        let (layer_outputs, last_state) = over_time(layer, outputs, first);
        outputs = layer_outputs;
        last_states.push(last_state);
    }
    (outputs, last_states)
}

/// Of the outputs, only the last: it is the last state of the top layer, and takes over the tape.
pub(crate) fn last<E: Dtype, D: Device<E>, T: Tape<E, D>, S: LayerState<E, D>>(
    (outputs, states): OutputsAndStates<E, D, T, S>,
) -> LastAndStates<E, D, T, S> {
    let (_, tape) = outputs.split_tape();
    let last = states[states.len() - 1].output().clone().put_tape(tape);
    (last, states)
}

/// The weights of all layers, with PyTorch's names.
pub(super) fn parameters<E: Dtype, D: Storage<E>>(
    layers: &[RecurrentWeights<E, D>],
) -> Vec<(String, Parameter<'_, E, D>)> {
    let layers = layers.iter().enumerate();
    let named = layers.flat_map(|(l, layer)| {
        [
            (format!("weight_ih_l{l}"), Parameter::Matrix(&layer.weight_ih)),
            (format!("weight_hh_l{l}"), Parameter::Matrix(&layer.weight_hh)),
            (format!("bias_ih_l{l}"), Parameter::Vector(&layer.bias_ih)),
            (format!("bias_hh_l{l}"), Parameter::Vector(&layer.bias_hh)),
        ]
    });
    named.collect()
}

/// The weights of all layers, to be changed, with PyTorch's names.
pub(super) fn parameters_mut<E: Dtype, D: Storage<E>>(
    layers: &mut [RecurrentWeights<E, D>],
) -> Vec<(String, ParameterMut<'_, E, D>)> {
    let layers = layers.iter_mut().enumerate();
    let named = layers.flat_map(|(l, layer)| {
        [
            (format!("weight_ih_l{l}"), ParameterMut::Matrix(&mut layer.weight_ih)),
            (format!("weight_hh_l{l}"), ParameterMut::Matrix(&mut layer.weight_hh)),
            (format!("bias_ih_l{l}"), ParameterMut::Vector(&mut layer.bias_ih)),
            (format!("bias_hh_l{l}"), ParameterMut::Vector(&mut layer.bias_hh)),
        ]
    });
    named.collect()
}

/// Writes `GRU(2 -> 12 -> 12, 1620 parameters)`.
pub(super) fn display<E: Dtype, D: Storage<E>>(
    name: &str,
    layers: &[RecurrentWeights<E, D>],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{name}({}", inputs(layers))?;
    for layer in layers {
        write!(f, " -> {}", layer.hidden_size())?;
    }
    let count = |(_, parameter): (String, Parameter<'_, E, D>)| -> usize {
        parameter.shape().iter().product()
    };
    let count: usize = parameters(layers).into_iter().map(count).sum();
    write!(f, ", {count} parameters)")
}

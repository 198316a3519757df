use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::Device;
use std::fmt;
use std::marker::PhantomData;

use super::initializer::zeros;
use super::request::{Input, Request, Run, Wanted};
use super::{
    Dense, Initializer, LayerState, Parameter, ParameterMut, Parameters, RecurrentCell,
    RecurrentDevice, RecurrentWeights, reference,
};
use crate::error::{Error, Result, check_size, check_sizes};
use crate::{Sequence, State};

/// A stack of recurrent layers, in which each layer reads the outputs of the one below it. C is the kind
/// of cell: [`Gru`](super::Gru), [`Lstm`](super::Lstm) and [`SimpleRnn`](super::SimpleRnn) are stacks, and
/// their docs have the formulas. Printed, it is `GRU(2 -> 12 -> 12, 1620 parameters)`.
#[derive(Clone, Debug)]
pub struct Stack<C, E: Dtype = f32, D: Storage<E> = Cpu> {
    /// The layers, from the input up.
    pub layers: Vec<RecurrentWeights<E, D>>,
    cell: PhantomData<C>,
}

/// What a recurrent stack returns: the outputs of its top layer at every step, `(B, T, H)`, and the
/// state of each layer after the last step.
pub type OutputsAndStates<E, D, T, S = State<E, D>> = (Sequence<E, D, T>, Vec<S>);

/// What a recurrent stack returns when only the end is of interest: the output of its top layer at
/// the last step, `(B, H)`, and the state of each layer after it.
pub type LastAndStates<E, D, T, S = State<E, D>> = (State<E, D, T>, Vec<S>);

impl<C: RecurrentCell, D: Device<f32>> Stack<C, f32, D> {
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

impl<C: RecurrentCell, E: Dtype + From<f32>, D: Device<E>> Stack<C, E, D> {
    /// As [`Stack::new`], for any type of number.
    ///
    /// # Errors
    /// As [`Stack::new`].
    #[inline(never)]
    pub fn of_dtype(
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        check_sizes([("inputs", inputs)])?;
        if hidden_sizes.is_empty() || hidden_sizes.contains(&0) {
            let value = format!("{hidden_sizes:?}");
            return Err(Error::setting("hidden_sizes", value, "one size a layer, each at least 1"));
        }
        let mut features = inputs;
        let layer = |&hidden: &usize| {
            let rows = C::KIND.gates() * hidden;
            let layer = RecurrentWeights {
                weight_ih: initializer.glorot_uniform(rows, features, device),
                weight_hh: initializer.orthogonal(C::KIND.gates(), hidden, device),
                bias_ih: zeros(rows, device),
                bias_hh: zeros(rows, device),
            };
            features = hidden;
            layer
        };
        Ok(Self::from_layers(hidden_sizes.iter().map(layer).collect()))
    }
}

impl<C, E: Dtype, D: Storage<E>> Stack<C, E, D> {
    /// A stack of weights of one's own, from the input up. Whether they fit one another is checked when it
    /// runs.
    pub fn from_layers(layers: Vec<RecurrentWeights<E, D>>) -> Self {
        Self { layers, cell: PhantomData }
    }

    /// Features that go in, D.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, RecurrentWeights::inputs)
    }

    /// Hidden size of each layer, from the input up.
    pub fn hidden_sizes(&self) -> Vec<usize> {
        self.layers.iter().map(RecurrentWeights::hidden_size).collect()
    }

    /// Hidden size of the top layer: the features that come out.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, RecurrentWeights::hidden_size)
    }

    /// The same layers, with copies of their weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Stack<C, E, To> {
        Stack::from_layers(self.layers.iter().map(|layer| layer.to_device(device)).collect())
    }
}

#[allow(clippy::type_complexity)] // pairs of named types
impl<C: RecurrentCell, E: Dtype, D: RecurrentDevice<E>> Stack<C, E, D> {
    /// Runs over x, `(B, T, D)`: the outputs of the top layer at every step, `(B, T, H)`, and the
    /// state of each layer after the last step, `(B, H)`, in an LSTM two of them.
    ///
    /// `states` are the states to start from, one a layer; `None` starts from zeros. The tape
    /// travels with the outputs, and gradients flow through the states as well.
    ///
    /// # Errors
    /// [`Error::Shape`] when x or a state does not fit the weights, and [`Error::Setting`] when there is
    /// no series or no step.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[C::State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T, C::State<E, D>>> {
        let (x, tape) = x.split_tape();
        self.outputs_of(Input::Sequence(x), states, Wanted::EveryStep, tape, D::run)
    }

    /// As [`Stack::forward`], but of the outputs only the last, `(B, H)`, which then carries the tape:
    /// sequence to vector.
    ///
    /// # Errors
    /// As [`Stack::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[C::State<E, D>]>,
    ) -> Result<LastAndStates<E, D, T, C::State<E, D>>> {
        let (x, mut tape) = x.split_tape();
        let request = self.request(Input::Sequence(x), states, Wanted::States)?;
        let response = D::run(request, &mut tape);
        Ok((response.last().put_tape(tape), response.states))
    }
}

#[allow(clippy::type_complexity)] // pairs of named types
impl<C: RecurrentCell, E: Dtype, D: Device<E>> Stack<C, E, D> {
    /// As [`Stack::forward`], in plain dfdx operations: what the fast kernels are tested against.
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<&[C::State<E, D>]>,
    ) -> Result<OutputsAndStates<E, D, T, C::State<E, D>>> {
        let (x, tape) = x.split_tape();
        self.outputs_of(Input::Sequence(x), states, Wanted::EveryStep, tape, reference::run)
    }

    /// What `dense` makes of the outputs over x, `(B, T, O)`, as `run` computes it; [`RecurrentDevice::run`]
    /// does so in one operation on the CPU.
    pub(crate) fn forward_dense<T: Tape<E, D>>(
        &self,
        x: Input<E, D>,
        states: Option<&[C::State<E, D>]>,
        dense: &Dense<E, D>,
        tape: T,
        run: Run<C, E, D, T>,
    ) -> Result<Sequence<E, D, T>> {
        self.check_weights()?;
        let wanted = Wanted::Dense(dense.head(self.outputs())?);
        Ok(self.outputs_of(x, states, wanted, tape, run)?.0)
    }

    /// The outputs that are `wanted`, with the tape, and the last states, as `run` computes them.
    fn outputs_of<T: Tape<E, D>>(
        &self,
        x: Input<E, D>,
        states: Option<&[C::State<E, D>]>,
        wanted: Wanted<'_, E, D>,
        mut tape: T,
        run: Run<C, E, D, T>,
    ) -> Result<OutputsAndStates<E, D, T, C::State<E, D>>> {
        let mut response = run(self.request(x, states, wanted)?, &mut tape);
        Ok((response.outputs().put_tape(tape), response.states))
    }
}

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> Stack<C, E, D> {
    /// Refuses weights that do not fit one another: they are open to whoever brings their own.
    #[inline(never)]
    pub(crate) fn check_weights(&self) -> Result<()> {
        let name = C::A_NAME;
        if self.layers.is_empty() {
            return Err(Error::setting("layers", format!("empty in {name}"), "at least one layer"));
        }
        let sizes = [vec![self.inputs()], self.hidden_sizes()].concat();
        if sizes.contains(&0) {
            let value = format!("{sizes:?} in {name}, the inputs first");
            return Err(Error::setting("the sizes", value, "at least 1 each"));
        }
        let mut inputs = self.inputs();
        for (l, layer) in self.layers.iter().enumerate() {
            let rows = C::KIND.gates() * layer.hidden_size();
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

    /// Refuses weights that do not fit one another, and an input or states that do not fit the weights.
    #[inline(never)]
    fn request<'a>(
        &'a self,
        x: Input<E, D>,
        states: Option<&'a [C::State<E, D>]>,
        wanted: Wanted<'a, E, D>,
    ) -> Result<Request<'a, C, E, D>> {
        self.check_weights()?;
        let (batch, time, features) = x.sizes();
        let what = format_args!("the features axis of {}'s input", C::A_NAME);
        check_size(what, self.inputs(), features)?;
        check_sizes([("the number of series", batch), ("the number of time steps", time)])?;
        if let Some(states) = states {
            let what = "the number of states (one a layer)";
            check_size(what, self.layers.len(), states.len())?;
        }
        for (l, (layer, state)) in self.layers.iter().zip(states.unwrap_or_default()).enumerate() {
            for (name, tensor) in state.tensors() {
                let (state_batch, hidden) = *tensor.shape();
                let what = format_args!("the batch axis of the {name} of layer {l}");
                check_size(what, batch, state_batch)?;
                let what = format_args!("the hidden axis of the {name} of layer {l}");
                check_size(what, layer.hidden_size(), hidden)?;
            }
        }
        Ok(Request { layers: &self.layers, x, states, wanted })
    }
}

impl<C, E: Dtype, D: Storage<E>> Parameters<E, D> for Stack<C, E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        let layers = self.layers.iter().map(RecurrentWeights::parameters);
        layers.enumerate().flat_map(numbered).collect()
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        let layers = self.layers.iter_mut().map(RecurrentWeights::parameters_mut);
        layers.enumerate().flat_map(numbered).collect()
    }
}

/// The weights of layer `l` with their names in a stack: `weight_ih_l0`.
fn numbered<P>((l, weights): (usize, [(&str, P); 4])) -> [(String, P); 4] {
    weights.map(|(name, weight)| (format!("{name}_l{l}"), weight))
}

impl<C: RecurrentCell, E: Dtype, D: Storage<E>> fmt::Display for Stack<C, E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}", C::NAME, self.inputs())?;
        for layer in &self.layers {
            write!(f, " -> {}", layer.hidden_size())?;
        }
        write!(f, ", {} parameters)", self.parameter_count())
    }
}

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::{Device, ReshapeTo};
use std::fmt;

use super::initializer::zeros;
use super::request::{Head, Input, Request, Run, Wanted};
use super::{
    GruCell, Initializer, Parameter, ParameterMut, Parameters, RecurrentDevice, reference,
};
use crate::error::{Error, Result, check_size, check_sizes};
use crate::{Sequence, State};

/// The same linear map at every step: y = x · Wᵀ + b (PyTorch's `nn.Linear`, Keras' `Dense`).
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let dense = Dense::new(12, 2, &mut Initializer::new(42), &dev)?;
/// let x: Sequence = dev.zeros_like(&(5, 10, 12));
/// assert_eq!(dense.forward(x)?.shape(), &(5, 10, 2));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dense<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// `(outputs, inputs)`
    pub weight: Tensor<(usize, usize), E, D>,
    /// `(outputs,)`
    pub bias: Tensor<(usize,), E, D>,
}

impl<D: Device<f32>> Dense<f32, D> {
    /// Glorot-uniform weights and a zero bias.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is 0.
    pub fn new(
        inputs: usize,
        outputs: usize,
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        Self::of_dtype(inputs, outputs, initializer, device)
    }
}

impl<E: Dtype + From<f32>, D: Device<E>> Dense<E, D> {
    /// As [`Dense::new`], for any type of number.
    ///
    /// # Errors
    /// As [`Dense::new`].
    #[inline(never)]
    pub fn of_dtype(
        inputs: usize,
        outputs: usize,
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        check_sizes([("inputs", inputs), ("outputs", outputs)])?;
        Ok(Self {
            weight: initializer.glorot_uniform(outputs, inputs, device),
            bias: zeros(outputs, device),
        })
    }
}

impl<E: Dtype, D: Storage<E>> Dense<E, D> {
    /// Features that go in.
    pub fn inputs(&self) -> usize {
        self.weight.shape().1
    }

    /// Features that come out.
    pub fn outputs(&self) -> usize {
        self.weight.shape().0
    }

    /// The same layer, with copies of its weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Dense<E, To> {
        Dense { weight: self.weight.to_device(device), bias: self.bias.to_device(device) }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> Dense<E, D> {
    /// `(B, T, inputs)` to `(B, T, outputs)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when x has another number of features.
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(&self, x: Sequence<E, D, T>) -> Result<Sequence<E, D, T>> {
        self.outputs_of(x, D::run)
    }

    /// One step: `(B, inputs)` to `(B, outputs)`.
    ///
    /// # Errors
    /// As [`Dense::forward`].
    #[inline(never)]
    pub fn forward_step<T: Tape<E, D>>(&self, x: State<E, D, T>) -> Result<State<E, D, T>> {
        let (batch, features) = *x.shape();
        let y = self.forward(x.reshape_like(&(batch, 1, features)))?;
        Ok(y.reshape_like(&(batch, self.outputs())))
    }
}

impl<E: Dtype, D: Device<E>> Dense<E, D> {
    /// As [`Dense::forward`], in plain dfdx operations: what the fast kernel is tested against.
    ///
    /// # Errors
    /// As [`Dense::forward`].
    pub fn forward_reference<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
    ) -> Result<Sequence<E, D, T>> {
        self.outputs_of(x, reference::run)
    }

    /// Runs this layer as the head of a stack without recurrent layers; the type of the cell is arbitrary.
    fn outputs_of<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        run: Run<GruCell, E, D, T>,
    ) -> Result<Sequence<E, D, T>> {
        let wanted = Wanted::Dense(self.head(x.shape().2)?);
        let (x, mut tape) = x.split_tape();
        let request = Request { layers: &[], x: Input::Sequence(x), states: None, wanted };
        Ok(run(request, &mut tape).outputs().put_tape(tape))
    }

    /// The weights, for an input of so many features.
    pub(super) fn head(&self, features: usize) -> Result<Head<'_, E, D>> {
        self.check_weights()?;
        check_size("the features axis of a dense layer's input", self.inputs(), features)?;
        Ok((&self.weight, &self.bias))
    }
}

impl<E: Dtype, D: Storage<E>> Dense<E, D> {
    /// Refuses weights that do not fit one another: they are open to whoever brings their own.
    pub(crate) fn check_weights(&self) -> Result<()> {
        let (bias, sizes) = (self.bias.shape().0, [self.inputs(), self.outputs()]);
        if sizes.contains(&0) {
            let value = format!("{sizes:?} in a dense layer, inputs and outputs");
            return Err(Error::setting("the sizes", value, "at least 1 each"));
        }
        check_size("the numbers of a dense layer's bias", self.outputs(), bias)
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Dense<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        vec![
            ("weight".into(), Parameter::Matrix(&self.weight)),
            ("bias".into(), Parameter::Vector(&self.bias)),
        ]
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        vec![
            ("weight".into(), ParameterMut::Matrix(&mut self.weight)),
            ("bias".into(), ParameterMut::Vector(&mut self.bias)),
        ]
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Dense<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        write!(f, "Dense({inputs} -> {outputs}, {} parameters)", self.parameter_count())
    }
}

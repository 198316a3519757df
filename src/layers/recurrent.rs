use dfdx::tensor::{Cpu, Storage, Tape};
use dfdx::tensor_ops::Device;
use std::fmt;

use super::RecurrentDevice;
use super::{Cell, Gru, Initializer, Lstm, Parameter, ParameterMut, Parameters, SimpleRnn};
use crate::error::Result;
use crate::{Sequence, State};

/// A recurrent stack whose kind of cell is chosen when it is made, to compare them in a loop. It
/// starts from states of zeros and keeps its last states to itself; the layers themselves take states
/// and return them.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// for cell in [Cell::SimpleRnn, Cell::Lstm, Cell::Gru] {
///     let stack = Recurrent::new(cell, 1, &[20, 20], &mut Initializer::new(42), &dev)?;
///     let past: Sequence = dev.zeros_like(&(5, 50, 1));
///     assert_eq!(stack.forward(past.clone())?.shape(), &(5, 50, 20)); // at every step
///     assert_eq!(stack.forward_last(past)?.shape(), &(5, 20)); // after the last
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Recurrent<D: Storage<f32> = Cpu> {
    /// Of simple cells.
    SimpleRnn(SimpleRnn<f32, D>),
    /// Of cells with three gates.
    Lstm(Lstm<f32, D>),
    /// Of cells with two gates.
    Gru(Gru<f32, D>),
}

impl<D: Device<f32>> Recurrent<D> {
    /// A stack with one layer for each of `hidden_sizes`, from the input up.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when there is no layer or a size is 0.
    #[inline(never)]
    pub fn new(
        cell: Cell,
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        Ok(match cell {
            Cell::SimpleRnn => {
                Self::SimpleRnn(SimpleRnn::new(inputs, hidden_sizes, initializer, device)?)
            }
            Cell::Lstm => Self::Lstm(Lstm::new(inputs, hidden_sizes, initializer, device)?),
            Cell::Gru => Self::Gru(Gru::new(inputs, hidden_sizes, initializer, device)?),
        })
    }

    /// The same stack, with copies of its weights on another device.
    pub fn to_device<To: Device<f32>>(&self, device: &To) -> Recurrent<To> {
        match self {
            Self::SimpleRnn(stack) => Recurrent::SimpleRnn(stack.to_device(device)),
            Self::Lstm(stack) => Recurrent::Lstm(stack.to_device(device)),
            Self::Gru(stack) => Recurrent::Gru(stack.to_device(device)),
        }
    }
}

/// Calls the stack, whichever it is.
macro_rules! call {
    ($self: expr, $stack: ident => $result: expr) => {
        match $self {
            Recurrent::SimpleRnn($stack) => $result,
            Recurrent::Lstm($stack) => $result,
            Recurrent::Gru($stack) => $result,
        }
    };
}

impl<D: RecurrentDevice<f32>> Recurrent<D> {
    /// Runs over x, `(B, T, D)`: the outputs of the top layer at every step, `(B, T, H)`.
    ///
    /// # Errors
    /// As [`Gru::forward`](super::Stack::forward).
    #[inline(never)]
    pub fn forward<T: Tape<f32, D>>(&self, x: Sequence<f32, D, T>) -> Result<Sequence<f32, D, T>> {
        call!(self, stack => Ok(stack.forward(x, None)?.0))
    }

    /// Runs over x, `(B, T, D)`: the last output of the top layer, `(B, H)`.
    ///
    /// # Errors
    /// As [`Recurrent::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<f32, D>>(
        &self,
        x: Sequence<f32, D, T>,
    ) -> Result<State<f32, D, T>> {
        call!(self, stack => Ok(stack.forward_last(x, None)?.0))
    }
}

impl<D: Storage<f32>> Parameters<f32, D> for Recurrent<D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, f32, D>)> {
        call!(self, stack => stack.parameters())
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, f32, D>)> {
        call!(self, stack => stack.parameters_mut())
    }
}

impl<D: Storage<f32>> fmt::Display for Recurrent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        call!(self, stack => stack.fmt(f))
    }
}

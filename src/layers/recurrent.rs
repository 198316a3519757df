use dfdx::tensor::{Cpu, Tape};
use std::fmt;

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
pub enum Recurrent {
    /// Of simple cells.
    SimpleRnn(SimpleRnn),
    /// Of cells with three gates.
    Lstm(Lstm),
    /// Of cells with two gates.
    Gru(Gru),
}

impl Recurrent {
    /// A stack with one layer for each of `hidden_sizes`, from the input up.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when there is no layer or a size is 0.
    pub fn new(
        cell: Cell,
        inputs: usize,
        hidden_sizes: &[usize],
        initializer: &mut Initializer,
        device: &Cpu,
    ) -> Result<Self> {
        Ok(match cell {
            Cell::SimpleRnn => {
                Self::SimpleRnn(SimpleRnn::new(inputs, hidden_sizes, initializer, device)?)
            }
            Cell::Lstm => Self::Lstm(Lstm::new(inputs, hidden_sizes, initializer, device)?),
            Cell::Gru => Self::Gru(Gru::new(inputs, hidden_sizes, initializer, device)?),
        })
    }

    /// Runs over x, `(B, T, D)`: the outputs of the top layer at every step, `(B, T, H)`.
    ///
    /// # Errors
    /// As [`Gru::forward`].
    #[inline(never)]
    pub fn forward<T: Tape<f32, Cpu>>(
        &self,
        x: Sequence<f32, Cpu, T>,
    ) -> Result<Sequence<f32, Cpu, T>> {
        Ok(match self {
            Self::SimpleRnn(stack) => stack.forward(x, None)?.0,
            Self::Lstm(stack) => stack.forward(x, None)?.0,
            Self::Gru(stack) => stack.forward(x, None)?.0,
        })
    }

    /// Runs over x, `(B, T, D)`: the last output of the top layer, `(B, H)`.
    ///
    /// # Errors
    /// As [`Gru::forward`].
    #[inline(never)]
    pub fn forward_last<T: Tape<f32, Cpu>>(
        &self,
        x: Sequence<f32, Cpu, T>,
    ) -> Result<State<f32, Cpu, T>> {
        Ok(match self {
            Self::SimpleRnn(stack) => stack.forward_last(x, None)?.0,
            Self::Lstm(stack) => stack.forward_last(x, None)?.0,
            Self::Gru(stack) => stack.forward_last(x, None)?.0,
        })
    }
}

impl Parameters<f32, Cpu> for Recurrent {
    fn parameters(&self) -> Vec<(String, Parameter<'_, f32, Cpu>)> {
        match self {
            Self::SimpleRnn(stack) => stack.parameters(),
            Self::Lstm(stack) => stack.parameters(),
            Self::Gru(stack) => stack.parameters(),
        }
    }

    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, f32, Cpu>)> {
        match self {
            Self::SimpleRnn(stack) => stack.parameters_mut(),
            Self::Lstm(stack) => stack.parameters_mut(),
            Self::Gru(stack) => stack.parameters_mut(),
        }
    }
}

impl fmt::Display for Recurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SimpleRnn(stack) => stack.fmt(f),
            Self::Lstm(stack) => stack.fmt(f),
            Self::Gru(stack) => stack.fmt(f),
        }
    }
}

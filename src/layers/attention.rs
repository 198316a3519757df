use dfdx::shapes::{Axes3, Axis, Dtype, HasShape};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::{Device, PermuteTo, TryMatMul};
use std::fmt;

use super::{Dense, Initializer, Parameter, ParameterMut, Parameters, prefixed};
use crate::Sequence;
use crate::error::{Result, check_size, check_sizes};
use crate::layers::RecurrentDevice;

/// Lets each step of the decoder look back at all outputs of the encoder, and not only at its last
/// state (Luong, Pham and Manning, 2015, with the score that they call *general*).
///
/// For a query q, an output of the decoder, and the memory m(1) … m(P), the outputs of the encoder,
///
/// ```text
/// score(s)  = q · W m(s)                      how well step s of the past fits
/// weight(s) = exp score(s) / Σ exp score      softmax: the weights of one query add up to one
/// context   = Σ weight(s) m(s)
/// output    = tanh(W_c context + W_q q + b)
/// ```
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let attention = Attention::new(12, 8, &mut Initializer::new(42), &dev)?;
/// let (queries, memory): (Sequence, Sequence) =
///     (dev.ones_like(&(5, 15, 12)), dev.ones_like(&(5, 10, 8)));
/// let (outputs, weights) = attention.forward(queries, &memory)?;
/// assert_eq!(outputs.shape(), &(5, 15, 12));
/// assert_eq!(weights.shape(), &(5, 15, 10)); // for each step of the future, one a past step
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Attention<E: Dtype = f32, D: Storage<E> = Cpu> {
    /// W, `(queries, memory)`
    pub weight: Tensor<(usize, usize), E, D>,
    /// W_c, without a bias of its own: `(queries, memory)`
    pub context: Tensor<(usize, usize), E, D>,
    /// W_q and b: `queries` to `queries`
    pub query: Dense<E, D>,
}

impl<D: Device<f32>> Attention<f32, D> {
    /// For queries of so many features and a memory of so many; Glorot-uniform weights and a zero
    /// bias.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when a size is 0.
    pub fn new(
        queries: usize,
        memory: usize,
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        Self::of_dtype(queries, memory, initializer, device)
    }
}

impl<E: Dtype + From<f32>, D: Device<E>> Attention<E, D> {
    /// As [`Attention::new`], for any type of number.
    ///
    /// # Errors
    /// As [`Attention::new`].
    #[inline(never)]
    pub fn of_dtype(
        queries: usize,
        memory: usize,
        initializer: &mut Initializer,
        device: &D,
    ) -> Result<Self> {
        check_sizes([("queries", queries), ("memory", memory)])?;
        Ok(Self {
            weight: initializer.glorot_uniform(queries, memory, device),
            context: initializer.glorot_uniform(queries, memory, device),
            query: Dense::of_dtype(queries, queries, initializer, device)?,
        })
    }
}

impl<E: Dtype, D: Storage<E>> Attention<E, D> {
    /// The same layer, with copies of its weights on another device.
    pub fn to_device<To: Device<E>>(&self, device: &To) -> Attention<E, To> {
        Attention {
            weight: self.weight.to_device(device),
            context: self.context.to_device(device),
            query: self.query.to_device(device),
        }
    }
}

impl<E: Dtype, D: RecurrentDevice<E>> Attention<E, D> {
    /// The outputs for `queries`, `(B, F, queries)`, and the weights that they gave to each step of
    /// `memory`, `(B, P, memory)`: `(B, F, P)`. Gradients flow to the memory as well.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when queries or memory do not fit the weights or each other.
    #[allow(clippy::type_complexity)] // a pair of named types
    #[inline(never)]
    pub fn forward<T: Tape<E, D>>(
        &self,
        queries: Sequence<E, D, T>,
        memory: &Sequence<E, D>,
    ) -> Result<(Sequence<E, D, T>, Sequence<E, D>)> {
        let (batch, _, features) = *queries.shape();
        let (memory_batch, _, memory_features) = *memory.shape();
        let (rows, columns) = *self.weight.shape();
        check_size("the features axis of the queries", rows, features)?;
        check_size("the features axis of the memory", columns, memory_features)?;
        check_size("the batch axis of the memory", batch, memory_batch)?;
        let context = self.context.shape();
        check_size("the rows of an attention's context weight", rows, context.0)?;
        check_size("the columns of an attention's context weight", columns, context.1)?;

        let memory_by_feature = memory.retaped::<T>().permute::<_, Axes3<0, 2, 1>>(); // (B, ., P)
        let scores =
            queries.retaped::<T>().matmul(self.weight.retaped::<T>()).matmul(memory_by_feature);
        let (weights, tape) = scores.softmax::<Axis<2>>().split_tape();
        let context = weights.clone().put_tape(tape).matmul(memory.retaped::<T>());
        let context = context.matmul(self.context.retaped::<T>().permute());
        Ok(((context + self.query.forward(queries)?).tanh(), weights))
    }
}

impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Attention<E, D> {
    #[inline(never)]
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        let own = [
            ("weight".into(), Parameter::Matrix(&self.weight)),
            ("context.weight".into(), Parameter::Matrix(&self.context)),
        ];
        own.into_iter().chain(prefixed("query", self.query.parameters())).collect()
    }

    #[inline(never)]
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        let own = [
            ("weight".into(), ParameterMut::Matrix(&mut self.weight)),
            ("context.weight".into(), ParameterMut::Matrix(&mut self.context)),
        ];
        own.into_iter().chain(prefixed("query", self.query.parameters_mut())).collect()
    }
}

impl<E: Dtype, D: Storage<E>> fmt::Display for Attention<E, D> {
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queries, memory) = *self.weight.shape();
        let count = self.parameter_count();
        write!(f, "Attention({queries} over {memory}, {count} parameters)")
    }
}

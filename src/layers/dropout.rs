use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;
use rand::Rng;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Parameter, ParameterMut, Parameters};
use crate::error::{Error, Result};
use crate::random::{Stream, stream};

/// Dropout: while a network trains, each number is set to 0 with probability p, and the others are
/// multiplied by 1 / (1 − p). When it predicts, all pass as they are.
/// Source: N. Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*,
/// JMLR 15, 2014, with the scaling at training time.
///
/// A tensor with a tape is taken for training. [`fit_on_tape`](crate::train::fit_on_tape) and
/// [`predict_with`](crate::train::predict_with) also call the network to measure errors and to predict:
/// nothing is dropped then. dfdx's own `dropout` does not know the difference, and draws from the device
/// instead of a seed.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dropout = Dropout::new(0.5, 42)?;
/// let dev = Cpu::default();
/// let x: Sequence = dev.ones_like(&(1, 100, 1));
/// assert_eq!(dropout.forward(x.clone()).as_vec(), x.as_vec());
/// let trained = dropout.forward(x.leaky_traced()).as_vec();
/// assert!(trained.contains(&0.0) && trained.contains(&2.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Dropout {
    rate: f64,
    seed: u64,
    /// Each call draws anew.
    calls: AtomicU64,
}

impl Dropout {
    /// A layer that drops with probability `rate`; `seed` draws what.
    ///
    /// # Errors
    /// [`Error::Setting`] when `rate` is not at least 0 and below 1.
    pub fn new(rate: f64, seed: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::setting("dropout", rate, "at least 0 and below 1"));
        }
        Ok(Self { rate, seed, calls: AtomicU64::new(0) })
    }

    /// The probability that a number is dropped.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The same tensor, less what is dropped while training. Two layers with the same seed that are called
    /// equally often drop the same.
    #[inline(never)]
    pub fn forward<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
        &self,
        x: Tensor<S, E, D, T>,
    ) -> Tensor<S, E, D, T> {
        if !T::OWNS_TAPE || self.rate == 0.0 || evaluating() {
            return x;
        }
        let kept = E::from_f64(1.0 / (1.0 - self.rate)).unwrap_or(E::ONE);
        let mask = self.draw(x.shape().num_elements());
        let mask = mask.into_iter().map(|keep| if keep { kept } else { E::default() }).collect();
        let mask = x.device().tensor_from_vec(mask, *x.shape());
        x * mask
    }

    /// Which of so many numbers are kept.
    fn draw(&self, count: usize) -> Vec<bool> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut generator = stream(self.seed, Stream::Dropout { call });
        (0..count).map(|_| !generator.random_bool(self.rate)).collect()
    }
}

impl Clone for Dropout {
    /// A layer that goes on dropping what this one would have dropped.
    fn clone(&self) -> Self {
        let calls = AtomicU64::new(self.calls.load(Ordering::Relaxed));
        Self { calls, ..*self }
    }
}

/// Nothing to train.
impl<E: Dtype, D: Storage<E>> Parameters<E, D> for Dropout {
    fn parameters(&self) -> Vec<(String, Parameter<'_, E, D>)> {
        Vec::new()
    }

    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, E, D>)> {
        Vec::new()
    }
}

impl fmt::Display for Dropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dropout({})", self.rate)
    }
}

thread_local! {
    /// How many evaluations are under way on this thread.
    static EVALUATIONS: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, networks that this thread calls are evaluated and not trained, whether they are given
/// a tape or not: nothing is dropped.
#[must_use]
pub(crate) struct Evaluation(PhantomData<*const ()>); // it counts for its thread

impl Evaluation {
    #[inline(never)]
    pub(crate) fn begin() -> Self {
        EVALUATIONS.set(EVALUATIONS.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Evaluation {
    #[inline(never)]
    fn drop(&mut self) {
        EVALUATIONS.set(EVALUATIONS.get() - 1);
    }
}

#[inline(never)]
fn evaluating() -> bool {
    EVALUATIONS.get() > 0
}

use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, Gradients};

use crate::error::Result;
use crate::kernels::cpu::optimizer::clip_factor;
use crate::layers::{Parameter, Parameters};

/// Scales all gradients of `model` down together, so that their common length ‖g‖ = √(Σ g²) is at
/// most `max_norm`; returns the length that they had.
///
/// The direction stays. A single batch with a huge error then costs no more than a step, where it
/// could have thrown the weights away. For a training loop of one's own;
/// [`Hyperparameters::clip_norm`](crate::train::Hyperparameters::clip_norm) is the same for
/// [`fit`](crate::train::fit). The factor is that of
/// [`clip_factor`](crate::kernels::cpu::optimizer::clip_factor).
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut dense = Dense::new(3, 1, &mut Initializer::new(42), &dev)?;
/// let x: Sequence = dev.ones_like(&(4, 5, 3));
/// let loss = (dense.forward(x.leaky_traced())? * 100.0).square().mean();
/// let mut gradients = loss.backward();
/// let before = clip_gradients(&dense, &mut gradients, 1.0)?;
/// let after = clip_gradients(&dense, &mut gradients, 1.0)?;
/// assert!(before > 1.0 && after <= 1.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Tensor`](crate::Error::Tensor) when a gradient can not be allocated.
pub fn clip_gradients<E: Dtype>(
    model: &impl Parameters<E, Cpu>,
    gradients: &mut Gradients<E, Cpu>,
    max_norm: f64,
) -> Result<f64> {
    let mut squares = 0.0;
    for_each(model, gradients, |gradient| {
        squares += gradient.iter().map(|&value| wide(value).powi(2)).sum::<f64>();
    })?;
    let norm = squares.sqrt();
    let factor = clip_factor(norm, max_norm);
    if factor < 1.0 {
        for_each(model, gradients, |gradient| {
            for value in gradient {
                *value = E::from_f64(wide(*value) * factor).unwrap_or_default();
            }
        })?;
    }
    Ok(norm)
}

pub(super) fn wide<E: Dtype>(value: E) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// Calls `each` with the gradient of every weight of `model`.
fn for_each<E: Dtype>(
    model: &impl Parameters<E, Cpu>,
    gradients: &mut Gradients<E, Cpu>,
    mut each: impl FnMut(&mut [E]),
) -> Result<()> {
    for (_, parameter) in model.parameters() {
        each(match parameter {
            Parameter::Vector(weight) => gradients.get_or_alloc_mut(weight)?,
            Parameter::Matrix(weight) => gradients.get_or_alloc_mut(weight)?,
        });
    }
    Ok(())
}

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor, Trace};
use dfdx::tensor_ops::{Backward, Device, SumTo, TryMul};
use std::mem;

use crate::error::{Error, Result};
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
pub fn clip_gradients<E: Dtype, D: Device<E>>(
    model: &impl Parameters<E, D>,
    gradients: &mut Gradients<E, D>,
    max_norm: f64,
) -> Result<f64> {
    let mut squares = 0.0;
    for (_, parameter) in model.parameters() {
        let values = gradient_of(&parameter, gradients)?;
        squares += values.iter().map(|&value| wide(value).powi(2)).sum::<f64>();
    }
    let norm = squares.sqrt();
    let factor = clip_factor(norm, max_norm);
    if factor < 1.0 {
        for (_, parameter) in model.parameters() {
            let scaled = |value: E| E::from_f64(wide(value) * factor).unwrap_or_default();
            let values = gradient_of(&parameter, gradients)?.into_iter().map(scaled).collect();
            match parameter {
                Parameter::Vector(weight) => replace(gradients, weight, values),
                Parameter::Matrix(weight) => replace(gradients, weight, values),
            }
            .map_err(|e| Error::Tensor(format!("{e:?}")))?;
        }
    }
    Ok(norm)
}

pub(super) fn wide<E: Dtype>(value: E) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// The gradient of a weight, row by row; zeros where nothing has reached it.
pub(super) fn gradient_of<E: Dtype, D: Device<E>>(
    parameter: &Parameter<'_, E, D>,
    gradients: &mut Gradients<E, D>,
) -> Result<Vec<E>> {
    match parameter {
        Parameter::Vector(weight) => gradients
            .try_alloc_for(*weight)
            .map(|()| Parameter::Vector(&gradients.get(*weight)).to_vec()),
        Parameter::Matrix(weight) => gradients
            .try_alloc_for(*weight)
            .map(|()| Parameter::Matrix(&gradients.get(*weight)).to_vec()),
    }
    .map_err(|e| Error::Tensor(format!("{e:?}")))
}

/// Replaces a gradient. What a device keeps it in is dfdx's own, so this goes through the tape: the
/// gradient of Σ w g by w is g, and it is added to a gradient of zeros.
fn replace<S: Shape, E: Dtype, D: Device<E>>(
    gradients: &mut Gradients<E, D>,
    weight: &Tensor<S, E, D>,
    values: Vec<E>,
) -> Result<(), D::Err> {
    let device = weight.device();
    device.try_fill_with_zeros(gradients.get_or_alloc_mut(weight)?)?;
    let values = device.try_tensor_from_vec(values, *weight.shape())?;
    let others = mem::replace(gradients, Gradients::leaky());
    let sum = weight.trace(others).try_mul(values)?.try_sum::<(), S::AllAxes>()?;
    *gradients = sum.try_backward()?;
    Ok(())
}

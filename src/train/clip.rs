use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor, Trace};
use dfdx::tensor_ops::{Backward, Device, SumTo, TryMul};
use std::any::Any;
use std::mem;

use crate::error::{Error, Result};
use crate::kernels::optimizer::clip_factor;
use crate::layers::{Parameter, Parameters};

/// Scales all gradients of `model` down together, so that their common length ‖g‖ = √(Σ g²) is at
/// most `max_norm`; returns the length that they had.
///
/// The direction stays. A single batch with a huge error then costs no more than a step, where it
/// could have thrown the weights away. For a training loop of one's own;
/// [`Hyperparameters::clip_norm`](crate::train::Hyperparameters::clip_norm) is the same for
/// [`fit`](crate::train::fit). The factor is that of
/// [`clip_factor`](crate::kernels::optimizer::clip_factor).
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
            match parameter {
                Parameter::Vector(weight) => scale(gradients, weight, factor),
                Parameter::Matrix(weight) => scale(gradients, weight, factor),
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

/// Scales a gradient, where it is if that is on the CPU.
fn scale<S: Shape, E: Dtype, D: Device<E>>(
    gradients: &mut Gradients<E, D>,
    weight: &Tensor<S, E, D>,
    factor: f64,
) -> Result<(), D::Err> {
    let kept: &mut dyn Any = gradients.get_or_alloc_mut(weight)?;
    match kept.downcast_mut::<<Cpu as Storage<E>>::Vec>() {
        Some(values) => values.iter_mut().for_each(|value| *value = scaled(*value, factor)),
        None => scale_on_tape(gradients, weight, factor)?,
    }
    Ok(())
}

/// What another device keeps a gradient in is dfdx's own, so there it goes through the tape: the
/// gradient of Σ w g by w is g, and it is added to a gradient of zeros.
fn scale_on_tape<S: Shape, E: Dtype, D: Device<E>>(
    gradients: &mut Gradients<E, D>,
    weight: &Tensor<S, E, D>,
    factor: f64,
) -> Result<(), D::Err> {
    let device = weight.device();
    let values = gradients.get(weight).as_vec();
    let values = values.into_iter().map(|value| scaled(value, factor)).collect();
    let values = device.try_tensor_from_vec(values, *weight.shape())?;
    device.try_fill_with_zeros(gradients.get_or_alloc_mut(weight)?)?;
    let others = mem::replace(gradients, Gradients::leaky());
    let sum = weight.trace(others).try_mul(values)?.try_sum::<(), S::AllAxes>()?;
    *gradients = sum.try_backward()?;
    Ok(())
}

fn scaled<E: Dtype>(value: E, factor: f64) -> E {
    E::from_f64(wide(value) * factor).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::TensorFrom;

    /// On the CPU, which can do both.
    #[test]
    fn the_tape_scales_as_the_cpu_does() {
        let dev = Cpu::default();
        let [x, y] = [[1.5_f32, -2.0, 0.25], [3.0, 0.1, -7.0]].map(|values| dev.tensor(values));
        let gradients_of_both = || (x.leaky_trace().square() * y.clone()).sum().backward();
        let (mut in_place, mut on_tape) = (gradients_of_both(), gradients_of_both());
        scale(&mut in_place, &x, 0.3).unwrap();
        scale_on_tape(&mut on_tape, &x, 0.3).unwrap();
        let expected = [1.5 * 3.0, -2.0 * 0.1, 0.25 * -7.0].map(|half: f32| 2.0 * half * 0.3);
        for found in [in_place.get(&x).as_vec(), on_tape.get(&x).as_vec()] {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
            }
        }
        assert_eq!(on_tape.get(&y).as_vec(), in_place.get(&y).as_vec());
    }
}

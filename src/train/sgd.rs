use dfdx::shapes::{Dtype, Shape};
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor};
use dfdx::tensor_ops::{Device, Momentum, SgdConfig, WeightDecay};

use crate::error::{Error, Result};
use crate::layers::{ParameterMut, Parameters};

/// Stochastic gradient descent with momentum and L2 weight decay, for a training loop of one's own.
/// The formula is that of [`Optimizer::Sgd`](crate::train::Optimizer::Sgd).
///
/// It is dfdx's own update, for weights with run-time sizes.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut dense = Dense::new(3, 1, &mut Initializer::new(42), &dev)?;
/// let mut sgd = Sgd::new(0.01, 0.0, 0.9);
/// let x: Sequence = dev.ones_like(&(4, 5, 3));
/// let loss = dense.forward(x.leaky_traced())?.square().mean();
/// sgd.update(&mut dense, loss.backward())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<E: Dtype = f32, D: Storage<E> = Cpu> {
    config: SgdConfig,
    velocities: Gradients<E, D>,
}

impl<E: Dtype, D: Storage<E>> Sgd<E, D> {
    /// An optimiser that has seen no gradient yet; `momentum` is the part of the last step that is
    /// taken again, from 0 to below 1.
    pub fn new(learning_rate: f64, weight_decay: f64, momentum: f64) -> Self {
        Self {
            config: SgdConfig {
                lr: learning_rate,
                momentum: (momentum != 0.0).then_some(Momentum::Classic(momentum)),
                weight_decay: (weight_decay != 0.0).then_some(WeightDecay::L2(weight_decay)),
            },
            velocities: Gradients::leaky(),
        }
    }

    /// Changes the step size, for the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.lr = learning_rate;
    }
}

impl<E: Dtype, D: Device<E>> Sgd<E, D> {
    /// Moves every weight of `model` one step against its gradient. Always give it the same model:
    /// it remembers the last step of each weight.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device can not allocate or compute.
    pub fn update(
        &mut self,
        model: &mut impl Parameters<E, D>,
        mut gradients: Gradients<E, D>,
    ) -> Result<()> {
        for (_, parameter) in model.parameters_mut() {
            // The same lines for either rank: dfdx's shapes are types.
            let updated = match parameter {
                ParameterMut::Vector(weight) => self.step(weight, &mut gradients),
                ParameterMut::Matrix(weight) => self.step(weight, &mut gradients),
            };
            updated.map_err(|e| Error::Tensor(format!("{e:?}")))?;
        }
        Ok(())
    }

    #[inline(never)]
    fn step<S: Shape>(
        &mut self,
        weight: &mut Tensor<S, E, D>,
        gradients: &mut Gradients<E, D>,
    ) -> Result<(), D::Err> {
        let velocity = self.velocities.get_or_alloc_mut(weight)?;
        let gradient = gradients.get_or_alloc_mut(weight)?;
        self.config.try_update(weight, velocity, gradient)
    }
}

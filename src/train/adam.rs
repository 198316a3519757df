use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, Gradients, Storage};
use dfdx::tensor_ops::{AdamConfig, Device, WeightDecay};

use crate::error::{Error, Result};
use crate::layers::{ParameterMut, Parameters};

/// Adam with L2 weight decay, for a training loop of one's own. The formula is that of
/// [`Optimizer::Adam`](crate::train::Optimizer::Adam), with β₁ = 0.9, β₂ = 0.999 and ε = 1e-7
/// (Keras' default, and what the published results were made with).
///
/// The decay adds λ w to the gradient of every weight w, which is the gradient of λ · ½ Σ w².
/// It is dfdx's own update, for weights with run-time sizes.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut dense = Dense::new(3, 1, &mut Initializer::new(42), &dev)?;
/// let mut adam = Adam::new(0.001, 0.0);
/// let x: Sequence = dev.ones_like(&(4, 5, 3));
/// let loss = dense.forward(x.leaky_traced())?.square().mean();
/// adam.update(&mut dense, loss.backward())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adam<E: Dtype = f32, D: Storage<E> = Cpu> {
    config: AdamConfig,
    steps: i32,
    first_moments: Gradients<E, D>,
    second_moments: Gradients<E, D>,
}

impl<E: Dtype, D: Storage<E>> Adam<E, D> {
    /// An optimiser that has seen no gradient yet.
    pub fn new(learning_rate: f64, weight_decay: f64) -> Self {
        Self {
            config: AdamConfig {
                lr: learning_rate,
                betas: [0.9, 0.999],
                eps: 1e-7,
                weight_decay: (weight_decay != 0.0).then_some(WeightDecay::L2(weight_decay)),
            },
            steps: 0,
            first_moments: Gradients::leaky(),
            second_moments: Gradients::leaky(),
        }
    }

    /// Changes the step size, for the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.lr = learning_rate;
    }
}

impl<E: Dtype, D: Device<E>> Adam<E, D> {
    /// Moves every weight of `model` one step against its gradient. Always give it the same model:
    /// it remembers the moments of each weight.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device can not allocate or compute.
    pub fn update(
        &mut self,
        model: &mut impl Parameters<E, D>,
        mut gradients: Gradients<E, D>,
    ) -> Result<()> {
        self.steps += 1;
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
    fn step<S: dfdx::shapes::Shape>(
        &mut self,
        weight: &mut dfdx::tensor::Tensor<S, E, D>,
        gradients: &mut Gradients<E, D>,
    ) -> Result<(), D::Err> {
        let first = self.first_moments.get_or_alloc_mut(weight)?;
        let second = self.second_moments.get_or_alloc_mut(weight)?;
        let gradient = gradients.get_or_alloc_mut(weight)?;
        self.config.try_update(self.steps, weight, first, second, gradient)
    }
}

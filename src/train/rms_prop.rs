use dfdx::shapes::Dtype;
use dfdx::tensor::Gradients;
use dfdx::tensor_ops::Device;

use super::clip::{gradient_of, wide};
use crate::error::{Result, check_size};
use crate::kernels::optimizer::EPSILON;
use crate::layers::{ParameterMut, Parameters};

/// RMSProp with momentum and L2 weight decay, for a training loop of one's own. The formula is that
/// of [`Optimizer::RmsProp`](crate::train::Optimizer::RmsProp).
///
/// dfdx's own update has the ε inside the root, so this one is written out. It computes in double
/// precision on the host, whatever the device.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut dense = Dense::new(3, 1, &mut Initializer::new(42), &dev)?;
/// let mut rms_prop = RmsProp::new(0.007, 0.0, 0.92, 0.5);
/// let x: Sequence = dev.ones_like(&(4, 5, 3));
/// let loss = dense.forward(x.leaky_traced())?.square().mean();
/// rms_prop.update(&mut dense, loss.backward())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RmsProp {
    learning_rate: f64,
    weight_decay: f64,
    decay: f64,
    momentum: f64,
    /// Of each weight tensor, in the model's order, value by value.
    moments: Vec<Vec<Moments>>,
}

/// v and m of the formula.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    square: f64,
    step: f64,
}

impl RmsProp {
    /// An optimiser that has seen no gradient yet; `decay` is that of the mean squared gradient, and
    /// `momentum` the part of the last step that is taken again, both from 0 to below 1.
    pub fn new(learning_rate: f64, weight_decay: f64, decay: f64, momentum: f64) -> Self {
        Self { learning_rate, weight_decay, decay, momentum, moments: Vec::new() }
    }

    /// Changes the step size, for the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// Moves every weight of `model` one step against its gradient. Always give it the same model:
    /// it remembers the moments of each weight.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when the device can not allocate,
    /// [`Error::Shape`](crate::Error::Shape) when a weight has another size than in the step before.
    pub fn update<E: Dtype, D: Device<E>>(
        &mut self,
        model: &mut impl Parameters<E, D>,
        mut gradients: Gradients<E, D>,
    ) -> Result<()> {
        for (i, (name, mut parameter)) in model.parameters_mut().into_iter().enumerate() {
            self.step(i, &name, &mut parameter, &mut gradients)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn step<E: Dtype, D: Device<E>>(
        &mut self,
        i: usize,
        name: &str,
        parameter: &mut ParameterMut<'_, E, D>,
        gradients: &mut Gradients<E, D>,
    ) -> Result<()> {
        let gradient = gradient_of(&parameter.as_ref(), gradients)?;
        let mut weights = parameter.as_ref().to_vec();
        if self.moments.len() == i {
            self.moments.push(vec![Moments::default(); weights.len()]);
        }
        check_size(format!("the size of {name}"), self.moments[i].len(), weights.len())?;
        for ((weight, &gradient), moments) in
            weights.iter_mut().zip(&gradient).zip(&mut self.moments[i])
        {
            let w = wide(*weight);
            let g = wide(gradient) + self.weight_decay * w;
            moments.square = self.decay * moments.square + (1.0 - self.decay) * g * g;
            let step = g / (moments.square.sqrt() + f64::from(EPSILON));
            moments.step = self.momentum * moments.step + step;
            let w = w - self.learning_rate * moments.step;
            *weight = E::from_f64(w).unwrap_or_default();
        }
        parameter.copy_from(&weights);
        Ok(())
    }
}

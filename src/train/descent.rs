use dfdx::tensor::Gradients;
use dfdx::tensor_ops::Device;

use crate::error::{Error, Result, check_size};
use crate::kernels::optimizer::{self, Optimizer, Settings, clip_factor};
use crate::layers::{Parameter, ParameterMut, Parameters, set_flat_weights};
use crate::settings::Hyperparameters;

/// The steps of an optimiser, for a training loop of one's own. The formulas are those of [`Optimizer`].
///
/// | field | default | range | what it does |
/// | --- | --- | --- | --- |
/// | `optimizer` | `Adam` | decay and momentum 0 or more, below 1 | how the weights follow their gradient |
/// | `learning_rate` | 0.001 | above 0 | the step size, free to change between steps |
/// | `weight_decay` | 0 | 0 or more | λ of the L2 penalty λ · ½ Σ w²: λ w is added to the gradient of every weight w |
/// | `clip_norm` | `None` | `None`, or above 0 | the longest gradient that is used as it is, without the penalty |
/// | `memory` | empty | | what it remembers of the steps before |
///
/// It computes in f32 on the CPU, with the kernels that [`fit`](crate::train::fit) uses, wherever the
/// weights are.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut dense = Dense::new(3, 1, &mut Initializer::new(42), &dev)?;
/// let mut adam = Descent { learning_rate: 0.01, ..Default::default() };
/// let x: Sequence = dev.ones_like(&(4, 5, 3));
/// let loss = dense.forward(x.leaky_traced())?.square().mean();
/// adam.update(&mut dense, loss.backward())?;
///
/// let optimizer = Optimizer::RmsProp { decay: 0.92, momentum: 0.5 };
/// let rms_prop = Descent { optimizer, learning_rate: 0.007, ..Default::default() };
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Descent {
    /// The formula.
    pub optimizer: Optimizer,
    /// Step size.
    pub learning_rate: f64,
    /// λ of the L2 penalty λ · ½ Σ w² over all weights.
    pub weight_decay: f64,
    /// Largest length of the gradient, √(Σ g²) over all weights and without the penalty: a longer one is
    /// scaled down to it, with [`clip_factor`]. The direction stays. A single batch with a huge error then costs no
    /// more than a step, where it could have thrown the weights away.
    pub clip_norm: Option<f64>,
    /// What it remembers of the steps before.
    pub memory: Memory,
}

/// What an optimiser remembers of its steps: m and v of [`Optimizer`], one number each for a weight.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) momentum: Vec<f32>,
    pub(super) square: Vec<f32>,
    pub(super) steps: i32,
}

impl Default for Descent {
    fn default() -> Self {
        Self {
            optimizer: Optimizer::Adam,
            learning_rate: 0.001,
            weight_decay: 0.0,
            clip_norm: None,
            memory: Memory::default(),
        }
    }
}

impl Descent {
    /// What the hyperparameters say of it.
    pub(super) fn of(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { optimizer, learning_rate, weight_decay, clip_norm, .. } =
            *hyperparameters;
        Self { optimizer, learning_rate, weight_decay, clip_norm, memory: Memory::default() }
    }

    /// The same for the kernels.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            optimizer: self.optimizer,
            learning_rate: self.learning_rate as f32,
            weight_decay: self.weight_decay as f32,
            clip_norm: self.clip_norm,
        }
    }

    /// Moves every weight of `model` one step against its gradient, and returns the length that the gradient
    /// had, without the penalty. Always give it the same model: it remembers the gradients of each weight.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when a gradient cannot be allocated,
    /// [`Error::Shape`](crate::Error::Shape) when the model has another number of weights than in the step
    /// before.
    pub fn update<D: Device<f32>>(
        &mut self,
        model: &mut (impl Parameters<f32, D> + ?Sized),
        gradients: Gradients<f32, D>,
    ) -> Result<f64> {
        self.step(model.parameters_mut(), gradients)
    }

    #[inline(never)]
    fn step<D: Device<f32>>(
        &mut self,
        parameters: Vec<(String, ParameterMut<'_, f32, D>)>,
        mut gradients: Gradients<f32, D>,
    ) -> Result<f64> {
        let (mut weights, mut gradient) = (Vec::new(), Vec::new());
        for (_, parameter) in &parameters {
            weights.extend(parameter.as_ref().to_vec());
            gradient.extend(gradient_of(&parameter.as_ref(), &mut gradients)?);
        }
        let settings = self.settings();
        let Memory { momentum, square, steps } = &mut self.memory;
        if *steps == 0 {
            (*momentum, *square) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        }
        check_size("the number of weights of the model", momentum.len(), weights.len())?;
        *steps = steps.saturating_add(1);
        let norm = optimizer::norm(&gradient);
        let scale = self.clip_norm.map_or(1.0, |most| clip_factor(norm, most));
        optimizer::update(settings, *steps, scale, &gradient, &mut weights, momentum, square);
        set_flat_weights(parameters, &weights);
        Ok(norm)
    }
}

/// The gradient of a weight, row by row; zeros where nothing has reached it.
fn gradient_of<D: Device<f32>>(
    parameter: &Parameter<'_, f32, D>,
    gradients: &mut Gradients<f32, D>,
) -> Result<Vec<f32>> {
    match *parameter {
        Parameter::Vector(weight) => gradients
            .try_alloc_for(weight)
            .map(|()| Parameter::Vector(&gradients.get(weight)).to_vec()),
        Parameter::Matrix(weight) => gradients
            .try_alloc_for(weight)
            .map(|()| Parameter::Matrix(&gradients.get(weight)).to_vec()),
    }
    .map_err(|e| Error::Tensor(format!("{e:?}")))
}

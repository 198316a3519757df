use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, Gradients, OwnedTape, SplitTape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, Device, MeanTo, ReshapeTo};
use std::ops::ControlFlow;
use std::time::Instant;

use super::course::Course;
use super::fit::{Last, begin, check_prediction};
use super::{Adam, Epoch, History, Hyperparameters, Optimizer, RmsProp, Sgd, clip_gradients};
use crate::Sequence;
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::forecast::Forecast;
use crate::interrupt;
use crate::layers::{Evaluation, Parameters, flat_weights, set_flat_weights};
use crate::model::chunk;

/// A batch of series with a tape that records what is done to it.
pub type Traced<D = Cpu> = Sequence<f32, D, OwnedTape<f32, D>>;

/// Series that are predicted at once, at most.
const CHUNK: usize = 1024;

/// Trains any network that a cell has put together, on dfdx's tape: `forward` is its forward pass,
/// from the past `(B, P, D)` to the prediction `(B, F, O)`. The loss is the mean squared error.
/// Prints nothing.
///
/// It computes on the device that the model's weights are on. Of the hyperparameters, the sizes, the
/// validation fraction and the device have done their work by now.
/// [`fit`](super::fit) trains a [`Seq2Seq`](crate::model::Seq2Seq) faster, on fused kernels.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let mut init = Initializer::new(42);
/// let gru = Gru::new(1, &[8], &mut init, &dev)?;
/// let dense = Dense::new(8, 1, &mut init, &dev)?;
///
/// let (train, validation) = noisy_waves(NoisyWaves { series: 200, ..Default::default() })?.split(0.2)?;
/// let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
/// let mut model = (gru, dense);
/// let history = fit_on_tape(&mut model, &train, &validation, &hyperparameters, |(gru, dense), past| {
///     let (outputs, _) = gru.forward(past, None)?;
///     let series = outputs.shape().0;
///     let index = vec![49; series]; // the last of 50 steps
///     let last = outputs.select(dev.tensor_from_vec(index, (series,)));
///     Ok(dense.forward_step(last)?.reshape_like(&(series, 1, 1)))
/// })?;
/// assert_eq!(history.epochs().len(), 2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when a hyperparameter is outside its range,
/// [`Error::Shape`](crate::Error::Shape) when the parts do not fit each other or the prediction the
/// future, [`Error::Data`](crate::Error::Data) when the error stops being a number: the model then
/// keeps the weights of the epoch before. [`Error::Interrupted`](crate::Error::Interrupted) after an
/// interrupt: the model then keeps the weights of the last step. And whatever `forward` returns.
pub fn fit_on_tape<M: Parameters<f32, D>, D: Device<f32>>(
    model: &mut M,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<History> {
    let device = device_of(model)?;
    let mut network = Closure { model, forward };
    let task = Task { truth: Dataset::future_tensor_on, loss: mean_of_squares };
    run(&mut network, &device, &task, train, validation, hyperparameters)
}

/// As [`fit_on_tape`], for a network that predicts the next F steps **at every step** of the past:
/// `forward` gives `(B, P, F·D)`, and the loss is taken at all P steps, which tells the network much
/// more. What a forecast is, and what the [`History`] measures, is the prediction of the last step.
///
/// # Errors
/// As [`fit_on_tape`].
pub fn fit_at_every_step<M: Parameters<f32, D>, D: Device<f32>>(
    model: &mut M,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<History> {
    let device = device_of(model)?;
    let mut network = Closure { model, forward };
    let task = Task { truth: next_steps, loss: mean_of_squares };
    run(&mut network, &device, &task, train, validation, hyperparameters)
}

/// What a network that [`fit_on_tape`] or [`fit_at_every_step`] has trained predicts for every
/// series of `data`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when the prediction has neither of the two shapes,
/// [`Error::PredictionInterrupted`](crate::Error::PredictionInterrupted) after an interrupt, and
/// whatever `forward` returns.
pub fn predict_with<M: Parameters<f32, D>, D: Device<f32>>(
    model: &M,
    data: &Dataset,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<Forecast> {
    let (work, device) = (interrupt::watch(), device_of(model)?);
    data.forecast(predict(
        &|past| forward(model, past),
        &device,
        data,
        model.parameter_count(),
        &work,
    )?)
}

/// The device that the weights are on.
fn device_of<D: Device<f32>>(model: &impl Parameters<f32, D>) -> Result<D> {
    let parameters = model.parameters();
    let first = parameters.first().map(|(_, parameter)| parameter.device().clone());
    first.ok_or_else(|| Error::Data("the model has no weights to train".to_owned()))
}

/// The model and its forward pass, so that the loop below is compiled here and not in every cell.
struct Closure<'a, M, F> {
    model: &'a mut M,
    forward: F,
}

trait Network<D: Device<f32>> {
    fn forward(&self, past: Traced<D>) -> Result<Traced<D>>;
    fn update(
        &mut self,
        descent: &mut Descent<D>,
        gradients: Gradients<f32, D>,
        clip_norm: Option<f64>,
    ) -> Result<()>;
    fn weights(&self) -> Vec<f32>;
    fn set_weights(&mut self, weights: &[f32]);
}

impl<M, D, F> Network<D> for Closure<'_, M, F>
where
    M: Parameters<f32, D>,
    D: Device<f32>,
    F: Fn(&M, Traced<D>) -> Result<Traced<D>>,
{
    fn forward(&self, past: Traced<D>) -> Result<Traced<D>> {
        (self.forward)(self.model, past)
    }

    fn update(
        &mut self,
        descent: &mut Descent<D>,
        mut gradients: Gradients<f32, D>,
        clip_norm: Option<f64>,
    ) -> Result<()> {
        if let Some(max_norm) = clip_norm {
            clip_gradients(self.model, &mut gradients, max_norm)?;
        }
        match descent {
            Descent::Adam(adam) => adam.update(self.model, gradients),
            Descent::RmsProp(rms_prop) => rms_prop.update(self.model, gradients),
            Descent::Sgd(sgd) => sgd.update(self.model, gradients),
        }
    }

    fn weights(&self) -> Vec<f32> {
        flat_weights(self.model)
    }

    fn set_weights(&mut self, weights: &[f32]) {
        set_flat_weights(self.model, weights);
    }
}

/// The optimiser that the hyperparameters name.
enum Descent<D: Device<f32>> {
    Adam(Adam<f32, D>),
    RmsProp(RmsProp),
    Sgd(Sgd<f32, D>),
}

impl<D: Device<f32>> Descent<D> {
    fn new(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { learning_rate, weight_decay, optimizer, .. } = *hyperparameters;
        match optimizer {
            Optimizer::Adam => Self::Adam(Adam::new(learning_rate, weight_decay)),
            Optimizer::RmsProp { decay, momentum } => {
                Self::RmsProp(RmsProp::new(learning_rate, weight_decay, decay, momentum))
            }
            Optimizer::Sgd { momentum } => {
                Self::Sgd(Sgd::new(learning_rate, weight_decay, momentum))
            }
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        match self {
            Self::Adam(adam) => adam.set_learning_rate(learning_rate),
            Self::RmsProp(rms_prop) => rms_prop.set_learning_rate(learning_rate),
            Self::Sgd(sgd) => sgd.set_learning_rate(learning_rate),
        }
    }
}

/// What a prediction is compared with, and how.
struct Task<D: Device<f32>> {
    /// The truth of some series, of the shape of their prediction.
    truth: fn(&Dataset, &D) -> Sequence<f32, D>,
    /// How far a prediction is from the truth.
    loss: Loss<D>,
}

type Scalar<D> = Tensor<(), f32, D, OwnedTape<f32, D>>;

/// A prediction and the truth, to the loss.
type Loss<D> = fn(Traced<D>, Sequence<f32, D>) -> Result<Scalar<D>>;

/// The F steps after every step of the past, `(B, P, F·D)`.
#[inline(never)]
fn next_steps<D: Device<f32>>(data: &Dataset, dev: &D) -> Sequence<f32, D> {
    let (past, future) = data.sizes();
    let (n, d, k) = (data.len(), data.features(), data.targets());
    let mut values = Vec::with_capacity(n * data.past_steps() * future);
    for i in 0..n {
        let known = data.past()[i * past..][..past].chunks(d).flat_map(|x| &x[..k]);
        let series = known.chain(&data.future()[i * future..][..future]);
        let series: Vec<f32> = series.copied().collect();
        series.windows(future).step_by(k).skip(1).for_each(|next| values.extend(next));
    }
    dev.tensor_from_vec(values, (n, data.past_steps(), future))
}

/// The mean of the squared differences.
#[inline(never)]
fn mean_of_squares<D: Device<f32>>(
    prediction: Traced<D>,
    truth: Sequence<f32, D>,
) -> Result<Scalar<D>> {
    check_prediction(*truth.shape(), *prediction.shape())?;
    Ok((prediction - truth).square().mean())
}

/// Trains on `dev`.
#[inline(never)]
fn run<D: Device<f32>>(
    network: &mut dyn Network<D>,
    dev: &D,
    task: &Task<D>,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<History> {
    hyperparameters.check()?;
    for (what, expected, found) in [
        ("the past steps of the validation part", train.past_steps(), validation.past_steps()),
        (
            "the future steps of the validation part",
            train.future_steps(),
            validation.future_steps(),
        ),
        ("the features of the validation part", train.features(), validation.features()),
        ("the future's features of the validation part", train.targets(), validation.targets()),
    ] {
        check_size(what, expected, found)?;
    }
    let Hyperparameters { batch_size, seed, .. } = *hyperparameters;
    let mut descent = Descent::<D>::new(hyperparameters);
    let (mut step, batches) = (0, train.len().div_ceil(batch_size));
    let steps = batches.saturating_mul(hyperparameters.epochs);
    let work = begin(1, train, hyperparameters)?;
    let measured = Epoch::measured(train)?;
    let weights = network.weights().len();
    let mut course = Course::new(hyperparameters);
    while let Some(epoch) = course.next_epoch() {
        let start = Instant::now();
        let before = network.weights();
        let parts = train.batches(batch_size, seed, epoch)?;
        let (mut total, mut trained, mut flow) = (0.0, 0, ControlFlow::Continue(()));
        for batch in &parts {
            let past: Sequence<f32, D> = batch.past_tensor_on(dev);
            let prediction = network.forward(past.leaky_traced())?;
            let loss = (task.loss)(prediction, (task.truth)(batch, dev))?;
            total += f64::from(loss.as_vec()[0]);
            descent.set_learning_rate(course.learning_rate(step, steps));
            network.update(&mut descent, loss.backward(), hyperparameters.clip_norm)?;
            step += 1;
            trained += 1;
            if work.interrupted() {
                let last = Last { epoch, step: trained, ..Last::of(train, hyperparameters) };
                return Err(last.interrupted());
            }
            flow = course.in_time();
            if flow.is_break() {
                break;
            }
        }
        let of = |data| predict(&|past| network.forward(past), dev, data, weights, &work);
        let last = Last { epoch, step: trained, ..Last::of(train, hyperparameters) };
        let interrupted = |error| match error {
            Error::PredictionInterrupted => last.interrupted(),
            other => other,
        };
        let of_train = of(&measured).map_err(interrupted)?;
        let of_validation = of(validation).map_err(interrupted)?;
        let parts = [(&measured, of_train), (validation, of_validation)];
        let loss = total / trained as f64;
        let result = Epoch::measure(epoch, loss, parts, start, hyperparameters);
        if result.is_err() {
            network.set_weights(&before);
        }
        let result = result?;
        course.take(result, flow, || network.weights());
    }
    let (history, best) = course.finish();
    if let Some(weights) = best {
        network.set_weights(&weights);
    }
    Ok(history)
}

#[inline(never)]
fn predict<D: Device<f32>>(
    forward: &dyn Fn(Traced<D>) -> Result<Traced<D>>,
    dev: &D,
    data: &Dataset,
    weights: usize,
    work: &interrupt::Watch,
) -> Result<Vec<f32>> {
    let _evaluation = Evaluation::begin();
    let (_, size) = data.sizes();
    let mut all = Vec::with_capacity(data.future().len());
    let chunk = CHUNK.min(chunk(weights, data.past_steps() + data.future_steps()));
    for start in (0..data.len()).step_by(chunk) {
        if work.interrupted() {
            return Err(Error::PredictionInterrupted);
        }
        let part = data.select(start..data.len().min(start + chunk))?;
        let past: Sequence<f32, D> = part.past_tensor_on(dev);
        let (prediction, _) = forward(past.leaky_traced())?.split_tape();
        let prediction = prediction.contiguous();
        let (batch, steps, features) = *prediction.shape();
        check_size("the batch axis of the prediction", part.len(), batch)?;
        let mut values = vec![0.0; batch * steps * features];
        prediction.copy_into(&mut values);
        if (steps, features) == (data.future_steps(), data.targets()) {
            all.extend(values);
        } else {
            check_size("the features axis of a prediction at every step (F x D)", size, features)?;
            check_size("the time axis of a prediction at every step", data.past_steps(), steps)?;
            let last = values.chunks_exact(steps * features);
            all.extend(last.flat_map(|series| &series[(steps - 1) * features..]));
        }
    }
    Ok(all)
}

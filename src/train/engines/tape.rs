//! Any network on dfdx's tape.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, OwnedTape, SplitTape, Trace};
use dfdx::tensor_ops::{Backward, Device, ReshapeTo};

use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::history::History;
use crate::interrupt;
use crate::layers::{Evaluation, Parameter, ParameterMut, Parameters, flat_weights};
use crate::model::{Layout, chunk};
use crate::settings::Hyperparameters;
use crate::train::checkpoint::Found;
use crate::train::descent::{Descent, Memory};
use crate::train::engine::{Engine, Steps, Watch};
use crate::train::loss::half_of_squares;
use crate::train::run::{Job, Trainable, run, with_weights};
use crate::{Forecast, Sequence};

/// A batch of series with a tape that records what is done to it.
pub type Traced<D = Cpu> = Sequence<f32, D, OwnedTape<f32, D>>;

/// Series that are predicted at once, at most.
const CHUNK: usize = 1024;

/// What a network predicts for every series of `data`, `(n, F, O)`, row-major. `forward` is that of
/// [`fit_on_tape`](crate::train::fit_on_tape) or
/// [`fit_at_every_step`](crate::train::fit_at_every_step).
///
/// # Errors
/// [`Error::Shape`] when the prediction has neither of the two shapes, [`Error::PredictionInterrupted`] after
/// an interrupt, [`Error::Training`] when the model has no weights, and whatever `forward` returns.
pub fn predict_with<M: Parameters<f32, D>, D: Device<f32>>(
    model: &M,
    data: &Dataset,
    forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
) -> Result<Forecast> {
    let (work, device) = (interrupt::watch(), device_of(model)?);
    let forward = |past| forward(model, past);
    let interrupted = || work.interrupted();
    data.forecast(predict(&forward, &device, data, model.parameter_count(), &interrupted)?)
}

/// The device that the weights are on.
fn device_of<D: Device<f32>>(model: &(impl Parameters<f32, D> + ?Sized)) -> Result<D> {
    let parameters = model.parameters();
    let first = parameters.first().map(|(_, parameter)| parameter.device().clone());
    first.ok_or_else(|| Error::Training("the model has no weights to train".to_owned()))
}

/// A model and its forward pass. Cells compile this much for themselves, and all that follows is compiled here.
pub(in crate::train) struct Closure<'a, M, F> {
    pub(in crate::train) model: &'a mut M,
    pub(in crate::train) forward: F,
}

pub(in crate::train) trait Network<D: Device<f32>>: Parameters<f32, D> {
    fn forward(&self, past: Traced<D>) -> Result<Traced<D>>;
    fn type_name(&self) -> &'static str;
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

    fn type_name(&self) -> &'static str {
        std::any::type_name::<M>()
    }
}

impl<M: Parameters<f32, D>, D: Device<f32>, F> Parameters<f32, D> for Closure<'_, M, F> {
    fn parameters(&self) -> Vec<(String, Parameter<'_, f32, D>)> {
        self.model.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, f32, D>)> {
        self.model.parameters_mut()
    }
}

/// A network on the tape, with what it predicts.
pub(in crate::train) struct OnTape<'a, D: Device<f32>> {
    pub(in crate::train) network: &'a mut dyn Network<D>,
    /// Whether it predicts the future at every step of the past, `(B, P, F·O)`, or after the last one,
    /// `(B, F, O)`.
    pub(in crate::train) at_every_step: bool,
}

impl<D: Device<f32>> Trainable for OnTape<'_, D> {
    fn check(
        &self,
        train: &Dataset,
        validation: Option<&Dataset>,
        hyperparameters: &Hyperparameters,
    ) -> Result<()> {
        device_of(self.network)?;
        let dropout = hyperparameters.dropout;
        if dropout > 0.0 {
            let allowed = "0 on the tape, where a layer `Dropout` belongs to the network";
            return Err(Error::setting("dropout", dropout, allowed));
        }
        let Some(other) = validation else { return Ok(()) };
        for (what, expected, found) in [
            ("past steps", train.past_steps(), other.past_steps()),
            ("future steps", train.future_steps(), other.future_steps()),
            ("features", train.features(), other.features()),
            ("future's features", train.targets(), other.targets()),
        ] {
            check_size(format!("the {what} of the validation part"), expected, found)?;
        }
        Ok(())
    }

    fn layout(&self) -> Layout {
        Layout::of(self.network, self.network.type_name())
    }

    fn load(&mut self, found: &Found) -> Result<()> {
        found.file.load_into(self.network)
    }

    fn describe(&self, _: &Hyperparameters) -> [String; 2] {
        let weights = self.network.parameter_count();
        ["training on dfdx's tape".to_owned(), format!("a network of {weights} weights")]
    }

    fn train(&mut self, job: &mut Job<'_>, watch: &mut Watch<'_>) -> Result<History> {
        let (device, at_every_step) = (device_of(self.network)?, self.at_every_step);
        let (train, descent) = (job.train, Descent::of(job.hyperparameters));
        with_weights(self.network, |network, weights| {
            let count = weights.len();
            let mut engine = Tape { network, at_every_step, device, descent, train, count };
            run(&mut engine, weights, job, watch)
        })
    }
}

struct Tape<'a, D: Device<f32>> {
    network: &'a mut dyn Network<D>,
    at_every_step: bool,
    device: D,
    descent: Descent,
    train: &'a Dataset,
    /// How many weights there are.
    count: usize,
}

impl<D: Device<f32>> Engine for Tape<'_, D> {
    fn train(&mut self, steps: &mut Steps<'_>) -> Result<()> {
        while let Some((batch, learning_rate)) = steps.next() {
            let data = self.train.select(batch.iter().copied())?;
            let past: Sequence<f32, D> = data.past_tensor_on(&self.device);
            let prediction = self.network.forward(past.leaky_traced())?;
            let (truth, times) = match self.at_every_step {
                true => (next_steps(&data, &self.device), data.past_steps()),
                false => (data.future_tensor_on(&self.device), 1),
            };
            let loss = half_of_squares(prediction, truth, data.len() * times)?;
            let value = f64::from(loss.as_vec()[0]);
            self.descent.learning_rate = learning_rate;
            self.descent.update(self.network, loss.backward())?;
            steps.took(value);
        }
        Ok(())
    }

    fn predict(&self, data: &Dataset, interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>> {
        let forward = |past| self.network.forward(past);
        predict(&forward, &self.device, data, self.count, interrupted)
    }

    fn weights(&self) -> Vec<f32> {
        flat_weights(self.network)
    }

    fn memory(&self) -> Memory {
        self.descent.memory.clone()
    }

    fn set_memory(&mut self, memory: Memory) {
        self.descent.memory = memory;
    }
}

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

#[inline(never)]
fn predict<D: Device<f32>>(
    forward: &dyn Fn(Traced<D>) -> Result<Traced<D>>,
    dev: &D,
    data: &Dataset,
    weights: usize,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<f32>> {
    let _evaluation = Evaluation::begin();
    let (_, size) = data.sizes();
    let mut all = Vec::with_capacity(data.future().len());
    let chunk = CHUNK.min(chunk(weights, data.past_steps() + data.future_steps()));
    for start in (0..data.len()).step_by(chunk) {
        if interrupted() {
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
            check_size("the features axis of a prediction at every step (F x O)", size, features)?;
            check_size("the time axis of a prediction at every step", data.past_steps(), steps)?;
            let last = values.chunks_exact(steps * features);
            all.extend(last.flat_map(|series| &series[(steps - 1) * features..]));
        }
    }
    Ok(all)
}

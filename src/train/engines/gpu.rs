//! The stock model on a GPU, whose steps wait in a queue. The tests run it on the CPU.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::level::Level;
use crate::kernels::seq2seq::Network;
use crate::layers::{RecurrentCell, flat_weights};
use crate::model::{Seq2Seq, predict_while};
use crate::train::descent::Memory;
use crate::train::engine::{Engine, Steps};

/// How long the steps that are queued at once may take. A GPU is asked for the losses as seldom, and
/// somebody who watches hears of them as often.
const AT_ONCE: Duration = Duration::from_millis(10);

/// Steps that a GPU takes one after the other, without being asked for their results in between.
pub(super) trait Queue {
    /// The order of the series from here on.
    fn set_order(&mut self, order: &[usize]) -> Result<()>;
    /// Another step, on a part of the order.
    fn add(&mut self, batch: Range<usize>, learning_rate: f32) -> Result<()>;
    /// The losses of the steps since the last call.
    fn losses(&mut self) -> Result<Vec<f64>>;
    /// The weights after all steps.
    fn weights(&self) -> Result<Vec<f32>>;
}

#[cfg(feature = "cuda")]
impl Queue for crate::kernels_cuda::TrainStep {
    fn set_order(&mut self, order: &[usize]) -> Result<()> {
        Ok(self.set_order(order)?)
    }

    fn add(&mut self, batch: Range<usize>, learning_rate: f32) -> Result<()> {
        self.settings.learning_rate = learning_rate;
        Ok(self.queue(batch)?)
    }

    fn losses(&mut self) -> Result<Vec<f64>> {
        Ok(self.losses()?)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.weights()?)
    }
}

/// A queue of steps. The errors after an epoch are measured on the CPU.
pub(super) struct Queued<Q> {
    queue: Q,
    network: Network,
    /// Those after the last epoch.
    weights: Vec<f32>,
    /// How many steps are queued at once.
    at_once: usize,
    /// Whether other work on the CPU's thread pool comes first.
    yields: bool,
}

impl<Q: Queue> Queued<Q> {
    /// The queue starts from the weights of the model.
    fn new<C: RecurrentCell>(model: &Seq2Seq<C>, queue: Q, yields: bool) -> Self {
        let weights = flat_weights(model);
        let network = Network::new(model.network_shape(), &weights, Level::best());
        Self { queue, network, weights, at_once: 1, yields }
    }
}

/// The engine for a GPU.
#[cfg(feature = "cuda")]
pub(super) fn engine<C: RecurrentCell>(
    gpu: usize,
    model: &Seq2Seq<C>,
    job: &crate::train::run::Job<'_>,
    yields: bool,
) -> Result<Queued<crate::kernels_cuda::TrainStep>> {
    use crate::kernels::seq2seq::Windows;
    use crate::train::{descent::Descent, loss::LOSS};
    let (train, hyperparameters) = (job.train, job.hyperparameters);
    crate::Device::Cuda(gpu).check()?;
    let mut step = crate::kernels_cuda::TrainStep::new(
        gpu,
        &model.network_shape(),
        &flat_weights(model),
        Windows { past: train.past(), future: train.future() },
        [train.past_steps(), train.future_steps()],
        hyperparameters.batch_size,
        LOSS,
        Descent::of(hyperparameters).settings(),
    )?;
    step.allow_tf32(hyperparameters.tf32)?;
    Ok(Queued::new(model, step, yields))
}

impl<Q: Queue> Engine for Queued<Q> {
    /// The steps that were queued together are all taken before they are reported.
    fn train(&mut self, steps: &mut Steps<'_>) -> Result<()> {
        self.queue.set_order(steps.order)?;
        let mut first = 0;
        loop {
            let (start, mut queued) = (Instant::now(), 0);
            while queued < self.at_once
                && let Some((batch, learning_rate)) = steps.next()
            {
                self.queue.add(first..first + batch.len(), learning_rate as f32)?;
                first += batch.len();
                queued += 1;
            }
            if queued == 0 {
                break;
            }
            self.queue.losses()?.into_iter().for_each(|loss| steps.took(loss));
            if 2 * start.elapsed() < AT_ONCE {
                self.at_once = self.at_once.saturating_mul(2).min(steps.number());
            }
        }
        self.weights = self.queue.weights()?;
        self.network.set_weights(&self.weights);
        Ok(())
    }

    fn predict(&self, data: &Dataset, interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>> {
        predict_while(&self.network, data, self.yields, &|| !interrupted())
    }

    fn weights(&self) -> Vec<f32> {
        self.weights.clone()
    }

    /// Nothing: a checkpoint on a GPU is refused.
    fn memory(&self) -> Memory {
        Memory::default()
    }

    fn set_memory(&mut self, _: Memory) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SineCosine, WindowScaler, sine_cosine};
    use crate::error::Error;
    use crate::evaluate::mse;
    use crate::history::{Epoch, History};
    use crate::kernels::seq2seq::{TrainStep, Windows};
    use crate::settings::{Hyperparameters, Schedule};
    use crate::train::engine::{Step, Watch};
    use crate::train::engines::fused;
    use crate::train::fit_with;
    use crate::train::run::{Job, run, with_weights};
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn scaled() -> (Dataset, Dataset) {
        let data = sine_cosine(SineCosine { series: 230, ..Default::default() }).unwrap();
        let (train, validation) = data.split(0.15).unwrap();
        let scale = |data: &Dataset| WindowScaler::fit_transform(data).unwrap().1;
        (scale(&train), scale(&validation))
    }

    fn all_settings() -> Hyperparameters {
        Hyperparameters {
            epochs: 4,
            schedule: Schedule::Cosine { warmup_fraction: 0.2 },
            clip_norm: Some(0.85),
            patience: Some(3),
            ..Default::default()
        }
    }

    /// A queue on the CPU.
    struct OnCpu<'a> {
        step: TrainStep,
        train: &'a Dataset,
        order: Vec<usize>,
        losses: Vec<f64>,
    }

    impl<'a> OnCpu<'a> {
        fn new(model: &Seq2Seq, train: &'a Dataset, hyperparameters: &Hyperparameters) -> Self {
            let step = fused::step(model, train, hyperparameters);
            Self { step, train, order: Vec::new(), losses: Vec::new() }
        }
    }

    impl Queue for OnCpu<'_> {
        fn set_order(&mut self, order: &[usize]) -> Result<()> {
            self.order = order.to_vec();
            Ok(())
        }

        fn add(&mut self, batch: Range<usize>, learning_rate: f32) -> Result<()> {
            self.step.settings.learning_rate = learning_rate;
            let windows = Windows { past: self.train.past(), future: self.train.future() };
            self.losses.push(self.step.train(windows, &self.order[batch]));
            Ok(())
        }

        fn losses(&mut self) -> Result<Vec<f64>> {
            Ok(std::mem::take(&mut self.losses))
        }

        fn weights(&self) -> Result<Vec<f32>> {
            Ok(self.step.weights().to_vec())
        }
    }

    /// Trains in a queue, and tells how many steps it took.
    fn in_a_queue(
        model: &mut Seq2Seq,
        (train, validation): (&Dataset, &Dataset),
        hyperparameters: &Hyperparameters,
        mut watch: Watch<'_>,
    ) -> (Result<History>, usize) {
        let mut engine =
            Queued::new(model, OnCpu::new(model, train, hyperparameters), watch.yields);
        let mut job =
            Job { hyperparameters, train, validation: Some(validation), checkpoint: None };
        let outcome =
            with_weights(model, |_, weights| run(&mut engine, weights, &mut job, &mut watch));
        let (.., steps) = engine.queue.step.memory();
        (outcome, steps as usize)
    }

    #[test]
    fn a_training_in_a_queue_follows_the_one_without() {
        let (train, validation) = scaled();
        for hyperparameters in [Hyperparameters { epochs: 4, ..Default::default() }, all_settings()]
        {
            let mut fused = Seq2Seq::stacked(2, &hyperparameters).unwrap();
            let mut queued = fused.clone();
            let expected = fit_with(&mut fused, &train, &validation, &hyperparameters, |_, _| {});
            let expected = expected.unwrap();
            let (mut steps, mut epochs) = (0, 0);
            let mut after_step = |step: &Step| {
                steps += 1;
                assert_eq!((step.epoch - 1) * step.steps + step.number, steps);
                ControlFlow::Continue(())
            };
            let mut after_epoch = |number, _: &Epoch| {
                epochs += 1;
                assert_eq!(number, epochs);
            };
            let watch = Watch {
                after_step: &mut after_step,
                after_epoch: &mut after_epoch,
                interrupted: &|| false,
                yields: false,
            };
            let parts = (&train, &validation);
            let found = in_a_queue(&mut queued, parts, &hyperparameters, watch).0.unwrap();
            assert_eq!((steps, epochs), (8, 4));
            assert_eq!(found.epochs().len(), expected.epochs().len());
            for (found, expected) in found.epochs().iter().zip(expected.epochs()) {
                let near = |found: f64, expected: f64| {
                    assert!((found - expected).abs() < 1e-3 * expected, "{found} {expected}");
                };
                near(found.loss, expected.loss);
                near(found.train_mse_all, expected.train_mse_all);
                near(found.validation_mse, expected.validation_mse);
            }
            let end = |model: &Seq2Seq| mse(&model.predict(&validation).unwrap(), &validation);
            let (found, expected) = (end(&queued).unwrap(), end(&fused).unwrap());
            assert!((found - expected).abs() < 1e-3 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn an_interrupt_ends_a_training_in_a_queue_and_the_model_keeps_its_weights() {
        let (train, validation) = scaled();
        let hyperparameters = all_settings();
        let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
        let steps = AtomicUsize::new(0);
        let mut after_step = |_: &Step| {
            steps.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        let watch = Watch {
            after_step: &mut after_step,
            after_epoch: &mut |_, _| {},
            interrupted: &|| steps.load(Ordering::Relaxed) >= 3,
            yields: false,
        };
        let before = flat_weights(&model);
        let parts = (&train, &validation);
        let (outcome, taken) = in_a_queue(&mut model, parts, &hyperparameters, watch);
        let error = outcome.unwrap_err();
        let Error::Interrupted { epoch, epochs: 4, step, steps: 2 } = error else {
            panic!("{error}")
        };
        assert_eq!(epoch, 2);
        // The steps that were queued together are all taken, and all counted.
        assert_eq!(2 + step, taken);
        assert_ne!(flat_weights(&model), before);
    }
}

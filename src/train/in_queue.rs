use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use super::course::Course;
use super::fit::{Last, Step, penalty};
use super::{End, Epoch, History, Hyperparameters};
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::level::Level;
use crate::kernels::seq2seq::Network;
use crate::layers::{flat_weights, set_flat_weights};
use crate::model::{Seq2Seq, predict_while};

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

/// Who is told of each step, and of each epoch; the first may end the training. The last is asked after
/// every step, and while the errors are measured.
pub(super) struct Watch<'a> {
    pub(super) after_step: &'a mut dyn FnMut(&Step) -> ControlFlow<End>,
    pub(super) after_epoch: &'a mut dyn FnMut(usize, &Epoch),
    pub(super) interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// Trains what has been checked. The queue has the weights of the model and the series of `train`; what
/// is measured after an epoch is predicted on the CPU.
pub(super) fn run(
    queue: &mut dyn Queue,
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    watch: Watch<'_>,
) -> Result<History> {
    let mut weights = flat_weights(model);
    let mut network = Network::new(model.network_shape(), &weights, Level::best());
    let measured = Epoch::measured(train)?;
    let mut course = Course::new(hyperparameters);
    let mut at_once = 1;
    while let Some(epoch) = course.next_epoch() {
        let start = Instant::now();
        let mut after_step = |step: &Step| {
            let flow = (watch.after_step)(step);
            if (watch.interrupted)() {
                return ControlFlow::Break(End::Stopped);
            }
            if flow.is_break() { flow } else { course.in_time() }
        };
        let (loss, step, flow) = train_epoch(
            queue,
            train,
            hyperparameters,
            epoch,
            &course,
            &mut at_once,
            &mut after_step,
        )?;
        weights = queue.weights()?;
        network.set_weights(&weights);
        let loss = loss + penalty(&weights, hyperparameters);
        let predict = |data: &Dataset| predict_while(&network, data, &|| !(watch.interrupted)());
        let (Some(of_train), Some(of_validation)) = (predict(&measured), predict(validation))
        else {
            if !loss.is_finite() {
                return Err(Epoch::diverged(epoch, loss, f64::NAN, hyperparameters));
            }
            set_flat_weights(model, &weights);
            return Err(Last { epoch, step, ..Last::of(train, hyperparameters) }.interrupted());
        };
        let parts = [(&measured, of_train), (validation, of_validation)];
        let result = Epoch::measure(epoch, loss, parts, start, hyperparameters)?;
        (watch.after_epoch)(epoch, &result);
        course.take(result, flow, || weights.clone());
    }
    let (history, best) = course.finish();
    set_flat_weights(model, best.as_deref().unwrap_or(&weights));
    Ok(history)
}

/// As in `fit`, but that the steps that were queued together are all taken before `after_step` is told of
/// them, and told of until it has had enough. Returns the mean loss, how many steps were taken, and what
/// `after_step` said last.
fn train_epoch(
    queue: &mut dyn Queue,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
    epoch: usize,
    course: &Course,
    at_once: &mut usize,
    after_step: &mut dyn FnMut(&Step) -> ControlFlow<End>,
) -> Result<(f64, usize, ControlFlow<End>)> {
    let Hyperparameters { batch_size, epochs, seed, .. } = *hyperparameters;
    let order = train.shuffled(seed, epoch);
    let batches = order.len().div_ceil(batch_size);
    let steps = batches.saturating_mul(epochs);
    let (mut total, mut number, mut flow) = (0.0, 0, ControlFlow::Continue(()));
    queue.set_order(&order)?;
    while number < batches && flow.is_continue() {
        let start = Instant::now();
        for batch in number..batches.min(number + *at_once) {
            let rate = course.learning_rate((epoch - 1) * batches + batch, steps);
            let first = batch * batch_size;
            let end = first.saturating_add(batch_size).min(order.len());
            queue.add(first..end, rate as f32)?;
        }
        for loss in queue.losses()? {
            total += loss;
            number += 1;
            if flow.is_continue() {
                flow = after_step(&Step { epoch, number, steps: batches, loss });
            }
        }
        if 2 * start.elapsed() < AT_ONCE {
            *at_once = at_once.saturating_mul(2).min(batches);
        }
    }
    Ok((total / number as f64, number, flow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SineCosine, WindowScaler, sine_cosine};
    use crate::error::Error;
    use crate::evaluate::mse;
    use crate::kernels::seq2seq::{Loss, TrainStep, Windows};
    use crate::train::fit::settings;
    use crate::train::{Schedule, fit_with};
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
    struct Queued<'a> {
        step: TrainStep,
        train: &'a Dataset,
        order: Vec<usize>,
        losses: Vec<f64>,
    }

    impl<'a> Queued<'a> {
        fn new(model: &Seq2Seq, train: &'a Dataset, hyperparameters: &Hyperparameters) -> Self {
            let step = TrainStep::new(
                model.network_shape(),
                flat_weights(model),
                train.past_steps(),
                train.future_steps(),
                Loss::HalfSum,
                settings(hyperparameters),
                Level::best(),
            );
            Self { step, train, order: Vec::new(), losses: Vec::new() }
        }
    }

    impl Queue for Queued<'_> {
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
            };
            let mut queue = Queued::new(&queued, &train, &hyperparameters);
            let found =
                run(&mut queue, &mut queued, &train, &validation, &hyperparameters, watch).unwrap();
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
        let mut queue = Queued::new(&model, &train, &hyperparameters);
        let steps = AtomicUsize::new(0);
        let mut after_step = |_: &Step| {
            steps.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        let watch = Watch {
            after_step: &mut after_step,
            after_epoch: &mut |_, _| {},
            interrupted: &|| steps.load(Ordering::Relaxed) >= 3,
        };
        let error = run(&mut queue, &mut model, &train, &validation, &hyperparameters, watch);
        let error = error.unwrap_err();
        let Error::Interrupted { epoch, epochs: 4, step, steps: 2 } = error else {
            panic!("{error}")
        };
        assert_eq!(epoch, 2);
        // The steps that were queued together are all taken, and all counted.
        let (.., taken) = queue.step.memory();
        assert_eq!(2 + step, taken as usize);
        assert_eq!(flat_weights(&model), queue.weights().unwrap());
    }
}

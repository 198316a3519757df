use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device as DfdxDevice, SumTo};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::course::Course;
#[cfg(feature = "cuda")]
use super::in_queue::{self, Watch};
use super::{End, Epoch, History, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::optimizer::Settings;
use crate::kernels::cpu::seq2seq::{Loss, TrainStep, Windows};
#[cfg(feature = "cuda")]
use crate::kernels::cuda;
use crate::layers::{flat_weights, set_flat_weights};
use crate::model::Seq2Seq;
use crate::{Device, Sequence};

/// Characters of the bar of progress.
const BAR: usize = 15;
/// How long an epoch may be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// Trains `model` on `train` and watches it on `validation`, with the optimiser of the
/// hyperparameters (Adam, if nothing else is said) on the [`loss`] plus the penalty λ · ½ Σ w² over
/// all weights. Prints what it trains, on what, a line an epoch, and where
/// an epoch is long, a line every two seconds with the loss of the steps since the last one.
///
/// Scale both parts first; of the hyperparameters, the sizes and the validation fraction have done
/// their work by now and are only printed.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when a hyperparameter is outside its range,
/// [`Error::Shape`](crate::Error::Shape) when the parts do not fit each other or the model,
/// [`Error::Data`](crate::Error::Data) when the error stops being a number: the model then keeps
/// the weights that it had before. [`Error::Device`](crate::Error::Device) when the device of the
/// hyperparameters is not there, or its memory is full.
pub fn fit(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<History> {
    check(model, train, validation, hyperparameters)?;
    print_setup(model, train, validation, hyperparameters);
    go_on(model, train, validation, hyperparameters, None)
}

/// As [`fit`], and keeps a checkpoint at `path`, renewed after every epoch: the model and all that the
/// training needs to go on. [`resume`] goes on from it, in another kernel too. A file that is there is
/// replaced after the first epoch. [`Seq2Seq::load`] reads the model in it.
///
/// # Errors
/// As [`fit`], and [`Error::Io`](crate::Error::Io) when the checkpoint cannot be written: the model
/// then has the weights of the last epoch. [`Error::Setting`](crate::Error::Setting) when the device is
/// not the CPU.
pub fn fit_with_checkpoint(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    path: impl AsRef<Path>,
) -> Result<History> {
    check(model, train, validation, hyperparameters)?;
    if hyperparameters.device != Device::Cpu {
        let allowed = "Device::Cpu where a checkpoint is kept";
        return Err(Error::setting("device", hyperparameters.device, allowed));
    }
    print_setup(model, train, validation, hyperparameters);
    let checkpoint = Checkpoint::new(path.as_ref(), train);
    go_on(model, train, validation, hyperparameters, Some(checkpoint))
}

/// Goes on with a training that [`fit_with_checkpoint`] began, from the last epoch that it completed,
/// on the same series: the result is, bit for bit, that of a training without interruption.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when `path` cannot be read, [`Error::Weights`](crate::Error::Weights)
/// when it is not a checkpoint, [`Error::Data`](crate::Error::Data) when the training part is another
/// one, and as [`fit_with_checkpoint`].
pub fn resume(
    path: impl AsRef<Path>,
    train: &Dataset,
    validation: &Dataset,
) -> Result<(Seq2Seq, History)> {
    let (checkpoint, mut model, hyperparameters) = Checkpoint::read(path.as_ref(), train)?;
    check(&model, train, validation, &hyperparameters)?;
    println!("going on after epoch {} of {}", checkpoint.epochs(), hyperparameters.epochs);
    let history = go_on(&mut model, train, validation, &hyperparameters, Some(checkpoint))?;
    Ok((model, history))
}

fn go_on(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    checkpoint: Option<Checkpoint>,
) -> Result<History> {
    let done = checkpoint.as_ref().map_or(0, Checkpoint::epochs);
    let mut progress = Progress::new(hyperparameters, done);
    let after_step = |step: &Step| {
        progress.print_step(step);
        ControlFlow::Continue(())
    };
    let after_epoch = |number, epoch: &Epoch| print_epoch(number, hyperparameters.epochs, epoch);
    let history =
        run(model, train, validation, hyperparameters, checkpoint, after_step, after_epoch)?;
    println!("{history}");
    Ok(history)
}

/// As [`fit`], but prints nothing: `after_epoch` is told the number of each epoch, from 1, and what
/// came out of it. For sweeps, and for progress of one's own.
///
/// # Errors
/// As [`fit`].
pub fn fit_with(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    after_epoch: impl FnMut(usize, &Epoch),
) -> Result<History> {
    check(model, train, validation, hyperparameters)?;
    run(model, train, validation, hyperparameters, None, |_| ControlFlow::Continue(()), after_epoch)
}

/// Trains what has been checked, until `after_step` says that it is enough.
pub(super) fn run(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    mut checkpoint: Option<Checkpoint>,
    mut after_step: impl FnMut(&Step) -> ControlFlow<End> + Send,
    mut after_epoch: impl FnMut(usize, &Epoch),
) -> Result<History> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = hyperparameters.device {
        let watch = Watch { after_step: &mut after_step, after_epoch: &mut after_epoch };
        return crate::cuda::guarded(gpu, || {
            run_on_gpu(gpu, model, train, validation, hyperparameters, watch)
        });
    }
    let mut step = TrainStep::new(
        model.network_shape(),
        flat_weights(model),
        train.past_steps(),
        train.future_steps(),
        Loss::HalfSum,
        settings(hyperparameters),
        Level::best(),
    );
    let measured = Epoch::measured(train)?;
    let mut course = match &mut checkpoint {
        Some(checkpoint) => checkpoint.restore(&mut step, hyperparameters),
        None => Course::new(hyperparameters),
    };
    while let Some(epoch) = course.next_epoch() {
        let start = Instant::now();
        let mut after_step = |step: &Step| match after_step(step) {
            ControlFlow::Continue(()) => course.in_time(),
            ended => ended,
        };
        let (loss, flow) = train_epoch(&mut step, train, hyperparameters, epoch, &mut after_step);
        let predict = |data: &Dataset| {
            step.network().predict(data.past(), data.past_steps(), data.future_steps())
        };
        let parts = [(&measured, predict(&measured)), (validation, predict(validation))];
        let result = Epoch::measure(epoch, loss, parts, start, hyperparameters)?;
        after_epoch(epoch, &result);
        course.take(result, flow, || step.weights().to_vec());
        if let Some(checkpoint) = &checkpoint
            && flow.is_continue()
        {
            // First the model, so that nothing is lost when the file cannot be written.
            set_flat_weights(model, step.weights());
            checkpoint.write(model, &step, &course, hyperparameters)?;
        }
    }
    let (history, best) = course.finish();
    set_flat_weights(model, best.as_deref().unwrap_or(step.weights()));
    Ok(history)
}

pub(super) fn settings(hyperparameters: &Hyperparameters) -> Settings {
    Settings {
        optimizer: hyperparameters.optimizer,
        learning_rate: hyperparameters.learning_rate as f32,
        weight_decay: hyperparameters.weight_decay as f32,
        clip_norm: hyperparameters.clip_norm,
    }
}

/// As [`run`], on a GPU.
#[cfg(feature = "cuda")]
fn run_on_gpu(
    gpu: usize,
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    watch: Watch<'_>,
) -> Result<History> {
    Device::Cuda(gpu).check()?;
    let mut step = cuda::TrainStep::new(
        gpu,
        &model.network_shape(),
        &flat_weights(model),
        Windows { past: train.past(), future: train.future() },
        [train.past_steps(), train.future_steps()],
        hyperparameters.batch_size,
        Loss::HalfSum,
        settings(hyperparameters),
    )?;
    step.allow_tf32(hyperparameters.tf32)?;
    in_queue::run(&mut step, model, train, validation, hyperparameters, watch)
}

/// Refuses what can not be trained, before anything is done.
pub(super) fn check(
    model: &Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<()> {
    hyperparameters.check()?;
    for (part, data) in [("training", train), ("validation", validation)] {
        let features = data.features();
        check_size(
            format!("the number of features of the {part} part"),
            model.encoder().inputs(),
            features,
        )?;
        let what = "the number of outputs of the model's dense layer";
        check_size(what, data.targets(), model.dense().outputs())?;
    }
    Ok(())
}

/// The source's loss: the mean over the batch of ½ Σ (prediction − future)², summed over the time
/// steps and features. Both are `(B, F, D)`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when the two have different shapes.
pub fn loss<E: Dtype + From<f32>, D: DfdxDevice<E>, T: Tape<E, D>>(
    prediction: Sequence<E, D, T>,
    future: Sequence<E, D>,
) -> Result<Tensor<(), E, D, T>> {
    check_prediction(*future.shape(), *prediction.shape())?;
    let (batch, ..) = *future.shape();
    Ok((prediction - future).square().sum() / E::from(2.0 * batch as f32))
}

/// Refuses a prediction that has another shape than what it is compared with.
pub(super) fn check_prediction(
    (batch, steps, features): (usize, usize, usize),
    found: (usize, usize, usize),
) -> Result<()> {
    check_size("the batch axis of the prediction", batch, found.0)?;
    check_size("the time axis of the prediction", steps, found.1)?;
    check_size("the features axis of the prediction", features, found.2)
}

/// One step of an epoch.
pub(super) struct Step {
    /// Number of the epoch, from 1.
    pub(super) epoch: usize,
    /// Number of the step in its epoch, from 1.
    pub(super) number: usize,
    /// Steps of an epoch.
    pub(super) steps: usize,
    /// Loss of the batch, before the step.
    pub(super) loss: f64,
}

/// One pass over the training part, or as much of it as `after_step` allows; returns the mean loss of
/// its batches, with the penalty on the weights at its end, and what `after_step` said last.
fn train_epoch(
    step: &mut TrainStep,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
    epoch: usize,
    after_step: &mut (impl FnMut(&Step) -> ControlFlow<End> + Send),
) -> (f64, ControlFlow<End>) {
    let Hyperparameters { learning_rate, schedule, batch_size, epochs, .. } = *hyperparameters;
    let windows = Windows { past: train.past(), future: train.future() };
    let order = train.shuffled(hyperparameters.seed, epoch);
    let batches = order.len().div_ceil(batch_size);
    let steps = batches.saturating_mul(epochs);
    let (mut total, mut number, mut flow) = (0.0, 0, ControlFlow::Continue(()));
    // Enters the thread pool once, and not for every step.
    rayon::scope(|_| {
        for batch in order.chunks(batch_size) {
            let done = (epoch - 1) * batches + number;
            step.settings.learning_rate = schedule.rate(learning_rate, done, steps) as f32;
            let loss = step.train(windows, batch);
            total += loss;
            number += 1;
            flow = after_step(&Step { epoch, number, steps: batches, loss });
            if flow.is_break() {
                break;
            }
        }
    });
    (total / number as f64 + penalty(step.weights(), hyperparameters), flow)
}

/// The penalty on the weights, λ · ½ Σ w².
pub(super) fn penalty(weights: &[f32], hyperparameters: &Hyperparameters) -> f64 {
    let squares = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    hyperparameters.weight_decay * 0.5 * squares
}

fn print_setup(
    model: &Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) {
    println!("devices found:");
    for device in Device::available() {
        println!("  {device}");
    }
    println!("training on: {}", hyperparameters.device);
    if hyperparameters.device == Device::Cpu {
        match Device::Cuda(0).check() {
            Err(Error::Device { reason, .. }) if cfg!(feature = "cuda") => {
                println!("(no GPU is used: {reason})");
            }
            _ => println!("(no GPU is used: these networks are small, and the CPU is fine)"),
        }
    }
    println!("\ntraining part\n{train}\nvalidation part\n{validation}");
    println!("\n{hyperparameters}\n\n{model}\n");
}

/// Lines within an epoch that takes its time.
struct Progress {
    hyperparameters: Hyperparameters,
    started: Instant,
    /// Epochs that were done when it started.
    first: f64,
    shown: Instant,
    total: f64,
    steps: usize,
}

impl Progress {
    fn new(hyperparameters: &Hyperparameters, epochs: usize) -> Self {
        let (hyperparameters, now) = (*hyperparameters, Instant::now());
        let first = epochs as f64;
        Self { hyperparameters, started: now, first, shown: now, total: 0.0, steps: 0 }
    }

    fn print_step(&mut self, step: &Step) {
        if step.number == 1 {
            self.begin_line();
        }
        self.total += step.loss;
        self.steps += 1;
        if self.shown.elapsed() >= SILENCE && step.number < step.steps {
            let part = step.number as f64 / step.steps as f64;
            let done = (step.epoch - 1) as f64 + part;
            let elapsed = self.started.elapsed();
            println!(
                "{}  loss {:.5} (half the sum of squares)  {:.0} s to go",
                label(step.epoch, done, self.hyperparameters.epochs),
                self.total / self.steps as f64,
                seconds_left(&self.hyperparameters, elapsed, done, self.first)
            );
            self.begin_line();
        }
    }

    fn begin_line(&mut self) {
        (self.shown, self.total, self.steps) = (Instant::now(), 0.0, 0);
    }
}

/// How long a training still takes, of which `done` epochs are done, after `elapsed` for those but the
/// `first` ones.
pub(super) fn seconds_left(
    hyperparameters: &Hyperparameters,
    elapsed: Duration,
    done: f64,
    first: f64,
) -> f64 {
    let elapsed = elapsed.as_secs_f64();
    let left = elapsed / (done - first) * (hyperparameters.epochs as f64 - done);
    let allowed = hyperparameters.max_seconds.map_or(f64::INFINITY, |seconds| seconds - elapsed);
    left.min(allowed).max(0.0)
}

fn print_epoch(epoch: usize, epochs: usize, result: &Epoch) {
    println!(
        "{}  train MSE {:.5}  validation MSE {:.5}  {:.3} s",
        label(epoch, epoch as f64, epochs),
        result.train_mse,
        result.validation_mse,
        result.seconds
    );
}

/// The number of the epoch, and a bar for the epochs that are done.
fn label(epoch: usize, done: f64, epochs: usize) -> String {
    let bar = "#".repeat((done * BAR as f64 / epochs as f64) as usize);
    let width = epochs.to_string().len();
    format!("epoch {epoch:>width$}/{epochs} [{bar:-<BAR$}]")
}

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device as DfdxDevice, SumTo};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::checkpoint::Checkpoint;
use super::course::Course;
#[cfg(feature = "cuda")]
use super::in_queue::{self, Watch};
use super::progress::Progress;
use super::{End, Epoch, History, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::interrupt;
use crate::kernels::level::Level;
use crate::kernels::optimizer::Settings;
use crate::kernels::seq2seq::{Loss, TrainStep, Windows};
#[cfg(feature = "cuda")]
use crate::kernels_cuda;
use crate::layers::{flat_weights, set_flat_weights};
use crate::model::{Seq2Seq, predict_in_chunks, predict_while};
use crate::{Device, Sequence};

/// Trains `model` on `train` and watches it on `validation`, with the optimiser of the
/// hyperparameters (Adam, if nothing else is said) on the [`loss`] plus the penalty λ · ½ Σ w² over
/// all weights. Prints what it trains and on what, and shows its progress:
/// - in a notebook, one output that is renewed: epoch, errors, the time left, and the errors so far as a
///   curve;
/// - on a terminal, a bar with the same facts;
/// - elsewhere, a line an epoch, and where an epoch is long, a line every two seconds with the loss of
///   the steps since the last one.
///
/// An interrupt (Ctrl-C, or *Interrupt the kernel*) ends the training after the current step. The model
/// keeps the weights of that step.
///
/// Scale both parts first; of the hyperparameters, the sizes and the validation fraction have done
/// their work by now and are only printed.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) when a hyperparameter is outside its range,
/// [`Error::Shape`](crate::Error::Shape) when the parts do not fit each other or the model,
/// [`Error::Data`](crate::Error::Data) when the error stops being a number: the model then keeps
/// the weights that it had before. [`Error::Device`](crate::Error::Device) when the device of the
/// hyperparameters is not there, or its memory is full. [`Error::Interrupted`](crate::Error::Interrupted)
/// after an interrupt.
pub fn fit(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<History> {
    check(model, train, validation, hyperparameters)?;
    let work = begin(1, train, hyperparameters)?;
    print_setup(model, train, validation, hyperparameters);
    go_on(model, train, validation, hyperparameters, None, &work)
}

/// As [`fit`], and keeps a checkpoint at `path`: the model and all that the training needs to go on.
/// [`resume`] goes on from it, in another kernel too, and [`Seq2Seq::load`] reads the model in it.
///
/// The file, or one that is there, is replaced after the first epoch, then at most once a second
/// (`RENEWAL` in `src/train/checkpoint.rs`), and when the training ends, be it by an interrupt or an
/// error. Then it has all epochs that were completed. Where the process is killed or the power fails, what
/// is lost is the last second of epochs and the one under way.
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
    let work = begin(1, train, hyperparameters)?;
    print_setup(model, train, validation, hyperparameters);
    let checkpoint = Checkpoint::new(path.as_ref(), train, validation);
    go_on(model, train, validation, hyperparameters, Some(checkpoint), &work)
}

/// Goes on with a training that [`fit_with_checkpoint`] began, from the last epoch in the file, on the
/// same series: on one instruction set the result is, bit for bit, that of a training without
/// interruption. On another one, as on another machine, it differs in rounding, which a printed line says:
/// AVX2 and AVX-512 by about 1e-3 after some 250 steps.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when `path` cannot be read, [`Error::Weights`](crate::Error::Weights)
/// when it is not a checkpoint or one of another version, [`Error::Data`](crate::Error::Data) when the
/// training or the validation part is another one, and as [`fit_with_checkpoint`].
pub fn resume(
    path: impl AsRef<Path>,
    train: &Dataset,
    validation: &Dataset,
) -> Result<(Seq2Seq, History)> {
    let (checkpoint, mut model, hyperparameters) =
        Checkpoint::read(path.as_ref(), train, validation)?;
    check(&model, train, validation, &hyperparameters)?;
    let done = checkpoint.epochs().len();
    let work = begin(done + 1, train, &hyperparameters)?;
    println!("going on after epoch {done} of {}", hyperparameters.epochs);
    if let Some(line) = checkpoint.other_instructions() {
        println!("{line}");
    }
    let history = go_on(&mut model, train, validation, &hyperparameters, Some(checkpoint), &work)?;
    Ok((model, history))
}

fn go_on(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    checkpoint: Option<Checkpoint>,
    work: &interrupt::Watch,
) -> Result<History> {
    let done = checkpoint.as_ref().map_or(&[][..], Checkpoint::epochs);
    let progress = Mutex::new(Progress::new(hyperparameters, done));
    let shown = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = Watched {
        after_step: |step: &Step| {
            shown().after_step(step);
            ControlFlow::Continue(())
        },
        after_epoch: |number, epoch: &Epoch| shown().after_epoch(number, epoch),
        interrupted: || work.interrupted(),
        yields: false,
    };
    let outcome = run(model, train, validation, hyperparameters, checkpoint, watched);
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).end(&outcome);
    if let Ok(history) = &outcome {
        println!("{history}");
    }
    outcome
}

/// Begins a training with epoch number `epoch`.
///
/// # Errors
/// [`Error::Interrupted`] when the cell has been interrupted before.
pub(super) fn begin(
    epoch: usize,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<interrupt::Watch> {
    let work = interrupt::watch();
    if work.interrupted() {
        return Err(Last { epoch, ..Last::of(train, hyperparameters) }.interrupted());
    }
    Ok(work)
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
    let work = begin(1, train, hyperparameters)?;
    let watched = Watched {
        after_step: |_: &Step| ControlFlow::Continue(()),
        after_epoch,
        interrupted: || work.interrupted(),
        yields: false,
    };
    run(model, train, validation, hyperparameters, None, watched)
}

/// Who watches a training.
pub(super) struct Watched<S, E, I> {
    /// Told of every step; may end the training.
    pub(super) after_step: S,
    /// Told of every epoch.
    pub(super) after_epoch: E,
    /// Asked after every step, and while the errors are measured.
    pub(super) interrupted: I,
    /// Whether other work on the thread pool comes first. Otherwise an epoch holds a thread of the pool
    /// from its beginning to its end, and with one thread all others wait for as long.
    pub(super) yields: bool,
}

/// Trains what has been checked, until the last epoch or until `watched` ends it.
pub(super) fn run(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
    mut checkpoint: Option<Checkpoint>,
    watched: Watched<
        impl FnMut(&Step) -> ControlFlow<End> + Send,
        impl FnMut(usize, &Epoch),
        impl Fn() -> bool + Sync,
    >,
) -> Result<History> {
    let Watched { mut after_step, mut after_epoch, interrupted, yields } = watched;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = hyperparameters.device {
        let watch = Watch {
            after_step: &mut after_step,
            after_epoch: &mut after_epoch,
            interrupted: &interrupted,
        };
        return crate::device::cuda::guarded(gpu, || {
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
        let mut last = Last { epoch, ..Last::of(train, hyperparameters) };
        let mut after_step = |step: &Step| {
            last.step = step.number;
            let flow = after_step(step);
            if yields {
                rayon::yield_now();
            }
            if interrupted() {
                return ControlFlow::Break(End::Stopped);
            }
            if flow.is_break() { flow } else { course.in_time() }
        };
        let (loss, flow) =
            train_epoch(&mut step, train, hyperparameters, epoch, &course, &mut after_step);
        let predict_while = if yields { predict_in_chunks } else { predict_while };
        let predict = |data: &Dataset| predict_while(step.network(), data, &|| !interrupted());
        let result = match (predict(&measured), predict(validation)) {
            (Some(of_train), Some(of_validation)) => {
                let parts = [(&measured, of_train), (validation, of_validation)];
                Epoch::measure(epoch, loss, parts, start, hyperparameters)
            }
            _ if loss.is_finite() => Err(last.interrupted()),
            _ => Err(Epoch::diverged(epoch, loss, f64::NAN, hyperparameters)),
        };
        if let Some(checkpoint) = &mut checkpoint
            && (result.is_err() || flow.is_break())
        {
            // This epoch is not for the file, but those before it are: the model is as they left it.
            checkpoint.finish(model, &course, hyperparameters)?;
        }
        if let Err(Error::Interrupted { .. }) = result {
            set_flat_weights(model, step.weights());
        }
        let result = result?;
        after_epoch(epoch, &result);
        course.take(result, flow, || step.weights().to_vec());
        if let Some(checkpoint) = &mut checkpoint
            && flow.is_continue()
        {
            // First the model, so that nothing is lost when the file cannot be written.
            set_flat_weights(model, step.weights());
            checkpoint.after_epoch(model, &step, &course, hyperparameters)?;
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
    let mut step = kernels_cuda::TrainStep::new(
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

/// The last step of a training.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// Number of its epoch, from 1.
    pub(super) epoch: usize,
    pub(super) epochs: usize,
    /// Its number in the epoch, from 1.
    pub(super) step: usize,
    pub(super) steps: usize,
}

impl Last {
    /// Of a training that has not begun.
    pub(super) fn of(train: &Dataset, hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { epochs, batch_size, .. } = *hyperparameters;
        Self { epoch: 1, epochs, step: 0, steps: train.len().div_ceil(batch_size) }
    }

    /// The error of a training that was interrupted after it.
    pub(super) fn interrupted(self) -> Error {
        let Self { epoch, epochs, step, steps } = self;
        Error::Interrupted { epoch, epochs, step, steps }
    }
}

/// One pass over the training part, or as much of it as `after_step` allows; returns the mean loss of
/// its batches, with the penalty on the weights at its end, and what `after_step` said last.
fn train_epoch(
    step: &mut TrainStep,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
    epoch: usize,
    course: &Course,
    after_step: &mut (impl FnMut(&Step) -> ControlFlow<End> + Send),
) -> (f64, ControlFlow<End>) {
    let Hyperparameters { batch_size, epochs, .. } = *hyperparameters;
    let windows = Windows { past: train.past(), future: train.future() };
    let order = train.shuffled(hyperparameters.seed, epoch);
    let batches = order.len().div_ceil(batch_size);
    let steps = batches.saturating_mul(epochs);
    let (mut total, mut number, mut flow) = (0.0, 0, ControlFlow::Continue(()));
    // Enters the thread pool once, and not for every step.
    rayon::scope(|_| {
        for batch in order.chunks(batch_size) {
            let done = (epoch - 1) * batches + number;
            step.settings.learning_rate = course.learning_rate(done, steps) as f32;
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
            _ => println!("(no GPU is used: the crate is built without feature `cuda`)"),
        }
    }
    println!("\ntraining part\n{train}\nvalidation part\n{validation}");
    println!("\n{hyperparameters}\n\n{model}\n");
}

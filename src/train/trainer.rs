use dfdx::tensor_ops::Device as DfdxDevice;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::background::Training;
use super::checkpoint::{Checkpoint, Found};
use super::engine::{Step, Watch};
use super::engines::tape::{Closure, OnTape, Traced};
use super::progress::{Facts, Progress};
use super::run::{Job, Trainable};
use crate::Device;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::history::{Epoch, History};
use crate::interrupt;
use crate::layers::{Parameters, RecurrentCell};
use crate::model::Seq2Seq;
use crate::settings::Hyperparameters;

/// A training to be: what is chosen first, then [`fit`](Trainer::fit) or one of the others.
///
/// Every network has the same training: the [`loss`](crate::train::loss()) plus the penalty λ · ½ Σ w² over all
/// weights, the optimiser and schedule of the hyperparameters, early stopping and time limit, checkpoints,
/// and trainings in the background. It shows what it trains and on what, and its progress:
/// - in a notebook, one output that is renewed: epoch, errors, the time left, and the errors so far as a
///   curve;
/// - on a terminal, a bar with the same facts;
/// - elsewhere, a line an epoch, and where an epoch is long, a line every two seconds with the loss of
///   the steps since the last one.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let data = sine_cosine(SineCosine { series: 100, ..Default::default() })?;
/// let (train, validation) = data.split(0.15)?;
/// let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
/// let mut model = Seq2Seq::stacked(2, &hyperparameters)?;
/// let history = Trainer::new(&hyperparameters).validation(&validation).fit(&mut model, &train)?;
/// assert_eq!(history.epochs().len(), 2);
///
/// // A network of one's own, and no validation part.
/// let dev = Cpu::default();
/// let mut init = Initializer::new(42);
/// let mut model = (Gru::new(2, &[8], &mut init, &dev)?, Dense::new(8, 20, &mut init, &dev)?);
/// let forward = |(gru, dense): &(Gru, Dense), past: Traced| {
///     let (last, _) = gru.forward_last(past, None)?;
///     let series = last.shape().0;
///     Ok(dense.forward_step(last)?.reshape_like(&(series, 10, 2)))
/// };
/// let history = Trainer::new(&hyperparameters).quiet().fit_on_tape(&mut model, &train, forward)?;
/// assert!(history.last().validation_mse.is_nan());
/// # Ok::<(), Error>(())
/// ```
///
/// # Ends
/// An interrupt (Ctrl-C, or *Interrupt the kernel*) ends a training after the current step, and the model keeps
/// the weights of that step. After any other error, or a panic of its forward pass, it has the weights of the
/// last epoch before, which are those it came with where there was none.
///
/// # Errors
/// Whatever begins a training returns
/// - [`Error::Setting`] when a hyperparameter is outside its range, when there is a patience and no
///   validation part, when a dropout is set on the tape, and when a training on a GPU has a checkpoint,
///   dropout or other cells than GRUs,
/// - [`Error::Shape`] when the parts do not fit each other or the model,
/// - [`Error::Diverged`] when the loss or the error on the training part is no number, and [`Error::Data`]
///   when the error on the validation part alone is none,
/// - [`Error::Device`] when the device of the hyperparameters is not there, or its memory is full,
/// - [`Error::Interrupted`] after an interrupt,
/// - [`Error::Io`] when the checkpoint cannot be written.
pub struct Trainer<'a> {
    hyperparameters: Hyperparameters,
    validation: Option<&'a Dataset>,
    checkpoint: Option<PathBuf>,
    found: Option<Found>,
    quiet: bool,
    at_every_step: bool,
    after_epoch: Option<AfterEpoch<'a>>,
}

type AfterEpoch<'a> = Box<dyn FnMut(usize, &Epoch) + 'a>;

impl<'a> Trainer<'a> {
    /// A training with these hyperparameters. `hidden_size`, `num_layers` and `validation_fraction` are only
    /// printed here: the model and the parts are there already. On the tape, the weights are on a device, and
    /// `device` and `tf32` are not asked; `device` has to be there all the same.
    pub fn new(hyperparameters: &Hyperparameters) -> Self {
        Self {
            hyperparameters: *hyperparameters,
            validation: None,
            checkpoint: None,
            found: None,
            quiet: false,
            at_every_step: false,
            after_epoch: None,
        }
    }

    /// The training whose [`checkpoint`](Trainer::checkpoint) is at `path`, with its hyperparameters. It goes on
    /// from the last epoch in the file, on the same series, whatever the weights of the model are: on one
    /// instruction set the result is, bit for bit, that of a training without interruption. On another
    /// one, as on another machine, it differs in rounding, which a printed line says: AVX2 and AVX-512 by about
    /// 1e-3 after some 250 steps. `max_seconds` begin anew, and a [`Dropout`](crate::layers::Dropout) on the tape begins its draws anew.
    ///
    /// # Errors
    /// [`Error::Io`] when `path` cannot be read, [`Error::Weights`] when it is not a checkpoint or one of
    /// another version. Later, [`Error::Weights`] when the model is another one, and [`Error::Data`] when
    /// the training or the validation part is.
    pub fn resume(path: impl AsRef<Path>) -> Result<Self> {
        let found = Found::read(path.as_ref())?;
        let trainer = Self::new(found.hyperparameters()).checkpoint(path);
        Ok(Self { found: Some(found), ..trainer })
    }

    /// Measures the errors on this part, too; early stopping needs it. Without one, the validation errors of
    /// the [`History`] are NaN.
    pub fn validation(self, part: &'a Dataset) -> Self {
        Self { validation: Some(part), ..self }
    }

    /// Keeps a checkpoint at `path`: the model and all that [`Trainer::resume`] needs to go on, in another
    /// process too. [`Seq2Seq::load`] and [`load_weights`](crate::model::load_weights) read the model in it.
    ///
    /// The file, or one that is there, is replaced after the first epoch, then at most once a second
    /// (`RENEWAL` in `src/train/checkpoint.rs`), and when the training ends, be it by an interrupt or an
    /// error. Then it has all epochs that were completed. Where the process is killed or the power fails,
    /// the last second of epochs and the one under way are lost.
    pub fn checkpoint(self, path: impl AsRef<Path>) -> Self {
        Self { checkpoint: Some(path.as_ref().to_owned()), ..self }
    }

    /// Prints nothing.
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Tells `after_epoch` the number of each epoch, from 1, and its errors.
    pub fn after_epoch(self, after_epoch: impl FnMut(usize, &Epoch) + 'a) -> Self {
        Self { after_epoch: Some(Box::new(after_epoch)), ..self }
    }

    /// For a network on the tape that predicts the next F steps **at every step** of the past: its forward
    /// pass gives `(B, P, F·O)`, and the loss is the mean over all P steps, which tells the network much
    /// more. The prediction of the last step is the forecast, which the [`History`] measures.
    pub fn at_every_step(self) -> Self {
        Self { at_every_step: true, ..self }
    }

    /// Trains `model` on `train`, on fused kernels. Scale both parts first.
    ///
    /// # Errors
    /// As [`Trainer`] says.
    pub fn fit<C: RecurrentCell>(self, model: &mut Seq2Seq<C>, train: &Dataset) -> Result<History> {
        self.refuse_every_step()?;
        self.in_the_foreground(model, train)
    }

    /// Trains any network that a cell has put together, on dfdx's tape: `forward` is its forward pass, from the
    /// past `(B, P, D)` to the prediction `(B, F, O)`. It computes on the device that the weights are on.
    /// [`Trainer::fit`] trains a [`Seq2Seq`] faster.
    ///
    /// # Errors
    /// As [`Trainer`] says, [`Error::Training`] when the model has no weights, and whatever `forward` returns.
    pub fn fit_on_tape<M: Parameters<f32, D>, D: DfdxDevice<f32>>(
        self,
        model: &mut M,
        train: &Dataset,
        forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>>,
    ) -> Result<History> {
        let (at_every_step, network) = (self.at_every_step, &mut Closure { model, forward });
        self.in_the_foreground(&mut OnTape { network, at_every_step }, train)
    }

    /// Starts to train a copy of `model` in the background, and returns at once. Nothing is printed.
    ///
    /// # Errors
    /// As [`Trainer`] says, for what is refused before it trains; and [`Error::Training`] when the system has
    /// no thread left, or with an [`after_epoch`](Trainer::after_epoch), which cannot leave its thread.
    pub fn spawn<C: RecurrentCell>(
        mut self,
        model: &Seq2Seq<C>,
        train: &Dataset,
    ) -> Result<Training<Seq2Seq<C>>> {
        self.refuse_every_step()?;
        let mut model = model.clone();
        let checked = self.check(&mut model, train)?;
        self.in_the_background(train, checked, move |job, watch| {
            let history = model.train(job, watch)?;
            Ok((model, history))
        })
    }

    /// As [`Trainer::spawn`], for a network on the tape as in [`Trainer::fit_on_tape`].
    ///
    /// # Errors
    /// As [`Trainer::spawn`] and [`Trainer::fit_on_tape`].
    pub fn spawn_on_tape<M, D>(
        mut self,
        mut model: M,
        train: &Dataset,
        forward: impl Fn(&M, Traced<D>) -> Result<Traced<D>> + Send + 'static,
    ) -> Result<Training<M>>
    where
        M: Parameters<f32, D> + Send + 'static,
        D: DfdxDevice<f32>,
    {
        let at_every_step = self.at_every_step;
        let network = &mut Closure { model: &mut model, forward: &forward };
        let checked = self.check(&mut OnTape { network, at_every_step }, train)?;
        self.in_the_background(train, checked, move |job, watch| {
            let network = &mut Closure { model: &mut model, forward };
            let history = OnTape { network, at_every_step }.train(job, watch)?;
            Ok((model, history))
        })
    }

    fn refuse_every_step(&self) -> Result<()> {
        let allowed = "false for a Seq2Seq, which predicts after the last step";
        match self.at_every_step {
            true => Err(Error::setting("at_every_step", true, allowed)),
            false => Ok(()),
        }
    }

    /// Refuses what cannot be trained, and gives `model` the weights of the checkpoint that it goes on from.
    fn check(&mut self, model: &mut dyn Trainable, train: &Dataset) -> Result<Option<Checkpoint>> {
        let Hyperparameters { patience, device, .. } = self.hyperparameters;
        self.hyperparameters.check()?;
        if let (Some(patience), None) = (patience, self.validation) {
            return Err(Error::setting("patience", patience, "None without a validation part"));
        }
        model.check(train, self.validation, &self.hyperparameters)?;
        let Some(path) = &self.checkpoint else { return Ok(None) };
        if device != Device::Cpu {
            return Err(Error::setting("device", device, "Device::Cpu where a checkpoint is kept"));
        }
        let (parts, found) = ((train, self.validation), self.found.take());
        let checkpoint =
            Checkpoint::new(path, model.layout(), &self.hyperparameters, parts, found)?;
        if let Some(found) = checkpoint.found() {
            model.load(found)?;
        }
        Ok(Some(checkpoint))
    }

    #[inline(never)]
    fn in_the_foreground(mut self, model: &mut dyn Trainable, train: &Dataset) -> Result<History> {
        let checkpoint = self.check(model, train)?;
        let Self { ref hyperparameters, validation, quiet, mut after_epoch, .. } = self;
        let found = checkpoint.as_ref().and_then(Checkpoint::found);
        let done = found.map_or(&[][..], Found::epochs);
        let work = interrupt::watch();
        if work.interrupted() {
            let Hyperparameters { epochs, batch_size, .. } = *hyperparameters;
            let (epoch, steps) = (done.len() + 1, train.len().div_ceil(batch_size));
            return Err(Error::Interrupted { epoch, epochs, step: 0, steps });
        }
        let progress = (!quiet).then(|| {
            match found {
                Some(found) => print_resumed(found),
                None => print_setup(model, train, validation, hyperparameters),
            }
            Mutex::new(Progress::new(hyperparameters, done))
        });
        let shown = || progress.as_ref().map(|p| p.lock().unwrap_or_else(PoisonError::into_inner));
        let mut watch = Watch {
            after_step: &mut |step: &Step| {
                shown().iter_mut().for_each(|progress| progress.after_step(step));
                ControlFlow::Continue(())
            },
            after_epoch: &mut |number, epoch| {
                shown().iter_mut().for_each(|progress| progress.after_epoch(number, epoch));
                after_epoch.iter_mut().for_each(|tell| tell(number, epoch));
            },
            interrupted: &|| work.interrupted(),
            yields: false,
        };
        let mut job = Job { hyperparameters, train, validation, checkpoint };
        let outcome = model.train(&mut job, &mut watch);
        if let Some(progress) = progress {
            progress.into_inner().unwrap_or_else(PoisonError::into_inner).end(&outcome);
            if let Ok(history) = &outcome {
                println!("{history}");
            }
        }
        outcome
    }

    fn in_the_background<M: Send + 'static>(
        self,
        train: &Dataset,
        checkpoint: Option<Checkpoint>,
        work: impl FnOnce(&mut Job<'_>, &mut Watch<'_>) -> Result<(M, History)> + Send + 'static,
    ) -> Result<Training<M>> {
        if self.after_epoch.is_some() {
            let reason =
                "after_epoch cannot be told of a training in the background: ask its history";
            return Err(Error::Training(reason.to_owned()));
        }
        let hyperparameters = self.hyperparameters;
        let (train, validation) = (train.clone(), self.validation.cloned());
        let found = checkpoint.as_ref().and_then(Checkpoint::found);
        let facts = Facts::new(&hyperparameters, found.map_or(&[], Found::epochs));
        Training::start(facts, move |watch| {
            let (hyperparameters, validation) = (&hyperparameters, validation.as_ref());
            work(&mut Job { hyperparameters, train: &train, validation, checkpoint }, watch)
        })
    }
}

fn print_setup(
    model: &dyn Trainable,
    train: &Dataset,
    validation: Option<&Dataset>,
    hyperparameters: &Hyperparameters,
) {
    let [place, model] = model.describe(hyperparameters);
    println!("{place}\n\ntraining part\n{train}");
    if let Some(validation) = validation {
        println!("validation part\n{validation}");
    }
    println!("\n{hyperparameters}\n\n{model}\n");
}

fn print_resumed(found: &Found) {
    let (done, epochs) = (found.epochs().len(), found.hyperparameters().epochs);
    println!("going on after epoch {done} of {epochs}");
    if let Some(line) = found.other_instructions() {
        println!("{line}");
    }
}

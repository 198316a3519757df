use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::course::Course;
use super::{Epoch, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::kernels::level::Level;
use crate::kernels::seq2seq::TrainStep;
use crate::layers::flat_weights;
use crate::model::{Extras, Seq2Seq};

/// The file is renewed at most once in this time, because an epoch may take a thousandth of it.
const RENEWAL: Duration = Duration::from_secs(1);

/// The number of the file's form. The first one had none.
const FORM: u32 = 2;

/// Names in the file.
const STATE: &str = "training";
const MOMENTUM: &str = "momentum";
const SQUARE: &str = "square";
const BEST: &str = "best";

/// The file of a training that can go on: a model, and beside it what only the training knows.
pub(super) struct Checkpoint {
    path: PathBuf,
    parts: Parts,
    /// What was read, until the training has taken it over.
    found: Option<Found>,
    /// What the optimiser remembers after the last epoch, until it is in the file.
    unwritten: Option<Memory>,
    written: Option<Instant>,
    renewal: Duration,
}

struct Found {
    state: State,
    memory: Memory,
    best: Option<Vec<f32>>,
}

/// The memory of a [`TrainStep`].
struct Memory {
    momentum: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

/// What stands in the metadata, as JSON.
#[derive(Serialize, Deserialize)]
struct State {
    form: u32,
    hyperparameters: Hyperparameters,
    epochs: Vec<Epoch>,
    /// Index of the best epoch, if there is a patience.
    best: Option<usize>,
    /// Steps of the optimiser.
    steps: i32,
    parts: Parts,
    /// The [`Level`] of the kernels.
    instructions: String,
}

/// What is read first, because the other fields depend on it.
#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    form: u32,
}

/// Tells the series of a training from others.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Parts {
    training: u32,
    validation: u32,
}

impl Parts {
    fn of(train: &Dataset, validation: &Dataset) -> Self {
        Self { training: fingerprint(train), validation: fingerprint(validation) }
    }
}

impl Checkpoint {
    /// Of a training that begins.
    pub(super) fn new(path: &Path, train: &Dataset, validation: &Dataset) -> Self {
        let (path, parts) = (path.to_owned(), Parts::of(train, validation));
        Self { path, parts, found: None, unwritten: None, written: None, renewal: RENEWAL }
    }

    /// Of a training that goes on, on the same series; its model, and its hyperparameters.
    pub(super) fn read(
        path: &Path,
        train: &Dataset,
        validation: &Dataset,
    ) -> Result<(Self, Seq2Seq, Hyperparameters)> {
        let file = Extras::read(path)?;
        let missing = |what: &str| Error::weights(path, format!("{what}: it is not a checkpoint"));
        let state = file.metadata(STATE).ok_or_else(|| missing("it tells of no training"))?;
        let Form { form } =
            serde_json::from_str(state).map_err(|error| missing(&error.to_string()))?;
        if form != FORM {
            let of = if form < FORM { "an older" } else { "a newer" };
            let reason = format!(
                "the checkpoint is of {of} version of this crate, which cannot be resumed; \
                 Seq2Seq::load reads the model in it"
            );
            return Err(Error::weights(path, reason));
        }
        let state: State =
            serde_json::from_str(state).map_err(|error| missing(&error.to_string()))?;
        let vector =
            |name: &str| file.vector(name)?.ok_or_else(|| missing(&format!("{name} is missing")));
        let new = Self::new(path, train, validation);
        for (part, data, found, given) in [
            ("training", train, state.parts.training, new.parts.training),
            ("validation", validation, state.parts.validation, new.parts.validation),
        ] {
            if found != given {
                return Err(Error::Data(format!(
                    "the {part} part of the training in {} was another one than these {} series: \
                     make it with the same settings and seed",
                    path.display(),
                    data.len()
                )));
            }
        }
        let hyperparameters = state.hyperparameters;
        let (momentum, square) = (vector(MOMENTUM)?, vector(SQUARE)?);
        let best = state.best.map(|_| vector(BEST)).transpose()?;
        let model = file.model()?;
        let weights = flat_weights(&model).len();
        let as_long = |vector: &Vec<f32>| vector.len() == weights;
        let fit = as_long(&momentum) && as_long(&square) && best.as_ref().is_none_or(as_long);
        if !fit || state.best.unwrap_or(0) >= state.epochs.len() {
            return Err(missing("its parts do not fit together"));
        }
        let memory = Memory { momentum, square, steps: state.steps };
        let found = Some(Found { state, memory, best });
        Ok((Self { found, ..new }, model, hyperparameters))
    }

    /// What is to be said where the training so far used other instructions than this machine does.
    pub(super) fn other_instructions(&self) -> Option<String> {
        let (before, now) = (&self.found.as_ref()?.state.instructions, instructions());
        (*before != now).then(|| {
            format!(
                "it was trained with {before} instructions and goes on with {now}: the results differ \
                 in rounding from those of one machine"
            )
        })
    }

    /// The epochs that are done.
    pub(super) fn epochs(&self) -> &[Epoch] {
        self.found.as_ref().map_or(&[], |found| &found.state.epochs)
    }

    /// The course of the training, which goes on where the file ends.
    pub(super) fn restore(
        &mut self,
        step: &mut TrainStep,
        hyperparameters: &Hyperparameters,
    ) -> Course {
        let Some(Found { state, memory, best }) = self.found.take() else {
            return Course::new(hyperparameters);
        };
        step.set_memory(&memory.momentum, &memory.square, memory.steps);
        Course::resumed(hyperparameters, state.epochs, state.best.zip(best))
    }

    /// Takes in what an epoch has come to: `model` has its weights. Renews the file, unless that is
    /// too soon.
    pub(super) fn after_epoch(
        &mut self,
        model: &Seq2Seq,
        step: &TrainStep,
        course: &Course,
        hyperparameters: &Hyperparameters,
    ) -> Result<()> {
        let (momentum, square, steps) = step.memory();
        let (momentum, square) = (momentum.to_vec(), square.to_vec());
        self.unwritten = Some(Memory { momentum, square, steps });
        let due = self.written.is_none_or(|written| written.elapsed() >= self.renewal);
        if due || course.next_epoch().is_none() {
            self.finish(model, course, hyperparameters)?;
        }
        Ok(())
    }

    /// Renews the file, unless the last epoch is in it. `model` and `course` are as they were then.
    pub(super) fn finish(
        &mut self,
        model: &Seq2Seq,
        course: &Course,
        hyperparameters: &Hyperparameters,
    ) -> Result<()> {
        let Some(Memory { momentum, square, steps }) = self.unwritten.take() else {
            return Ok(());
        };
        let (epochs, best) = course.so_far();
        let state = State {
            form: FORM,
            hyperparameters: *hyperparameters,
            epochs: epochs.to_vec(),
            best: best.map(|(index, _)| index),
            steps,
            parts: self.parts,
            instructions: instructions(),
        };
        let json = serde_json::to_string(&state)
            .map_err(|error| Error::weights(&self.path, error.to_string()))?;
        let mut vectors = vec![(MOMENTUM, &momentum[..]), (SQUARE, &square)];
        vectors.extend(best.map(|(_, weights)| (BEST, weights)));
        model.save_with(vectors, [(STATE.to_owned(), json)], &self.path)?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

/// What the kernels compute with on this machine.
fn instructions() -> String {
    Level::best().to_string()
}

/// A number that differs for other series: the CRC-32 of sizes and values.
fn fingerprint(data: &Dataset) -> u32 {
    let sizes = [data.past_steps(), data.future_steps(), data.features(), data.targets()];
    let mut hash = crc32fast::Hasher::new();
    sizes.iter().for_each(|&size| hash.update(&(size as u64).to_le_bytes()));
    hash.update(bytemuck::cast_slice(data.past()));
    hash.update(bytemuck::cast_slice(data.future()));
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{NoisyTwoSines, WindowScaler, noisy_two_sines};
    use crate::train::fit::{Step, Watched, run};
    use crate::train::{End, History, Optimizer, Schedule, resume};
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn data() -> (Dataset, Dataset) {
        let data = noisy_two_sines(NoisyTwoSines { series: 80, ..Default::default() }).unwrap();
        WindowScaler::fit_transform(&data).unwrap().1.split(0.5).unwrap()
    }

    fn settings() -> Hyperparameters {
        Hyperparameters {
            hidden_size: 24,
            batch_size: 10,
            learning_rate: 0.007,
            epochs: 12,
            ..Default::default()
        }
    }

    fn bits(model: &Seq2Seq) -> Vec<u32> {
        flat_weights(model).into_iter().map(f32::to_bits).collect()
    }

    /// The epochs that a checkpoint tells of.
    fn epochs_in(path: &Path) -> usize {
        let (train, validation) = data();
        Checkpoint::read(path, &train, &validation).unwrap().0.epochs().len()
    }

    /// What ends a training in the second step of its epoch 7.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Cut {
        No,
        Stop,
        Interrupt,
    }

    /// Trains; `after_epoch` is told the number of each epoch, before the file is renewed.
    fn train(
        settings: &Hyperparameters,
        checkpoint: Option<Checkpoint>,
        cut: Cut,
        after_epoch: impl Fn(usize),
    ) -> (Seq2Seq, Result<History>) {
        let (train, validation) = data();
        let mut model = Seq2Seq::stacked(1, settings).unwrap();
        let interrupted = AtomicBool::new(false);
        let watched = Watched {
            after_step: |step: &Step| {
                let here = (step.epoch, step.number) == (7, 2);
                interrupted.store(here && cut == Cut::Interrupt, Ordering::Relaxed);
                match here && cut == Cut::Stop {
                    true => ControlFlow::Break(End::Stopped),
                    false => ControlFlow::Continue(()),
                }
            },
            after_epoch: |number, _: &Epoch| after_epoch(number),
            interrupted: || interrupted.load(Ordering::Relaxed),
            yields: false,
        };
        let outcome = run(&mut model, &train, &validation, settings, checkpoint, watched);
        (model, outcome)
    }

    /// A checkpoint that is renewed as often.
    fn renewed(path: &Path, renewal: Duration) -> Option<Checkpoint> {
        let (train, validation) = data();
        Some(Checkpoint { renewal, ..Checkpoint::new(path, &train, &validation) })
    }

    #[track_caller]
    fn cut_and_resumed(settings: &Hyperparameters) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let (model, history) = train(settings, None, Cut::No, |_| {});
        let history = history.unwrap();
        for cut in [Cut::Stop, Cut::Interrupt] {
            let (_, ended) = train(settings, renewed(&path, RENEWAL), cut, |_| {});
            assert_eq!(ended.is_ok(), cut == Cut::Stop, "{ended:?}");
            assert_eq!(epochs_in(&path), 6);
            assert!(history.epochs().len() > 6, "nothing is left to do");

            let (train, validation) = data();
            let (resumed, whole) = resume(&path, &train, &validation).unwrap();
            assert!(bits(&resumed) == bits(&model), "other weights");
            assert_eq!((whole.end(), whole.kept().loss), (history.end(), history.kept().loss));
            let untimed = |epoch: &Epoch| Epoch { seconds: 0.0, ..*epoch };
            let untimed =
                |history: &History| history.epochs().iter().map(untimed).collect::<Vec<_>>();
            assert_eq!(untimed(&whole), untimed(&history));
            assert_eq!(epochs_in(&path), history.epochs().len(), "the file was not renewed");

            // Once more: nothing is left to do.
            let (again, _) = resume(&path, &train, &validation).unwrap();
            assert!(bits(&again) == bits(&model), "a training that has ended went on");
        }
    }

    #[test]
    fn a_training_that_goes_on_comes_to_the_same() {
        let schedule = Schedule::Cosine { warmup_fraction: 0.1 };
        cut_and_resumed(&Hyperparameters { schedule, clip_norm: Some(0.1), ..settings() });
        let optimizer = Optimizer::RmsProp { decay: 0.9, momentum: 0.5 };
        cut_and_resumed(&Hyperparameters { optimizer, learning_rate: 0.001, ..settings() });
    }

    #[test]
    fn so_does_one_with_patience() {
        cut_and_resumed(&Hyperparameters { patience: Some(10), epochs: 5000, ..settings() });
    }

    #[test]
    fn the_file_is_not_renewed_after_every_epoch_and_yet_has_all_of_them_at_any_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let seldom = || renewed(&path, Duration::MAX);
        for (cut, all) in [(Cut::No, 12), (Cut::Stop, 6), (Cut::Interrupt, 6)] {
            let after_epoch = |number| {
                if number > 1 && !(cut == Cut::Stop && number == 7) {
                    assert_eq!(epochs_in(&path), 1, "renewed before epoch {number}");
                }
            };
            train(&settings(), seldom(), cut, after_epoch).1.map_or_else(
                |error| assert!(cut == Cut::Interrupt, "{error}"),
                |_| assert!(cut != Cut::Interrupt, "not interrupted"),
            );
            assert_eq!(epochs_in(&path), all, "{cut:?}");
        }

        // The penalty makes the weights grow with every step, until they are no numbers.
        let sgd = Optimizer::Sgd { momentum: 0.0 };
        let wild = Hyperparameters {
            optimizer: sgd,
            learning_rate: 0.001,
            weight_decay: 2200.0,
            epochs: 5000,
            ..settings()
        };
        let (model, ended) = train(&wild, seldom(), Cut::No, |_| {});
        let message = ended.unwrap_err().to_string();
        let done = epochs_in(&path);
        assert!(done > 1 && message.contains(&format!("after epoch {}", done + 1)), "{message}");
        assert!(bits(&Seq2Seq::load(&path).unwrap()) == bits(&model));
    }

    #[test]
    fn the_file_is_renewed_after_an_epoch_when_it_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let after_epoch = |number| {
            if number > 1 {
                assert_eq!(epochs_in(&path), number - 1);
            }
        };
        train(&settings(), renewed(&path, Duration::ZERO), Cut::No, after_epoch).1.unwrap();
    }
}

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::course::Course;
use super::descent::Memory;
use super::engine::Engine;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::history::Epoch;
use crate::kernels::level::Level;
use crate::model::{Extras, Layout};
use crate::settings::Hyperparameters;

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
    layout: Layout,
    hyperparameters: Hyperparameters,
    parts: Parts,
    /// What was read, until the training has taken it over.
    found: Option<Found>,
    /// What the optimiser remembers after the last epoch, until it is in the file.
    unwritten: Option<Memory>,
    written: Option<Instant>,
    renewal: Duration,
}

/// What a checkpoint holds.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) file: Extras,
    state: State,
    memory: Memory,
    best: Option<Vec<f32>>,
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
    validation: Option<u32>,
}

impl Parts {
    fn of(train: &Dataset, validation: Option<&Dataset>) -> Self {
        Self { training: fingerprint(train), validation: validation.map(fingerprint) }
    }
}

impl Found {
    /// Reads a checkpoint.
    pub(super) fn read(path: &Path) -> Result<Self> {
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
        let (momentum, square) = (vector(MOMENTUM)?, vector(SQUARE)?);
        let best = state.best.map(|_| vector(BEST)).transpose()?;
        let memory = Memory { momentum, square, steps: state.steps };
        Ok(Self { path: path.to_owned(), file, state, memory, best })
    }

    pub(super) fn hyperparameters(&self) -> &Hyperparameters {
        &self.state.hyperparameters
    }

    /// The epochs that are done.
    pub(super) fn epochs(&self) -> &[Epoch] {
        &self.state.epochs
    }

    /// What is to be said where the training so far used other instructions than this machine does.
    pub(super) fn other_instructions(&self) -> Option<String> {
        let (before, now) = (&self.state.instructions, instructions());
        (*before != now).then(|| {
            format!(
                "it was trained with {before} instructions and goes on with {now}: the results differ \
                 in rounding from those of one machine"
            )
        })
    }

    /// Refuses other series than those of the training so far.
    fn check_parts(&self, train: &Dataset, validation: Option<&Dataset>) -> Result<()> {
        let (before, given) = (self.state.parts, Parts::of(train, validation));
        let (part, data) = match before {
            before if before == given => return Ok(()),
            before if before.training != given.training => ("training", Some(train)),
            _ => ("validation", validation),
        };
        let given = data.map_or("none".to_owned(), |data| format!("these {} series", data.len()));
        Err(Error::Data(format!(
            "the {part} part of the training in {} was another one than {given}: make it with the \
             same settings and seed",
            self.path.display()
        )))
    }

    /// Refuses a file whose decoder reads something else than that of the model, and one whose vectors are
    /// not as long as its weights.
    fn check_model(&self, layout: &Layout) -> Result<()> {
        layout.check(&self.file)?;
        let weights = self.file.values()?;
        let as_long = |vector: &Vec<f32>| vector.len() == weights;
        let Memory { momentum, square, .. } = &self.memory;
        let fit = as_long(momentum) && as_long(square) && self.best.as_ref().is_none_or(as_long);
        if fit && self.state.best.unwrap_or(0) < self.state.epochs.len() {
            return Ok(());
        }
        let reason = "its parts do not fit together: it is not a checkpoint";
        Err(Error::weights(&self.path, reason))
    }
}

impl Checkpoint {
    /// Of a training that begins, or of one that goes on from what was found.
    pub(super) fn new(
        path: &Path,
        layout: Layout,
        hyperparameters: &Hyperparameters,
        (train, validation): (&Dataset, Option<&Dataset>),
        found: Option<Found>,
    ) -> Result<Self> {
        if let Some(found) = &found {
            found.check_parts(train, validation)?;
            found.check_model(&layout)?;
        }
        Ok(Self {
            path: path.to_owned(),
            layout,
            hyperparameters: *hyperparameters,
            parts: Parts::of(train, validation),
            found,
            unwritten: None,
            written: None,
            renewal: RENEWAL,
        })
    }

    /// What the training goes on from.
    pub(super) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// The course of the training, which goes on where the file ends, with what the optimiser remembers.
    pub(super) fn restore(&mut self, engine: &mut dyn Engine) -> Course {
        let Some(Found { state, memory, best, .. }) = self.found.take() else {
            return Course::new(&self.hyperparameters);
        };
        engine.set_memory(memory);
        Course::resumed(&self.hyperparameters, state.epochs, state.best.zip(best))
    }

    /// Takes in what an epoch has come to. Renews the file, unless that is too soon.
    pub(super) fn after_epoch(
        &mut self,
        weights: &[f32],
        memory: Memory,
        course: &Course,
    ) -> Result<()> {
        self.unwritten = Some(memory);
        let due = self.written.is_none_or(|written| written.elapsed() >= self.renewal);
        if due || course.next_epoch().is_none() {
            self.finish(weights, course)?;
        }
        Ok(())
    }

    /// Renews the file, unless the last epoch is in it. `weights` and `course` are as they were then.
    pub(super) fn finish(&mut self, weights: &[f32], course: &Course) -> Result<()> {
        let Some(Memory { momentum, square, steps }) = self.unwritten.take() else {
            return Ok(());
        };
        let (epochs, best) = course.so_far();
        let state = State {
            form: FORM,
            hyperparameters: self.hyperparameters,
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
        self.layout.write(weights, &vectors, Some((STATE.to_owned(), json)), &self.path)?;
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
    use crate::history::{End, History};
    use crate::kernels::optimizer::Optimizer;
    use crate::layers::flat_weights;
    use crate::model::Seq2Seq;
    use crate::settings::Schedule;
    use crate::train::engine::{Step, Watch};
    use crate::train::resume;
    use crate::train::run::{Job, Trainable};
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
        Found::read(path).unwrap().epochs().len()
    }

    /// What ends a training in the second step of its epoch 7, or in the last one of it.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Cut {
        No,
        Stop,
        Interrupt,
        StopInTheLast,
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
        let mut watch = Watch {
            after_step: &mut |step: &Step| {
                let number = if cut == Cut::StopInTheLast { step.steps } else { 2 };
                let here = (step.epoch, step.number) == (7, number);
                interrupted.store(here && cut == Cut::Interrupt, Ordering::Relaxed);
                match here && (cut == Cut::Stop || cut == Cut::StopInTheLast) {
                    true => ControlFlow::Break(End::Stopped),
                    false => ControlFlow::Continue(()),
                }
            },
            after_epoch: &mut |number, _: &Epoch| after_epoch(number),
            interrupted: &|| interrupted.load(Ordering::Relaxed),
            yields: false,
        };
        let (train, validation) = (&train, Some(&validation));
        let mut job = Job { hyperparameters: settings, train, validation, checkpoint };
        let outcome = model.train(&mut job, &mut watch);
        (model, outcome)
    }

    /// A checkpoint that is renewed as often.
    fn renewed(settings: &Hyperparameters, path: &Path, renewal: Duration) -> Option<Checkpoint> {
        let (train, validation) = data();
        let layout = Seq2Seq::stacked(1, settings).unwrap().layout();
        let parts = (&train, Some(&validation));
        Some(Checkpoint {
            renewal,
            ..Checkpoint::new(path, layout, settings, parts, None).unwrap()
        })
    }

    #[track_caller]
    fn cut_and_resumed(settings: &Hyperparameters) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let (model, history) = train(settings, None, Cut::No, |_| {});
        let history = history.unwrap();
        for (cut, whole_epochs) in [(Cut::Stop, 6), (Cut::Interrupt, 6), (Cut::StopInTheLast, 7)] {
            let (_, ended) = train(settings, renewed(settings, &path, RENEWAL), cut, |_| {});
            assert_eq!(ended.is_ok(), cut != Cut::Interrupt, "{ended:?}");
            assert_eq!(epochs_in(&path), whole_epochs, "{cut:?}");
            assert!(history.epochs().len() > 7, "nothing is left to do");

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
        cut_and_resumed(&Hyperparameters { dropout: 0.3, ..settings() });
    }

    #[test]
    fn so_does_one_with_patience() {
        cut_and_resumed(&Hyperparameters { patience: Some(10), epochs: 5000, ..settings() });
    }

    #[test]
    fn the_file_is_not_renewed_after_every_epoch_and_yet_has_all_of_them_at_any_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let seldom = |settings: &Hyperparameters| renewed(settings, &path, Duration::MAX);
        for (cut, all) in [(Cut::No, 12), (Cut::Stop, 6), (Cut::Interrupt, 6)] {
            let after_epoch = |number| {
                if number > 1 && !(cut == Cut::Stop && number == 7) {
                    assert_eq!(epochs_in(&path), 1, "renewed before epoch {number}");
                }
            };
            train(&settings(), seldom(&settings()), cut, after_epoch).1.map_or_else(
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
        let (model, ended) = train(&wild, seldom(&wild), Cut::No, |_| {});
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
        train(&settings(), renewed(&settings(), &path, Duration::ZERO), Cut::No, after_epoch)
            .1
            .unwrap();
    }
}

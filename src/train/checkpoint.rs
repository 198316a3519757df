use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use super::course::Course;
use super::{Epoch, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::kernels::cpu::seq2seq::TrainStep;
use crate::layers::flat_weights;
use crate::model::{Extras, Seq2Seq};

/// Names in the file.
const STATE: &str = "training";
const MOMENTUM: &str = "training.momentum";
const SQUARE: &str = "training.square";
const BEST: &str = "training.best";

/// The file of a training that can go on: a model, and beside it what only the training knows.
pub(super) struct Checkpoint {
    path: PathBuf,
    /// Tells the training part from others.
    data: u64,
    /// What was read, until the training has taken it over.
    found: Option<Found>,
}

struct Found {
    state: State,
    momentum: Vec<f32>,
    square: Vec<f32>,
    best: Option<Vec<f32>>,
}

/// What stands in the metadata, as JSON.
#[derive(Serialize, Deserialize)]
struct State {
    hyperparameters: Hyperparameters,
    epochs: Vec<Epoch>,
    /// Index of the best epoch, if there is a patience.
    best: Option<usize>,
    /// Steps of the optimiser.
    steps: i32,
    data: u64,
}

impl Checkpoint {
    /// Of a training that begins.
    pub(super) fn new(path: &Path, train: &Dataset) -> Self {
        Self { path: path.to_owned(), data: fingerprint(train), found: None }
    }

    /// Of a training that goes on, on the same training part; its model, and its hyperparameters.
    pub(super) fn read(path: &Path, train: &Dataset) -> Result<(Self, Seq2Seq, Hyperparameters)> {
        let file = Extras::read(path)?;
        let missing = |what: &str| Error::weights(path, format!("{what}: it is not a checkpoint"));
        let state = file.metadata(STATE).ok_or_else(|| missing("it tells of no training"))?;
        let state: State =
            serde_json::from_str(state).map_err(|error| missing(&error.to_string()))?;
        let vector =
            |name: &str| file.vector(name)?.ok_or_else(|| missing(&format!("{name} is missing")));
        let data = fingerprint(train);
        if state.data != data {
            return Err(Error::Data(format!(
                "the training of {} was on other series than these {}: make them with the same \
                 settings and seed",
                path.display(),
                train.len()
            )));
        }
        let hyperparameters = state.hyperparameters;
        let (momentum, square) = (vector(MOMENTUM)?, vector(SQUARE)?);
        let best = state.best.map(|_| vector(BEST)).transpose()?;
        let model = Seq2Seq::load(path)?;
        let weights = flat_weights(&model).len();
        let as_long = |vector: &Vec<f32>| vector.len() == weights;
        let fit = as_long(&momentum) && as_long(&square) && best.as_ref().is_none_or(as_long);
        if !fit || state.best.unwrap_or(0) >= state.epochs.len() {
            return Err(missing("its parts do not fit together"));
        }
        let found = Some(Found { state, momentum, square, best });
        Ok((Self { path: path.to_owned(), data, found }, model, hyperparameters))
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
        let Some(Found { state, momentum, square, best }) = self.found.take() else {
            return Course::new(hyperparameters);
        };
        step.set_memory(&momentum, &square, state.steps);
        Course::resumed(hyperparameters, state.epochs, state.best.zip(best))
    }

    /// Replaces the file.
    pub(super) fn write(
        &self,
        model: &Seq2Seq,
        step: &TrainStep,
        course: &Course,
        hyperparameters: &Hyperparameters,
    ) -> Result<()> {
        let (momentum, square, steps) = step.memory();
        let (epochs, best) = course.so_far();
        let state = State {
            hyperparameters: *hyperparameters,
            epochs: epochs.to_vec(),
            best: best.map(|(index, _)| index),
            steps,
            data: self.data,
        };
        let json = serde_json::to_string(&state)
            .map_err(|error| Error::weights(&self.path, error.to_string()))?;
        let mut vectors = vec![(MOMENTUM, momentum), (SQUARE, square)];
        vectors.extend(best.map(|(_, weights)| (BEST, weights)));
        model.save_with(vectors, [(STATE.to_owned(), json)], &self.path)
    }
}

/// A number that differs for other series: the FNV-1a hash of sizes and values (G. Fowler, L. C. Noll
/// and K.-P. Vo, 1991).
fn fingerprint(data: &Dataset) -> u64 {
    let sizes = [data.past_steps(), data.future_steps(), data.features(), data.targets()];
    let sizes = sizes.into_iter().map(|size| size as u64);
    let values = data.past().iter().chain(data.future()).map(|value| u64::from(value.to_bits()));
    sizes
        .chain(values)
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}

//! The file that a training goes on from. That it comes to the same is tested beside the code, in
//! `src/train/checkpoint.rs`, where a training can be cut short at a given step.

use seq2seq::layers::{LstmCell, Parameters};
use seq2seq::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn data(seed: u64) -> (Dataset, Dataset) {
    let settings = NoisyTwoSines { series: 80, seed, ..Default::default() };
    let data = noisy_two_sines(settings).unwrap();
    WindowScaler::fit_transform(&data).unwrap().1.split(0.5).unwrap()
}

fn weights(model: &Seq2Seq) -> Vec<u32> {
    let all = model.parameters();
    all.iter().flat_map(|(_, p)| p.to_vec()).map(f32::to_bits).collect()
}

fn settings() -> Hyperparameters {
    Hyperparameters {
        hidden_size: 24,
        batch_size: 10,
        learning_rate: 0.007,
        epochs: 60,
        ..Default::default()
    }
}

/// A training of so many epochs, the model that came of it, and its checkpoint, which goes with the folder.
struct Trained {
    _folder: TempDir,
    path: PathBuf,
    parts: (Dataset, Dataset),
    settings: Hyperparameters,
    model: Seq2Seq,
}

fn trained(epochs: usize) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (train, validation) = data(1);
    let settings = Hyperparameters { epochs, ..settings() };
    let mut model = Seq2Seq::stacked(1, &settings).unwrap();
    fit_with_checkpoint(&mut model, &train, &validation, &settings, &path).unwrap();
    Trained { _folder: folder, path, parts: (train, validation), settings, model }
}

#[test]
fn a_checkpoint_holds_a_model() {
    let Trained { _folder, path, settings, model, .. } = trained(2);
    assert!(weights(&Seq2Seq::load(&path).unwrap()) == weights(&model));
    let mut other = Seq2Seq::stacked(1, &Hyperparameters { seed: 2, ..settings }).unwrap();
    load_weights(&mut other, &path).unwrap();
    assert!(weights(&other) == weights(&model));
}

/// A decoder that reads zeros has weights of the same names and sizes, where the layers are as wide as the
/// series have features.
#[test]
fn a_resume_that_is_refused_leaves_the_model_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (train, validation) = data(1);
    let settings = Hyperparameters { hidden_size: 1, epochs: 2, ..settings() };
    let mut model = Seq2Seq::stacked(1, &settings).unwrap();
    fit_with_checkpoint(&mut model, &train, &validation, &settings, &path).unwrap();

    let of_seed = Seq2Seq::stacked(1, &Hyperparameters { seed: 2, ..settings }).unwrap();
    let (encoder, decoder) = (of_seed.encoder().clone(), of_seed.decoder().clone());
    let dense = of_seed.dense().clone();
    let zeros = Seq2Seq::new(encoder, decoder, dense, DecoderInput::Zeros).unwrap();
    let (other_train, other_validation) = data(2);
    for (mut model, train, validation, why) in [
        (zeros, &train, &validation, "decoder_input is RepeatLast, and that of this model Zeros"),
        (of_seed, &other_train, &other_validation, "the training part of the training in"),
    ] {
        let before = weights(&model);
        let trainer = Trainer::resume(&path).unwrap().validation(validation).quiet();
        let message = trainer.fit(&mut model, train).unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
        assert!(weights(&model) == before, "{why}: other weights");
    }
    let mut lstm = Seq2Seq::<LstmCell>::stacked_of_cell(1, &settings).unwrap();
    let trainer = Trainer::resume(&path).unwrap().validation(&validation).quiet();
    let message = trainer.fit(&mut lstm, &train).unwrap_err().to_string();
    assert!(message.contains("cell is GRU, and that of this model LSTM"), "{message}");
}

/// Replaces a part of a file, which occurs once, by one of the same length.
fn exchange(path: &Path, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let mut bytes = fs::read(path).unwrap();
    let mut found =
        bytes.windows(old.len()).enumerate().filter(|(_, part)| *part == old.as_bytes());
    let (at, _) = found.next().unwrap();
    assert!(found.next().is_none(), "{old} occurs twice");
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_of_another_version_is_refused_with_that_reason() {
    let Trained { _folder, path, parts: (train, validation), model, .. } = trained(1);
    exchange(&path, r#"\"form\":2"#, r#"\"form\":3"#);
    let message = resume(&path, &train, &validation).unwrap_err().to_string();
    assert!(
        message.contains("of a newer version of this crate, which cannot be resumed"),
        "{message}"
    );
    // The first version had no such number.
    exchange(&path, r#"\"form\":3"#, r#"\"none\":3"#);
    let message = resume(&path, &train, &validation).unwrap_err().to_string();
    assert!(
        message.contains("of an older version of this crate, which cannot be resumed"),
        "{message}"
    );
    assert!(weights(&Seq2Seq::load(&path).unwrap()) == weights(&model));
}

#[test]
fn going_on_with_other_instructions_is_said() {
    let name = "going_on_with_other_instructions_is_said";
    if std::env::var_os("IN_A_PROCESS_OF_ITS_OWN").is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args([name, "--exact", "--nocapture"]).env("IN_A_PROCESS_OF_ITS_OWN", "1");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let said: Vec<_> = text.lines().filter(|line| line.contains(" instructions ")).collect();
        let [line] = said[..] else { panic!("not once: {text}") };
        assert!(line.starts_with("it was trained with ???"), "{line}");
        assert!(
            line.ends_with("the results differ in rounding from those of one machine"),
            "{line}"
        );
        return;
    }
    let Trained { _folder, path, parts: (train, validation), .. } = trained(1);
    resume(&path, &train, &validation).unwrap();
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    let (_, rest) = text.split_once(r#"\"instructions\":\""#).unwrap();
    let (here, _) = rest.split_once('\\').unwrap();
    let before = |of: &str| format!(r#"\"instructions\":\"{of}"#);
    exchange(&path, &before(here), &before(&"?".repeat(here.len())));
    resume(&path, &train, &validation).unwrap();
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (train, validation) = data(1);
    let refused = |why: &str| {
        let message = resume(&path, &train, &validation).unwrap_err().to_string();
        assert!(message.contains(why) && message.contains("checkpoint"), "{message}");
    };
    refused("No such file");

    let short = Hyperparameters { epochs: 1, ..settings() };
    let mut model = Seq2Seq::stacked(1, &short).unwrap();
    model.save(&path).unwrap();
    refused("it tells of no training: it is not a checkpoint");

    fit_with_checkpoint(&mut model, &train, &validation, &short, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused("not a complete safetensors file");

    fs::write(&path, &whole).unwrap();
    let (other_train, other_validation) = data(2);
    let other_series = |train, validation, part: &str| {
        let message = resume(&path, train, validation).unwrap_err().to_string();
        let start = format!("the {part} part of the training in ");
        let end = " was another one than these 40 series: make it with the same settings and seed";
        assert!(message.contains(&start) && message.ends_with(end), "{message}");
    };
    other_series(&other_train, &validation, "training");
    other_series(&train, &other_validation, "validation");
    assert_eq!(fs::read(&path).unwrap(), whole, "the checkpoint was touched");
}

/// A network of an LSTM and a dense layer.
fn forward((lstm, dense): &(Lstm, Dense), past: Traced) -> Result<Traced> {
    let (last, _) = lstm.forward_last(past, None)?;
    let output = dense.forward_step(last)?;
    let (batch, steps) = *output.shape();
    Ok(output.reshape_like(&(batch, steps, 1)))
}

fn network(future_steps: usize, seed: u64) -> (Lstm, Dense) {
    let (dev, mut init) = (Cpu::default(), Initializer::new(seed));
    let lstm = Lstm::new(1, &[8], &mut init, &dev).unwrap();
    (lstm, Dense::new(8, future_steps, &mut init, &dev).unwrap())
}

fn all_weights(model: &impl Parameters<f32, Cpu>) -> Vec<u32> {
    model.parameters().iter().flat_map(|(_, p)| p.to_vec()).map(f32::to_bits).collect()
}

/// The training is cut by an error of its network, and goes on in another model of the same sizes.
#[test]
fn a_training_on_the_tape_goes_on_and_comes_to_the_same() {
    let (train, validation) = data(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let steps = validation.future_steps();
    for (optimizer, with_validation) in [
        (Optimizer::Adam, true),
        (Optimizer::RmsProp { decay: 0.9, momentum: 0.5 }, false),
        (Optimizer::Sgd { momentum: 0.9 }, true),
    ] {
        let settings = Hyperparameters {
            optimizer,
            epochs: 5,
            learning_rate: 0.002,
            patience: with_validation.then_some(5),
            schedule: Schedule::Cosine { warmup_fraction: 0.1 },
            ..settings()
        };
        let of = |trainer: Trainer<'_>, network: &mut _, calls: usize| {
            let count = std::cell::Cell::new(0);
            let cut = |network: &(Lstm, Dense), past: Traced| {
                count.set(count.get() + 1);
                match count.get() > calls {
                    true => Err(Error::Training("cut".to_owned())),
                    false => forward(network, past),
                }
            };
            trainer.quiet().fit_on_tape(network, &train, cut)
        };
        let with = |trainer| match with_validation {
            true => Trainer::validation(trainer, &validation),
            false => trainer,
        };
        let trainer = || with(Trainer::new(&settings));
        let mut whole = network(steps, 1);
        let expected = of(trainer(), &mut whole, usize::MAX).unwrap();

        // Four steps and a prediction or two an epoch: cut in the third one.
        let mut model = network(steps, 1);
        let cut = of(trainer().checkpoint(&path), &mut model, 13);
        assert_eq!(cut.unwrap_err().to_string(), "cut");
        let mut other = network(steps, 2);
        load_weights(&mut other, &path).unwrap();
        assert!(all_weights(&other) == all_weights(&model));

        let mut resumed = network(steps, 3);
        let found = of(with(Trainer::resume(&path).unwrap()), &mut resumed, usize::MAX).unwrap();
        assert!(all_weights(&resumed) == all_weights(&whole), "{optimizer}");
        let losses = |h: &History| h.epochs().iter().map(|e| e.loss).collect::<Vec<_>>();
        assert_eq!(losses(&found), losses(&expected));
        assert_eq!(found.last().validation_mse.is_nan(), !with_validation);

        // Another model, and another validation part.
        let refused = of(with(Trainer::resume(&path).unwrap()), &mut network(steps + 1, 1), 0);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("is needed"), "{message}");
        let message = match with_validation {
            true => of(Trainer::resume(&path).unwrap(), &mut resumed, 0),
            false => of(Trainer::resume(&path).unwrap().validation(&validation), &mut resumed, 0),
        };
        let message = message.unwrap_err().to_string();
        let expected = if with_validation { "None" } else { "the validation part of the training" };
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn nothing_is_lost_when_the_checkpoint_cannot_be_written() {
    let (train, validation) = data(1);
    let short = Hyperparameters { epochs: 1, ..settings() };
    let mut expected = Seq2Seq::stacked(1, &short).unwrap();
    let mut model = expected.clone();
    fit_with(&mut expected, &train, &validation, &short, |_, _| {}).unwrap();
    let path = Path::new("no/such/folder/checkpoint");
    let message = fit_with_checkpoint(&mut model, &train, &validation, &short, path);
    let message = message.unwrap_err().to_string();
    assert!(message.contains("no/such/folder/checkpoint"), "{message}");
    assert!(weights(&model) == weights(&expected));
}

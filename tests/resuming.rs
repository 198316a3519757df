//! A training that goes on from its checkpoint.

use seq2seq::layers::Parameters;
use seq2seq::prelude::*;
use std::fs;
use std::path::Path;
use std::thread;

fn data(seed: u64) -> (Dataset, Dataset) {
    let settings = NoisyTwoSines { series: 80, seed, ..Default::default() };
    let data = noisy_two_sines(settings).unwrap();
    WindowScaler::fit_transform(&data).unwrap().1.split(0.5).unwrap()
}

fn weights(model: &Seq2Seq) -> Vec<u32> {
    let all = model.parameters();
    all.iter().flat_map(|(_, p)| p.to_vec()).map(f32::to_bits).collect()
}

/// The epochs that a checkpoint tells of.
fn epochs_in(path: &Path) -> usize {
    String::from_utf8_lossy(&fs::read(path).unwrap()).matches("train_mse_all").count()
}

/// Trains with a checkpoint, and copies the file as soon as it is there, as if the kernel had been
/// culled then. Goes on from the copy, and compares.
#[track_caller]
fn interrupted_and_resumed(settings: Hyperparameters) {
    let folder = tempfile::tempdir().unwrap();
    let (path, early) = (folder.path().join("whole"), folder.path().join("early"));
    let (train, validation) = data(1);
    let mut model = Seq2Seq::stacked(1, &settings).unwrap();
    let history = thread::scope(|scope| {
        let training = scope.spawn(|| {
            fit_with_checkpoint(&mut model, &train, &validation, &settings, &path).unwrap()
        });
        while fs::copy(&path, &early).is_err() {
            thread::yield_now();
        }
        training.join().unwrap()
    });
    let done = epochs_in(&early);
    assert!((1..history.epochs().len()).contains(&done), "nothing is left to do after {done}");

    let (resumed, whole) = resume(&early, &train, &validation).unwrap();
    assert!(weights(&resumed) == weights(&model), "other weights");
    assert_eq!((whole.end(), whole.epochs().len()), (history.end(), history.epochs().len()));
    for (a, b) in whole.epochs().iter().zip(history.epochs()) {
        assert_eq!(
            (a.loss, a.train_mse, a.validation_mse),
            (b.loss, b.train_mse, b.validation_mse)
        );
    }
    assert_eq!(epochs_in(&early), history.epochs().len(), "the checkpoint was not renewed");

    // Once more: nothing is left to do.
    let (again, _) = resume(&early, &train, &validation).unwrap();
    assert!(weights(&again) == weights(&model), "a training that has ended went on");
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

#[test]
fn a_training_that_goes_on_comes_to_the_same() {
    let schedule = Schedule::Cosine { warmup_fraction: 0.1 };
    interrupted_and_resumed(Hyperparameters { schedule, clip_norm: Some(0.1), ..settings() });
    let optimizer = Optimizer::RmsProp { decay: 0.9, momentum: 0.5 };
    interrupted_and_resumed(Hyperparameters { optimizer, learning_rate: 0.001, ..settings() });
}

#[test]
fn so_does_one_with_patience() {
    let patience = Some(10);
    interrupted_and_resumed(Hyperparameters { patience, epochs: 5000, ..settings() });
}

#[test]
fn a_checkpoint_holds_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (train, validation) = data(1);
    let short = Hyperparameters { epochs: 2, ..settings() };
    let mut model = Seq2Seq::stacked(1, &short).unwrap();
    fit_with_checkpoint(&mut model, &train, &validation, &short, &path).unwrap();
    assert!(weights(&Seq2Seq::load(&path).unwrap()) == weights(&model));
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
    let (other, _) = data(2);
    let message = resume(&path, &other, &validation).unwrap_err().to_string();
    assert!(message.contains("was on other series than these 40"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), whole, "the checkpoint was touched");
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

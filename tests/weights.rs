//! Saving and loading: nothing is lost on the way, and a bad file is refused with its name.

use seq2seq::layers::{Parameter, ParameterMut, Parameters};
use seq2seq::prelude::*;
use std::fs;
use std::path::Path;

fn model(seed: u64) -> Seq2Seq {
    Seq2Seq::stacked(2, &Hyperparameters { seed, ..Default::default() }).unwrap()
}

fn data() -> Dataset {
    sine_cosine(SineCosine { series: 7, ..Default::default() }).unwrap()
}

#[track_caller]
fn refused(path: &Path, why: &str) {
    let message = Seq2Seq::load(path).unwrap_err().to_string();
    assert!(message.contains(why), "{message}");
    assert!(message.contains(path.file_name().unwrap().to_str().unwrap()), "{message}");
}

#[test]
fn a_saved_model_predicts_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (dev, mut init) = (Cpu::default(), Initializer::new(3));
    let zeros = Seq2Seq::new(
        Gru::new(2, &[5, 2], &mut init, &dev).unwrap(),
        Gru::new(2, &[5, 2], &mut init, &dev).unwrap(),
        Dense::new(2, 2, &mut init, &dev).unwrap(),
        DecoderInput::Zeros,
    );
    // The second could be taken for a repeat-last model by its sizes: the metadata tells.
    for model in [model(1), zeros.unwrap()] {
        model.save(&path).unwrap();
        let loaded = Seq2Seq::load(&path).unwrap();
        assert_eq!(loaded.to_string(), model.to_string());
        assert_eq!(loaded.predict(&data()).unwrap(), model.predict(&data()).unwrap());
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the model is left: {left:?}");
}

#[test]
fn truncated_foreign_and_missing_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    refused(&path, "No such file");

    model(1).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for keep in [0, 4, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..keep]).unwrap();
        refused(&path, "not a complete safetensors file");
    }
    fs::write(&path, "a letter, not a model").unwrap();
    refused(&path, "not a complete safetensors file");

    let mut bad = bytes.clone();
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bad).unwrap();
    refused(&path, "not finite");

    let header = String::from_utf8_lossy(&bytes).replace("dense.weight", "tense.weight");
    assert_ne!(header.as_bytes(), bytes);
    let at = bytes.windows(12).position(|w| w == b"dense.weight").unwrap();
    let mut renamed = bytes.clone();
    renamed[at] = b't';
    fs::write(&path, renamed).unwrap();
    refused(&path, "dense.weight is missing");
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model(1).save(&path).unwrap();
    let before = fs::read(&path).unwrap();
    // A folder stands where the new file is written first.
    fs::create_dir(folder.path().join("model.safetensors.part")).unwrap();
    let message = model(2).save(&path).unwrap_err().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let missing = folder.path().join("no/such/folder/model.safetensors");
    assert!(model(2).save(missing).is_err());
}

/// Every weight of a layer or a model, in order.
fn weights(model: &impl Parameters<f32, Cpu>) -> Vec<(String, Vec<f32>)> {
    model.parameters().into_iter().map(|(name, p)| (name, p.to_vec())).collect()
}

#[track_caller]
fn comes_back<M: Parameters<f32, Cpu>>(mut of_seed: impl FnMut(u64) -> M) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let (saved, mut other) = (of_seed(1), of_seed(2));
    assert_ne!(weights(&saved), weights(&other));
    save_weights(&saved, &path).unwrap();
    load_weights(&mut other, &path).unwrap();
    assert_eq!(weights(&saved), weights(&other));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the weights are left: {left:?}");
}

#[test]
fn the_weights_of_every_layer_and_of_a_model_come_back() {
    let dev = Cpu::default();
    let init = Initializer::new;
    comes_back(|seed| SimpleRnn::new(2, &[5, 3], &mut init(seed), &dev).unwrap());
    comes_back(|seed| Gru::new(2, &[5, 3], &mut init(seed), &dev).unwrap());
    comes_back(|seed| Lstm::new(2, &[5, 3], &mut init(seed), &dev).unwrap());
    comes_back(|seed| Dense::new(5, 2, &mut init(seed), &dev).unwrap());
    comes_back(model);
}

#[test]
fn weights_alone_and_a_whole_model_are_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model(1).save(&path).unwrap();
    let mut other = model(2);
    load_weights(&mut other, &path).unwrap();
    assert_eq!(weights(&other), weights(&model(1)));
    save_weights(&model(3), &path).unwrap();
    assert_eq!(weights(&Seq2Seq::load(&path).unwrap()), weights(&model(3)));
}

/// Loading fails, says why, names the file, and changes nothing.
#[track_caller]
fn not_taken(lstm: &mut Lstm, path: &Path, why: &[&str]) {
    let before = weights(lstm);
    let error = load_weights(lstm, path).unwrap_err();
    let message = error.to_string();
    for why in why {
        assert!(message.contains(why), "{message}");
    }
    assert!(message.contains(path.file_name().unwrap().to_str().unwrap()), "{message}");
    assert!(matches!(error, Error::Weights { .. }), "{error:?}");
    assert_eq!(weights(lstm), before);
}

#[test]
fn a_file_that_does_not_fit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    let mut lstm = Lstm::new(2, &[5, 3], &mut init, &dev).unwrap();
    assert!(matches!(load_weights(&mut lstm, &path), Err(Error::Io { .. })));

    // Another kind of layer, other sizes, fewer and more layers.
    let gru = Gru::new(2, &[5, 3], &mut init, &dev).unwrap();
    save_weights(&gru, &path).unwrap();
    not_taken(&mut lstm, &path, &["weight_ih_l0", "[15, 2]", "[20, 2]"]);
    save_weights(&Lstm::new(2, &[5, 4], &mut init, &dev).unwrap(), &path).unwrap();
    // The weights of the first layer fit, and yet they stay as they were.
    not_taken(&mut lstm, &path, &["weight_ih_l1", "[16, 5]", "[12, 5]"]);
    save_weights(&Lstm::new(2, &[5], &mut init, &dev).unwrap(), &path).unwrap();
    not_taken(&mut lstm, &path, &["weight_ih_l1 is missing"]);
    save_weights(&Lstm::new(2, &[5, 3, 3], &mut init, &dev).unwrap(), &path).unwrap();
    not_taken(&mut lstm, &path, &["bias_hh_l2 is not a weight of this model"]);

    save_weights(&Lstm::new(2, &[5, 3], &mut init, &dev).unwrap(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for keep in [0, 4, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..keep]).unwrap();
        not_taken(&mut lstm, &path, &["not a complete safetensors file"]);
    }
    fs::write(&path, "a letter, not weights").unwrap();
    not_taken(&mut lstm, &path, &["not a complete safetensors file"]);
    let mut bad = bytes.clone();
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, &bad).unwrap();
    not_taken(&mut lstm, &path, &["not finite"]);

    fs::write(&path, &bytes).unwrap();
    load_weights(&mut lstm, &path).unwrap();
}

#[test]
fn a_save_of_weights_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let lstm = |seed| Lstm::new(2, &[5], &mut Initializer::new(seed), &Cpu::default()).unwrap();
    save_weights(&lstm(1), &path).unwrap();
    let before = fs::read(&path).unwrap();
    fs::create_dir(folder.path().join("weights.safetensors.part")).unwrap();
    assert!(matches!(save_weights(&lstm(2), &path), Err(Error::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A model of two layers that forgot to tell their weights apart.
struct Twins(Dense, Dense);

impl Parameters<f32, Cpu> for Twins {
    fn parameters(&self) -> Vec<(String, Parameter<'_, f32, Cpu>)> {
        self.0.parameters().into_iter().chain(self.1.parameters()).collect()
    }
    fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_, f32, Cpu>)> {
        self.0.parameters_mut().into_iter().chain(self.1.parameters_mut()).collect()
    }
}

#[test]
fn two_weights_of_one_name_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    let mut dense = || Dense::new(2, 2, &mut init, &dev).unwrap();
    let message = save_weights(&Twins(dense(), dense()), &path).unwrap_err().to_string();
    assert!(message.contains("two weights are called weight"), "{message}");
    assert!(!path.exists());
}

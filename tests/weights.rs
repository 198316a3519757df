//! Saving and loading: nothing is lost on the way, and a bad file is refused with its name.

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

//! Saving and loading: nothing is lost on the way, and a bad file is refused with its name.

use safetensors::tensor::{Dtype, TensorView};
use seq2seq::layers::{LstmCell, Parameter, ParameterMut, Parameters, SimpleRnnCell};
use seq2seq::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
fn a_model_of_other_cells_comes_back_as_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let settings = Hyperparameters { hidden_size: 4, ..Default::default() };
    let model = Seq2Seq::<LstmCell>::stacked_of_cell(2, &settings).unwrap();
    model.save(&path).unwrap();
    let loaded = Seq2Seq::<LstmCell>::load_of_cell(&path).unwrap();
    assert_eq!(loaded.to_string(), model.to_string());
    assert_eq!(loaded.predict(&data()).unwrap(), model.predict(&data()).unwrap());
    let as_rnn = || Seq2Seq::<SimpleRnnCell>::load_of_cell(&path).unwrap_err().to_string();
    refused(&path, "cell is LSTM, and that of this model GRU");
    let found = as_rnn();
    assert!(found.contains("cell is LSTM, and that of this model SimpleRNN"), "{found}");

    // Where the metadata do not name the cells, as in PyTorch's files, the sizes tell.
    let bytes = fs::read(&path).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(weights.iter(), None).unwrap()).unwrap();
    refused(&path, "but a GRU of 4 units has 12");
    let found = as_rnn();
    assert!(found.contains("but a simple RNN of 4 units has 4"), "{found}");
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

/// A name so long that no file can be beside it whose name is longer.
fn long_name(folder: &Path) -> PathBuf {
    folder.join(format!("{}.safetensors", "m".repeat(240)))
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = long_name(folder.path());
    fs::write(&path, "old").unwrap();
    let message = model(2).save(&path).unwrap_err().to_string();
    assert!(message.contains("mmm.safetensors: File name too long"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside");
    let missing = folder.path().join("no/such/folder/model.safetensors");
    let message = model(2).save(missing).unwrap_err().to_string();
    assert!(message.contains("no/such/folder/model.safetensors: No such file"), "{message}");
}

#[test]
fn a_folder_is_not_replaced_by_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::create_dir(&path).unwrap();
    let message = model(2).save(&path).unwrap_err().to_string();
    assert!(message.contains("model.safetensors: it is not an ordinary file"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside");
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
    let path = long_name(folder.path());
    fs::write(&path, "old").unwrap();
    let lstm = Lstm::new(2, &[5], &mut Initializer::new(1), &Cpu::default()).unwrap();
    assert!(matches!(save_weights(&lstm, &path), Err(Error::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
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

/// What stands in a file: names, types, shapes and values, as PyTorch could have written them.
#[derive(Clone)]
struct Tensors(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    /// Those of a model of two features and two layers of three units.
    fn of_model() -> Self {
        let sizes = Hyperparameters { hidden_size: 3, ..Default::default() };
        Self::of(&Seq2Seq::stacked(2, &sizes).unwrap())
    }

    fn of(model: &impl Parameters<f32, Cpu>) -> Self {
        let one = |(name, p): (String, Parameter<'_, f32, Cpu>)| {
            let bytes = p.to_vec().iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, (Dtype::F32, p.shape(), bytes))
        };
        Self(model.parameters().into_iter().map(one).collect())
    }

    fn renamed(&self, name: impl Fn(&str) -> String) -> Self {
        Self(self.0.iter().map(|(old, tensor)| (name(old), tensor.clone())).collect())
    }

    fn without(&self, name: impl Fn(&str) -> bool) -> Self {
        let mut rest = self.clone();
        rest.0.retain(|found, _| !name(found));
        rest
    }

    /// With a weight of zeros.
    fn with(&self, name: &str, shape: &[usize]) -> Self {
        let mut more = self.clone();
        let zeros = vec![0; 4 * shape.iter().product::<usize>()];
        more.0.insert(name.into(), (Dtype::F32, shape.to_vec(), zeros));
        more
    }

    /// In another type, of which `convert` makes the bytes of a number.
    fn in_type<const N: usize>(&self, dtype: Dtype, convert: impl Fn(f32) -> [u8; N]) -> Self {
        let mut converted = self.clone();
        for (found, _, bytes) in converted.0.values_mut() {
            let values = bytes.as_chunks().0.iter().map(|v| convert(f32::from_le_bytes(*v)));
            (*found, *bytes) = (dtype, values.flatten().collect());
        }
        converted
    }

    /// Writes them, with what the metadata say of the decoder.
    fn write(&self, path: &Path, decoder_input: Option<&str>) {
        let views = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = decoder_input.map(|input| ("decoder_input".to_owned(), input.to_owned()));
        let metadata = metadata.map(|entry| HashMap::from([entry]));
        fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    }
}

/// A folder, and the name of a file in it.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    (folder, path)
}

#[test]
fn a_file_of_another_network_is_refused_with_the_first_weight_that_has_no_place() {
    let (_folder, path) = file();
    let model = Tensors::of_model();
    for (other, why) in [
        (model.with("attention.weight", &[3, 3]), "attention.weight is not a weight of this model"),
        (model.with("past", &[1]).with("bridge.0.bias", &[3]), "bridge.0.bias is not a weight"),
        (
            model.with("encoder.weight_ih_l0_reverse", &[9, 2]),
            "encoder.weight_ih_l0_reverse is not a weight of this model, which has no second direction",
        ),
        // A layer is left out.
        (
            model.with("encoder.weight_ih_l3", &[9, 3]),
            "encoder.weight_ih_l3 is not a weight of this model",
        ),
        (model.without(|n| n == "decoder.weight_hh_l1"), "decoder.weight_hh_l1 is missing"),
        // Layers of an LSTM, and sizes that no model should be made of.
        (
            model.with("encoder.weight_hh_l0", &[12, 3]),
            "encoder.weight_hh_l0 is [12, 3], but a GRU of 3 units has 9",
        ),
        (
            model.with("encoder.weight_hh_l0", &[1, 100_000]),
            "encoder.weight_ih_l0 is [9, 2], but a GRU of 100000 units has 300000",
        ),
        (model.with("encoder.weight_hh_l0", &[9]), "encoder.weight_hh_l0 is [9], not a matrix"),
        (model.with("dense.weight", &[0, 3]), "outputs is 0, but it must be at least 1"),
    ] {
        other.write(&path, Some("RepeatLast"));
        refused(&path, why);
    }
}

#[test]
fn weights_that_contradict_the_metadata_are_refused() {
    let (_folder, path) = file();
    let model = Tensors::of_model();
    model.write(&path, Some("Zeros"));
    refused(&path, "as many zeros as the encoder features, is 3, but 2 is needed");
    model.with("decoder.weight_ih_l0", &[9, 2]).write(&path, Some("RepeatLast"));
    refused(&path, "the encoder's last output, is 2, but 3 is needed");
    model.write(&path, Some("Attention"));
    refused(&path, "decoder_input is Attention, not RepeatLast or Zeros");
}

#[test]
fn weights_of_another_kind_of_model_are_not_read_as_a_model_but_as_weights() {
    let (_folder, path) = file();
    // All names and shapes are those of a model whose decoder reads zeros.
    let sizes = || vec![3, 3];
    let of_seed = |seed| {
        Autoregressive::new(AutoregressiveSettings {
            features: 2,
            encoder_sizes: sizes(),
            decoder_sizes: sizes(),
            context: false,
            attention: false,
            seed,
            ..Default::default()
        })
        .unwrap()
    };
    save_weights(&of_seed(1), &path).unwrap();
    refused(&path, "they are those of Autoregressive, not of Seq2Seq; load_weights reads them");
    let mut other = of_seed(2);
    load_weights(&mut other, &path).unwrap();
    assert_eq!(weights(&other), weights(&of_seed(1)));

    let lstm = Lstm::new(2, &[3], &mut Initializer::new(1), &Cpu::default()).unwrap();
    save_weights(&lstm, &path).unwrap();
    refused(&path, "they are those of Lstm, not of Seq2Seq");
}

#[test]
fn a_missing_weight_is_explained_by_what_is_there() {
    let (_folder, path) = file();
    let model = Tensors::of_model();
    for (other, why) in [
        (
            model.renamed(|name| format!("_orig_mod.{name}")),
            "encoder.weight_ih_l0 is missing: it is called _orig_mod.encoder.weight_ih_l0; strip the \
             prefix _orig_mod. (torch.compile) in Python: {k.removeprefix(\"_orig_mod.\"): v for k, v",
        ),
        (
            model.renamed(|name| format!("module.{name}")),
            "it is called module.encoder.weight_ih_l0; strip the prefix module. (DataParallel)",
        ),
        (
            model.renamed(|name| name.replace("encoder.", "encoder._orig_mod.")),
            "it is called encoder._orig_mod.weight_ih_l0; strip _orig_mod. (torch.compile) in Python: \
             {k.replace(\"_orig_mod.\", \"\"): v for k, v",
        ),
        (
            model.renamed(|name| format!("net.{name}")),
            "it is called net.encoder.weight_ih_l0; strip the prefix net. in Python",
        ),
        (
            model.without(|name| name.contains("decoder.bias")),
            "decoder.bias_ih_l0 is missing: the layer with decoder.weight_ih_l0 was made without bias \
             (bias=False in PyTorch)",
        ),
        (
            model.without(|name| name == "dense.bias"),
            "dense.bias is missing: the layer with dense.weight was made without bias",
        ),
        (
            model.renamed(|name| name.replace("encoder.", "")).without(|name| name.contains('.')),
            "encoder.weight_ih_l0 is missing: the file is of a layer alone and calls it weight_ih_l0",
        ),
        (
            model.renamed(|name| name.replace("dense", "tense")),
            "dense.weight is missing: the file has tense.weight",
        ),
        (model.without(|_| true), "encoder.weight_ih_l0 is missing: the file has no weights"),
    ] {
        other.write(&path, None);
        refused(&path, why);
    }

    // A layer alone, from the file of a model.
    let mut gru = Gru::new(2, &[3, 3], &mut Initializer::new(1), &Cpu::default()).unwrap();
    model.without(|name| name.starts_with("decoder")).write(&path, None);
    let message = load_weights(&mut gru, &path).unwrap_err().to_string();
    let why = "it is called encoder.weight_ih_l0; strip the prefix encoder. in Python";
    assert!(message.contains(why), "{message}");
}

#[test]
fn files_of_other_kinds_are_recognised() {
    let (_folder, path) = file();
    for (content, why) in [
        (&b""[..], "it is empty"),
        (b"PK\x03\x04\0\0\x08\x08\0\0\0\0", "it is a zip archive, as torch.save and Keras write"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "it is a pickle, as torch.save wrote"),
        (b"\x80\x04\x95\x01\0\0\0\0\0\0\0}\x94.", "it is a pickle"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "it is an HDF5 file, as Keras writes"),
        (b"\x08\x07\x12\x07pytorch\x1a", "it looks like an ONNX file"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "it is a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"<html><head>", "it is a web page"),
        // Lengths of a header that look like a zip archive and a pickle, in a file that is cut off.
        (b"PK\x03\x04\0\0\0\0{\"a\"", "invalid header length"),
        (b"\x80\x02\0\0\0\0\0\0{\"a\"", "invalid header length"),
        (b"\x80\x02", "header too small"),
    ] {
        fs::write(&path, content).unwrap();
        refused(&path, &format!("not a complete safetensors file ({why}"));
    }
}

/// The text that `test`, which has this name, prints, which is run in a process of its own.
fn printed(name: &str, test: impl FnOnce()) -> Option<String> {
    if std::env::var_os("IN_A_PROCESS_OF_ITS_OWN").is_some() {
        test();
        return None;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]).env("IN_A_PROCESS_OF_ITS_OWN", "1");
    let output = again.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn other_floats_become_f32_and_that_is_said() {
    let text = printed("other_floats_become_f32_and_that_is_said", || {
        let (_folder, path) = file();
        // Exact in all types.
        let whole = Tensors::of_model().in_type(Dtype::F32, |v| (8.0 * v).round().to_le_bytes());
        whole.write(&path, Some("RepeatLast"));
        let expected = weights(&Seq2Seq::load(&path).unwrap());
        assert!(expected.iter().any(|(_, values)| values.iter().any(|v| *v < -1.0)));
        let double = whole.in_type(Dtype::F64, |v| f64::from(v).to_le_bytes());
        let half = whole.in_type(Dtype::F16, |v| half::f16::from_f32(v).to_le_bytes());
        let brain = whole.in_type(Dtype::BF16, |v| half::bf16::from_f32(v).to_le_bytes());
        let mut mixed = half.clone();
        mixed.0.extend(double.without(|name| name.starts_with("dense")).0);
        for (kind, tensors) in [("a", double), ("b", half), ("c", brain), ("d", mixed)] {
            let path = path.with_file_name(kind);
            tensors.write(&path, Some("RepeatLast"));
            assert_eq!(weights(&Seq2Seq::load(&path).unwrap()), expected, "{kind}");
            let mut other = Seq2Seq::load(&path).unwrap();
            load_weights(&mut other, &path).unwrap();
            assert_eq!(weights(&other), expected, "{kind}");
        }
    });
    let Some(text) = text else { return };
    for line in [
        "a: weights in F64",
        "b: weights in F16",
        "c: weights in BF16",
        "d: weights in F16 and F64",
    ] {
        assert_eq!(
            text.matches(&format!("/{line}, converted to F32\n")).count(),
            3,
            "{line}: {text}"
        );
    }
    assert!(!text.contains("model.safetensors"), "{text}");
}

#[test]
fn a_file_that_does_not_tell_what_the_decoder_reads_is_read_and_that_is_said() {
    let name = "a_file_that_does_not_tell_what_the_decoder_reads_is_read_and_that_is_said";
    let text = printed(name, || {
        let (_folder, path) = file();
        let model = Tensors::of_model();
        model.write(&path.with_file_name("a"), None);
        model.with("decoder.weight_ih_l0", &[9, 2]).write(&path.with_file_name("b"), None);
        model.write(&path.with_file_name("c"), Some("RepeatLast"));
        let read = |name| Seq2Seq::load(path.with_file_name(name)).unwrap().decoder_input();
        assert_eq!(
            ["a", "b", "c"].map(read),
            [DecoderInput::RepeatLast, DecoderInput::Zeros, DecoderInput::RepeatLast]
        );
    });
    let Some(text) = text else { return };
    assert!(
        text.contains("/a: no decoder_input in the metadata, taken to be RepeatLast\n"),
        "{text}"
    );
    assert!(text.contains("/b: no decoder_input in the metadata, taken to be Zeros\n"), "{text}");
    assert!(!text.contains("/c: "), "{text}");
}

#[test]
fn numbers_that_are_no_finite_f32_are_refused_with_weight_and_value() {
    let (_folder, path) = file();
    let model = Tensors::of_model();
    let with = |bytes: &[u8], dtype, tensors: &Tensors| {
        let mut bad = tensors.clone();
        let (found, _, all) = bad.0.get_mut("dense.bias").unwrap();
        assert_eq!(*found, dtype);
        all[bytes.len()..].copy_from_slice(bytes); // the second of two
        bad.write(&path, Some("RepeatLast"));
    };
    with(&f32::NAN.to_le_bytes(), Dtype::F32, &model);
    refused(&path, "value 1 of dense.bias is NaN: not finite in f32");
    let double = model.in_type(Dtype::F64, |v| f64::from(v).to_le_bytes());
    with(&(-1e300f64).to_le_bytes(), Dtype::F64, &double);
    refused(&path, "value 1 of dense.bias is -1e300: not finite in f32, which ends at 3.4e38");
    let half = model.in_type(Dtype::F16, |v| half::f16::from_f32(v).to_le_bytes());
    with(&half::f16::INFINITY.to_le_bytes(), Dtype::F16, &half);
    refused(&path, "value 1 of dense.bias is inf: not finite");

    let mut whole = model.clone();
    let integers = model.in_type(Dtype::I64, |v| (v as i64).to_le_bytes());
    whole.0.extend(integers.without(|name| name != "dense.bias").0);
    whole.write(&path, Some("RepeatLast"));
    refused(&path, "dense.bias is in I64, but it must be in F32, F64, F16 or BF16");
}

//! Weights on disk: safetensors under PyTorch's names, so that a layer's file loads into
//! `torch.nn.RNN`, `GRU` or `LSTM` (with `batch_first=True`) or `torch.nn.Linear`, and the parts of a
//! model (`encoder.*`, `decoder.*`, `dense.*`) into modules of these names; and back.

use dfdx::tensor::Cpu;
use dfdx::tensor_ops::Device;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{DecoderInput, Seq2Seq};
use crate::error::{Error, Result};
use crate::file;
use crate::layers::{Dense, Initializer, Parameters, RecurrentCell, Stack, flat_weights};

/// The kind of a model's cells, among the file's metadata. The sizes of the weights tell today's kinds apart,
/// too.
const CELL: &str = "cell";
/// What a model's decoder reads, among the file's metadata: its weights need not tell.
const DECODER_INPUT: &str = "decoder_input";
/// Rust's type of what [`save_weights`] has written, among the file's metadata.
const SAVED_TYPE: &str = "saved_type";
/// How the names of a checkpoint's vectors begin that are no weights. PyTorch has no weight of such a
/// name: `training` is an attribute of all its modules.
const EXTRA: &str = "training.";

/// Writes the weights of a layer or a model to `path`, as f32 safetensors under PyTorch's names. A
/// file that is there is replaced only once the new one is complete.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let dev = Cpu::default();
/// let trained = Lstm::new(1, &[20, 20], &mut Initializer::new(1), &dev)?;
/// let path = std::env::temp_dir().join("seq2seq_save_weights_example.safetensors");
/// save_weights(&trained, &path)?;
///
/// let mut other = Lstm::new(1, &[20, 20], &mut Initializer::new(2), &dev)?;
/// load_weights(&mut other, &path)?;
/// let weights = |lstm: &Lstm| lstm.layers[1].weight_hh.as_vec();
/// assert_eq!(weights(&other), weights(&trained));
/// # std::fs::remove_file(&path).map_err(|e| Error::Io { path, source: e })?;
/// # Ok::<(), Error>(())
/// ```
///
/// For a [`Seq2Seq`], [`Seq2Seq::save`] also writes what the decoder reads.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, and [`Error::Weights`] when two weights have the
/// same name.
pub fn save_weights<D: Device<f32>>(
    model: &impl Parameters<f32, D>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let saved_type = std::any::type_name_of_val(model);
    Layout::of(model, saved_type).write(&flat_weights(model), &[], None, path.as_ref())
}

/// Replaces the weights of a layer or a model by those that [`save_weights`] has written to `path`,
/// or PyTorch under the same names. The sizes must be those of the model, and on an error the model
/// stays as it was. Of a checkpoint, the model in it is taken. A part of a saved model alone is
/// `Seq2Seq::load(path)?.encoder().clone()`.
///
/// Weights in F64, F16 or BF16 become f32, which a printed line says.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, and [`Error::Weights`] when it is cut off or is not a
/// safetensors file, and with the name of the first weight that the file lacks, that the model has no
/// place for, that has another shape or another type of number, or that has a value that is not finite as
/// f32.
pub fn load_weights<D: Device<f32>>(
    model: &mut impl Parameters<f32, D>,
    path: impl AsRef<Path>,
) -> Result<()> {
    Extras::read(path.as_ref())?.load_into(model)
}

impl<C: RecurrentCell> Seq2Seq<C> {
    /// Writes the weights to `path`, as f32 safetensors under PyTorch's names. A file that is there
    /// is replaced only once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.layout().write(&flat_weights(self), &[], None, path.as_ref())
    }

    /// The form of its file.
    pub(crate) fn layout(&self) -> Layout {
        let decoder_input = format!("{:?}", self.decoder_input());
        let metadata = vec![(CELL, C::NAME.to_owned()), (DECODER_INPUT, decoder_input)];
        Layout { weights: names_and_shapes(self), metadata }
    }

    /// As [`Seq2Seq::load`], of any kind of cell: `Seq2Seq::<LstmCell>::load_of_cell(path)?`.
    ///
    /// # Errors
    /// As [`Seq2Seq::load`].
    pub fn load_of_cell(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let saved = Extras::read(path)?;
        let file = parse(path, &saved.bytes)?;
        let named = saved.metadata(DECODER_INPUT);
        let saved_type = saved.metadata(SAVED_TYPE).map(short);
        if let (None, Some(other)) = (named, saved_type.filter(|&name| name != "Seq2Seq")) {
            let reason =
                format!("they are those of {other}, not of Seq2Seq; load_weights reads them");
            return Err(Error::weights(path, reason));
        }

        if let Some(cell) = saved.metadata(CELL).filter(|&cell| cell != C::NAME) {
            return Err(other(path, CELL, cell, C::NAME));
        }
        let (encoder_inputs, encoder) = stack_sizes::<C>(path, &file, "encoder")?;
        let (decoder_inputs, decoder) = stack_sizes::<C>(path, &file, "decoder")?;
        let (outputs, inputs) = matrix(path, &file, "dense.weight")?;
        let decoder_input = match named {
            Some("RepeatLast") => DecoderInput::RepeatLast,
            Some("Zeros") => DecoderInput::Zeros,
            Some(other) => {
                let reason = format!("{DECODER_INPUT} is {other}, not RepeatLast or Zeros");
                return Err(Error::weights(path, reason));
            }
            None if encoder.last() == Some(&decoder_inputs) => DecoderInput::RepeatLast,
            None => DecoderInput::Zeros,
        };
        let (dev, mut init) = (Cpu::default(), Initializer::zeros());
        let mut empty = || {
            let encoder = Stack::new(encoder_inputs, &encoder, &mut init, &dev)?;
            let decoder = Stack::new(decoder_inputs, &decoder, &mut init, &dev)?;
            let dense = Dense::new(inputs, outputs, &mut init, &dev)?;
            Self::new(encoder, decoder, dense, decoder_input)
        };
        let mut model = empty().map_err(|e| Error::weights(path, e.to_string()))?;
        copy_into(&mut model, path, &file)?;
        if named.is_none() {
            let path = path.display();
            println!("{path}: no {DECODER_INPUT} in the metadata, taken to be {decoder_input:?}");
        }
        Ok(model)
    }
}

impl Seq2Seq {
    /// Reads a model of GRUs that [`Seq2Seq::save`] or a training with a checkpoint has written, or PyTorch under
    /// the same names. The sizes follow from the weights. Where the metadata do not tell what the decoder
    /// reads, as in PyTorch's files, it is taken to be the encoder's last output where the sizes allow
    /// it, and zeros otherwise; a printed line says so.
    ///
    /// Weights in F64, F16 or BF16 become f32, which a printed line says, too.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, and [`Error::Weights`] when it is cut off or is not a
    /// safetensors file, when the metadata contradict the weights or tell of another kind of model, and
    /// with the name of the first weight that the file lacks, that this kind of model has no place for,
    /// that has another shape or another type of number, or that has a value that is not finite as f32.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_of_cell(path)
    }
}

/// The last part of the name of a type, `Gru`, which is a stack of `GruCell`, or a tuple as it is.
fn short(type_name: &str) -> &str {
    if type_name.starts_with('(') {
        return type_name;
    }
    let paths = type_name.split(['<', ',', '>']);
    let mut names = paths.map(|path| path.rsplit("::").next().unwrap_or(path));
    let name = names.find(|&name| name != "Stack").unwrap_or(type_name);
    name.strip_suffix("Cell").unwrap_or(name)
}

/// The error for a file whose metadata tell of another model.
fn other(path: &Path, name: &str, found: &str, value: &str) -> Error {
    Error::weights(path, format!("{name} is {found}, and that of this model {value}"))
}

/// The inputs of a stack, and the units of each layer.
fn stack_sizes<C: RecurrentCell>(
    path: &Path,
    file: &SafeTensors<'_>,
    part: &str,
) -> Result<(usize, Vec<usize>)> {
    let (_, inputs) = matrix(path, file, &format!("{part}.weight_ih_l0"))?;
    let mut hidden_sizes = Vec::new();
    loop {
        let layer = hidden_sizes.len();
        let [input, recurrent] = ["ih", "hh"].map(|kind| format!("{part}.weight_{kind}_l{layer}"));
        if layer > 0 && file.tensor(&input).is_err() {
            return Ok((inputs, hidden_sizes));
        }
        let (_, hidden) = matrix(path, file, &recurrent)?;
        // Checked before there is a model, which then is no larger than the file.
        for name in [input, recurrent] {
            let (rows, columns) = matrix(path, file, &name)?;
            if hidden.checked_mul(C::KIND.gates()) != Some(rows) {
                let reason = format!(
                    "{name} is [{rows}, {columns}], but {} of {hidden} units has {} rows",
                    C::A_NAME,
                    hidden.saturating_mul(C::KIND.gates())
                );
                return Err(Error::weights(path, reason));
            }
        }
        hidden_sizes.push(hidden);
    }
}

/// The rows and columns of a matrix.
fn matrix(path: &Path, file: &SafeTensors<'_>, name: &str) -> Result<(usize, usize)> {
    let tensor = file.tensor(name).map_err(|_| missing(path, file, name))?;
    match tensor.shape() {
        &[rows, columns] => Ok((rows, columns)),
        other => Err(Error::weights(path, format!("{name} is {other:?}, not a matrix"))),
    }
}

/// The form of a model's file: all of it but the values.
pub(crate) struct Layout {
    weights: Vec<(String, Vec<usize>)>,
    metadata: Vec<(&'static str, String)>,
}

fn names_and_shapes<D: Device<f32>>(
    model: &(impl Parameters<f32, D> + ?Sized),
) -> Vec<(String, Vec<usize>)> {
    model.parameters().into_iter().map(|(name, weight)| (name, weight.shape())).collect()
}

impl Layout {
    /// Of the weights of a layer or a model of this type.
    pub(crate) fn of<D: Device<f32>>(
        model: &(impl Parameters<f32, D> + ?Sized),
        saved_type: &str,
    ) -> Self {
        let metadata = vec![(SAVED_TYPE, saved_type.to_owned())];
        Self { weights: names_and_shapes(model), metadata }
    }

    /// Refuses a file of a model of other cells, or whose decoder reads something else, which no weight need
    /// tell.
    pub(crate) fn check(&self, file: &Extras) -> Result<()> {
        for (name, value) in self.metadata.iter().filter(|(name, _)| *name != SAVED_TYPE) {
            if let Some(found) = file.metadata(name).filter(|found| found != value) {
                return Err(other(&file.path, name, found, value));
            }
        }
        Ok(())
    }

    /// Writes a file with these weights, one after the other. What a checkpoint needs beside them are further
    /// vectors, and further metadata.
    pub(crate) fn write(
        &self,
        mut weights: &[f32],
        vectors: &[(&str, &[f32])],
        metadata: Option<(String, String)>,
        path: &Path,
    ) -> Result<()> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for (name, shape) in &self.weights {
            if !names.insert(name) {
                return Err(Error::weights(path, format!("two weights are called {name}")));
            }
            let (values, others) = weights.split_at(shape.iter().product());
            tensors.push((name.clone(), shape.clone(), bytes_of(values)));
            weights = others;
        }
        for (name, values) in vectors {
            tensors.push((format!("{EXTRA}{name}"), vec![values.len()], bytes_of(values)));
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, bytes) in &tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
                .map_err(|e| Error::weights(path, e.to_string()))?;
            views.push((name.as_str(), view));
        }
        let own = self.metadata.iter().map(|(name, value)| (name.to_string(), value.clone()));
        let metadata = own.chain(metadata).collect();
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::weights(path, e.to_string()))?;
        file::replace(path, &bytes).map_err(|e| Error::io(path, e))
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A file of weights, as [`Layout::write`] or PyTorch has written it.
pub(crate) struct Extras {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl Extras {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        parse(path, &bytes)?;
        let metadata = SafeTensors::read_metadata(&bytes).ok();
        let metadata = metadata.and_then(|(_, all)| all.metadata().clone()).unwrap_or_default();
        Ok(Self { path: path.to_owned(), bytes, metadata })
    }

    /// Replaces the weights of `model` by those of the file.
    pub(crate) fn load_into<D: Device<f32>>(
        &self,
        model: &mut (impl Parameters<f32, D> + ?Sized),
    ) -> Result<()> {
        copy_into(model, &self.path, &parse(&self.path, &self.bytes)?)
    }

    /// How many numbers the weights in it are.
    pub(crate) fn values(&self) -> Result<usize> {
        let file = parse(&self.path, &self.bytes)?;
        let weights = file.iter().filter(|(name, _)| !name.starts_with(EXTRA));
        Ok(weights.map(|(_, weight)| weight.shape().iter().product::<usize>()).sum())
    }

    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// A vector, if the file has it.
    pub(crate) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let file = parse(&self.path, &self.bytes)?;
        let name = format!("{EXTRA}{name}");
        let Ok(tensor) = file.tensor(&name) else { return Ok(None) };
        floats(&self.path, &name, &tensor).map(Some)
    }
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|e| {
        let found = other_kind(bytes).map_or_else(|| e.to_string(), str::to_owned);
        Error::weights(path, format!("not a complete safetensors file ({found})"))
    })
}

/// What a file is that is no safetensors file, by its first bytes, and what to do about it.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    // Nine bytes in, a safetensors file begins its header. The lengths before it look like anything.
    let cut_off = bytes.len() <= 8 || bytes[8] == b'{';
    let text = bytes.trim_ascii_start();
    let begins =
        |tag: &str| text.get(..tag.len()).is_some_and(|t| t.eq_ignore_ascii_case(tag.as_bytes()));
    match bytes {
        [] => Some("it is empty"),
        _ if cut_off => None,
        [b'P', b'K', 3, 4, ..] => Some(
            "it is a zip archive, as torch.save and Keras write; examples/convert_weights.py converts \
             those of Keras, and in PyTorch \
             safetensors.torch.save_file(model.state_dict(), path) writes what is needed here",
        ),
        [0x80, 0..=5, ..] => Some(
            "it is a pickle, as torch.save wrote; in Python, \
             safetensors.torch.save_file(model.state_dict(), path) writes what is needed here",
        ),
        [0x89, b'H', b'D', b'F', ..] => {
            Some("it is an HDF5 file, as Keras writes; examples/convert_weights.py converts it")
        }
        [8, _, 0x12, ..] => {
            Some("it looks like an ONNX file; examples/convert_weights.py converts it")
        }
        [b'G', b'G', b'U', b'F', ..] => Some("it is a GGUF file, which holds language models"),
        _ if begins("version https://git-lfs") => {
            Some("it is a pointer of Git LFS, not the file itself; `git lfs pull` fetches that")
        }
        _ if begins("<!doctype html") || begins("<html") => {
            Some("it is a web page; download the file itself, not the page that shows it")
        }
        _ => None,
    }
}

/// Takes every weight of the model from the file, or, when one does not fit, none at all.
fn copy_into<D: Device<f32>>(
    model: &mut (impl Parameters<f32, D> + ?Sized),
    path: &Path,
    file: &SafeTensors<'_>,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, parameter) in model.parameters() {
        let tensor = file.tensor(&name).map_err(|_| missing(path, file, &name))?;
        tensors.push((name, parameter.shape(), tensor));
    }
    let known: HashSet<&str> = tensors.iter().map(|(name, ..)| name.as_str()).collect();
    if let Some(name) = names(file).into_iter().find(|name| !known.contains(name)) {
        let second =
            if name.ends_with("_reverse") { ", which has no second direction" } else { "" };
        let reason = format!("{name} is not a weight of this model{second}");
        return Err(Error::weights(path, reason));
    }
    let (mut weights, mut converted) = (Vec::new(), BTreeSet::new());
    for (name, needed, tensor) in &tensors {
        if tensor.shape() != needed {
            let reason = format!("{name} is {:?}, but {needed:?} is needed", tensor.shape());
            return Err(Error::weights(path, reason));
        }
        weights.push(floats(path, name, tensor)?);
        if tensor.dtype() != Dtype::F32 {
            converted.insert(tensor.dtype().to_string());
        }
    }
    for ((_, mut parameter), values) in model.parameters_mut().into_iter().zip(weights) {
        parameter.copy_from(&values);
    }
    if !converted.is_empty() {
        let types = converted.into_iter().collect::<Vec<_>>().join(" and ");
        println!("{}: weights in {types}, converted to F32", path.display());
    }
    Ok(())
}

/// The names of all weights, sorted, so that the same file always gives the same message.
fn names<'a>(file: &'a SafeTensors<'_>) -> BTreeSet<&'a str> {
    file.names().into_iter().filter(|name| !name.starts_with(EXTRA)).collect()
}

/// The error for a weight that is missing, with one of the usual reasons or what is there instead.
fn missing(path: &Path, file: &SafeTensors<'_>, name: &str) -> Error {
    let names = names(file);
    let there = || {
        // Those of another part, or else any.
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
        let (alike, others): (Vec<&str>, Vec<_>) =
            names.iter().partition(|n| last(n) == last(name));
        let some = if alike.is_empty() { others } else { alike };
        let some = some[..some.len().min(4)].join(", ");
        format!("the file has {}", if some.is_empty() { "no weights" } else { &some })
    };
    let reason = missing_because(name, &names).unwrap_or_else(there);
    Error::weights(path, format!("{name} is missing: {reason}"))
}

/// One of the usual reasons.
fn missing_because(name: &str, names: &BTreeSet<&str>) -> Option<String> {
    // What PyTorch puts into the names of modules that it wraps.
    const WRAPPERS: [(&str, &str); 2] =
        [("_orig_mod.", " (torch.compile)"), ("module.", " (DataParallel)")];
    let prefix = |found: &&str| found.strip_suffix(name).filter(|p| p.ends_with('.')).map(str::len);
    if let Some((found, length)) = names.iter().find_map(|found| Some((found, prefix(found)?))) {
        let prefix = &found[..length];
        let whose = WRAPPERS.iter().find(|(wrapper, _)| prefix.contains(wrapper));
        let whose = whose.map_or("", |(_, whose)| whose);
        return Some(format!(
            "it is called {found}; strip the prefix {prefix}{whose} in Python: \
             {{k.removeprefix(\"{prefix}\"): v for k, v in weights.items() if k.startswith(\"{prefix}\")}}"
        ));
    }
    for (wrapper, whose) in WRAPPERS {
        if let Some(found) = names.iter().find(|found| found.replace(wrapper, "") == name) {
            return Some(format!(
                "it is called {found}; strip {wrapper}{whose} in Python: \
                 {{k.replace(\"{wrapper}\", \"\"): v for k, v in weights.items()}}"
            ));
        }
    }
    if let Some((part, rest)) = name.split_once('.').filter(|(_, rest)| names.contains(rest)) {
        return Some(format!(
            "the file is of a layer alone and calls it {rest}; load_weights reads such a file into the \
             {part}, before the model is made of it"
        ));
    }
    let matrix = name.replace("bias", "weight");
    (matrix != name && names.contains(matrix.as_str())).then(|| {
        format!(
            "the layer with {matrix} was made without bias (bias=False in PyTorch), but the layers here \
             have one; save zeros under this name"
        )
    })
}

/// The values of a tensor as f32, all of them finite.
fn floats(path: &Path, name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = tensor.data();
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|v| f64::from_le_bytes(*v) as f32).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|v| f16::from_le_bytes(*v).to_f32()).collect(),
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|v| bf16::from_le_bytes(*v).to_f32()).collect()
        }
        other => {
            let reason = format!("{name} is in {other}, but it must be in F32, F64, F16 or BF16");
            return Err(Error::weights(path, reason));
        }
    };
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(values) };
    let value = match tensor.dtype() {
        Dtype::F64 => f64::from_le_bytes(data.as_chunks().0[at]),
        _ => f64::from(values[at]),
    };
    let reason =
        format!("value {at} of {name} is {value:e}: not finite in f32, which ends at 3.4e38");
    Err(Error::weights(path, reason))
}

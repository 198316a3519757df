//! Weights on disk: safetensors under PyTorch's names, so that a layer's file loads into
//! `torch.nn.RNN`, `GRU` or `LSTM` (with `batch_first=True`) or `torch.nn.Linear`, and the parts of a
//! model (`encoder.*`, `decoder.*`, `dense.*`) into modules of these names; and back.

use dfdx::tensor::Cpu;
use dfdx::tensor_ops::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{DecoderInput, Seq2Seq};
use crate::error::{Error, Result};
use crate::layers::{Dense, Gru, Initializer, Parameters};

/// The one setting of a model that its weights do not tell, among the file's metadata.
const DECODER_INPUT: &str = "decoder_input";

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
/// # Errors
/// [`Error::Io`] when the file can not be written, and [`Error::Weights`] when two weights have the
/// same name.
pub fn save_weights<D: Device<f32>>(
    model: &impl Parameters<f32, D>,
    path: impl AsRef<Path>,
) -> Result<()> {
    write(model, Vec::new(), None, path.as_ref())
}

/// Replaces the weights of a layer or a model by those that [`save_weights`] has written to `path`,
/// or PyTorch under the same names. The sizes must be those of the model, and on an error the model
/// stays as it was.
///
/// # Errors
/// [`Error::Io`] when the file can not be read, and [`Error::Weights`] when it is cut off, is not a
/// safetensors file, lacks a weight of the model, has one that the model lacks, or has one of
/// another shape.
pub fn load_weights<D: Device<f32>>(
    model: &mut impl Parameters<f32, D>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let file = parse(path, &bytes)?;
    let known: HashSet<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
    // The smallest of the names, so that the same file always gives the same message.
    if let Some(name) = file.names().into_iter().filter(|&name| !known.contains(name)).min() {
        return Err(Error::weights(path, format!("{name} is not a weight of this model")));
    }
    copy_into(model, path, &file)
}

impl Seq2Seq {
    /// Writes the weights to `path`, as f32 safetensors under PyTorch's names. A file that is there
    /// is replaced only once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(Vec::new(), [], path.as_ref())
    }

    /// As [`Seq2Seq::save`], with further vectors and further metadata in the same file.
    pub(crate) fn save_with(
        &self,
        vectors: Vec<(&str, &[f32])>,
        metadata: impl IntoIterator<Item = (String, String)>,
        path: &Path,
    ) -> Result<()> {
        let mut all = HashMap::from_iter(metadata);
        all.insert(DECODER_INPUT.to_owned(), format!("{:?}", self.decoder_input()));
        write(self, vectors, Some(all), path)
    }

    /// Reads a model that [`Seq2Seq::save`] has written, or PyTorch under the same names. The sizes
    /// follow from the weights. Without the metadata of this crate the decoder's input is taken to
    /// be the encoder's last output where the sizes allow it, and zeros otherwise.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be read, [`Error::Weights`] when it is cut off, is not a
    /// safetensors file, or does not hold a model of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read(path)?;
        let file = parse(path, &bytes)?;
        let shape = |name: &str| file.tensor(name).map(|t| t.shape().to_vec());
        let matrix = |name: &str| match shape(name).as_deref() {
            Ok(&[rows, columns]) => Ok((rows, columns)),
            Ok(other) => Err(Error::weights(path, format!("{name} is {other:?}, not a matrix"))),
            Err(_) => Err(Error::weights(path, format!("{name} is missing"))),
        };
        let dev = Cpu::default();
        let mut init = Initializer::new(0); // every value is replaced below
        let mut gru = |part: &str| {
            let (_, inputs) = matrix(&format!("{part}.weight_ih_l0"))?;
            let mut hidden_sizes = Vec::new();
            while shape(&format!("{part}.weight_ih_l{}", hidden_sizes.len())).is_ok() {
                let (_, hidden) = matrix(&format!("{part}.weight_hh_l{}", hidden_sizes.len()))?;
                hidden_sizes.push(hidden);
            }
            Gru::new(inputs, &hidden_sizes, &mut init, &dev)
        };
        let encoder = gru("encoder")?;
        let decoder = gru("decoder")?;
        let (outputs, inputs) = matrix("dense.weight")?;
        let dense = Dense::new(inputs, outputs, &mut init, &dev)?;

        let metadata = SafeTensors::read_metadata(&bytes).ok();
        let named = metadata.and_then(|(_, m)| m.metadata().as_ref()?.get(DECODER_INPUT).cloned());
        let decoder_input = match named.as_deref() {
            Some("RepeatLast") => DecoderInput::RepeatLast,
            Some("Zeros") => DecoderInput::Zeros,
            Some(other) => {
                let reason = format!("{DECODER_INPUT} is {other}, not RepeatLast or Zeros");
                return Err(Error::weights(path, reason));
            }
            None if decoder.inputs() == encoder.outputs() => DecoderInput::RepeatLast,
            None => DecoderInput::Zeros,
        };
        let mut model = Seq2Seq::new(encoder, decoder, dense, decoder_input)
            .map_err(|e| Error::weights(path, e.to_string()))?;
        copy_into(&mut model, path, &file)?;
        Ok(model)
    }
}

/// Writes beside the file, then renames.
fn write<D: Device<f32>>(
    model: &impl Parameters<f32, D>,
    vectors: Vec<(&str, &[f32])>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<()> {
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    let weights = model.parameters().into_iter().map(|(name, p)| (name, p.shape(), p.to_vec()));
    let vectors = vectors.into_iter().map(|(name, v)| (name.to_owned(), vec![v.len()], v.to_vec()));
    for (name, shape, values) in weights.chain(vectors) {
        if !names.insert(name.clone()) {
            return Err(Error::weights(path, format!("two weights are called {name}")));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|e| Error::weights(path, e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let bytes =
        safetensors::serialize(views, metadata).map_err(|e| Error::weights(path, e.to_string()))?;

    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    fs::write(beside, bytes).and_then(|()| fs::rename(beside, path)).map_err(|e| {
        let _ = fs::remove_file(beside); // it may not be there at all
        Error::io(path, e)
    })
}

/// A file that [`Seq2Seq::save_with`] has written, less the model.
pub(crate) struct Extras {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl Extras {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        parse(path, &bytes)?;
        let metadata = SafeTensors::read_metadata(&bytes).ok();
        let metadata = metadata.and_then(|(_, m)| m.metadata().clone()).unwrap_or_default();
        Ok(Self { path: path.to_owned(), bytes, metadata })
    }

    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// A vector, if the file has it.
    pub(crate) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let file = parse(&self.path, &self.bytes)?;
        let Ok(tensor) = file.tensor(name) else { return Ok(None) };
        floats(&self.path, name, &tensor).map(Some)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io(path, e))
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::weights(path, format!("not a complete safetensors file ({e})")))
}

/// Takes every weight of the model from the file, or, when one does not fit, none at all.
fn copy_into<D: Device<f32>>(
    model: &mut impl Parameters<f32, D>,
    path: &Path,
    file: &SafeTensors<'_>,
) -> Result<()> {
    let mut weights = Vec::new();
    for (name, parameter) in model.parameters() {
        let tensor =
            file.tensor(&name).map_err(|_| Error::weights(path, format!("{name} is missing")))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != parameter.shape() {
            let (dtype, found, needed) = (tensor.dtype(), tensor.shape(), parameter.shape());
            let reason = format!("{name} is {dtype:?} {found:?}, but F32 {needed:?} is needed");
            return Err(Error::weights(path, reason));
        }
        weights.push(floats(path, &name, &tensor)?);
    }
    for ((_, mut parameter), values) in model.parameters_mut().into_iter().zip(weights) {
        parameter.copy_from(&values);
    }
    Ok(())
}

fn floats(path: &Path, name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    let (values, _) = tensor.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::weights(path, format!("{name} holds a value that is not finite")));
    }
    Ok(values)
}

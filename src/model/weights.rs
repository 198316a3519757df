//! Weights on disk: safetensors under PyTorch's names, so that `encoder.*` and `decoder.*` load into
//! two `torch.nn.GRU(batch_first=True)` and `dense.*` into a `torch.nn.Linear`, and back.

use dfdx::tensor::Cpu;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{DecoderInput, Seq2Seq};
use crate::error::{Error, Result};
use crate::layers::{Dense, Gru, Initializer, Parameters};

/// The one setting of a model that its weights do not tell, among the file's metadata.
const DECODER_INPUT: &str = "decoder_input";

impl Seq2Seq {
    /// Writes the weights to `path`, as f32 safetensors under PyTorch's names. A file that is there
    /// is replaced only once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let tensors: Vec<_> = self
            .parameters()
            .into_iter()
            .map(|(name, parameter)| {
                let values = parameter.to_vec();
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, parameter.shape(), bytes)
            })
            .collect();
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, bytes) in &tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
                .map_err(|e| Error::weights(path, e.to_string()))?;
            views.push((name.as_str(), view));
        }
        let decoder_input = format!("{:?}", self.decoder_input());
        let metadata = HashMap::from([(DECODER_INPUT.to_owned(), decoder_input)]);
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::weights(path, e.to_string()))?;

        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let beside = Path::new(&beside);
        fs::write(beside, bytes).and_then(|()| fs::rename(beside, path)).map_err(|e| {
            let _ = fs::remove_file(beside); // it may not be there at all
            Error::io(path, e)
        })
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
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| Error::weights(path, format!("not a complete safetensors file ({e})")))?;
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
        for (name, mut parameter) in model.parameters_mut() {
            let tensor = file
                .tensor(&name)
                .map_err(|_| Error::weights(path, format!("{name} is missing")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != parameter.shape() {
                let (dtype, found) = (tensor.dtype(), tensor.shape());
                let needed = parameter.shape();
                let reason = format!("{name} is {dtype:?} {found:?}, but F32 {needed:?} is needed");
                return Err(Error::weights(path, reason));
            }
            let (values, _) = tensor.data().as_chunks::<4>();
            let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::weights(
                    path,
                    format!("{name} holds a value that is not finite"),
                ));
            }
            parameter.copy_from(&values);
        }
        Ok(model)
    }
}

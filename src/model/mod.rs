//! Networks, put together from [`layers`](crate::layers), and weights on disk.

mod autoregressive;
mod predictor;
mod seq2seq;
mod weights;

pub use crate::kernels::DecoderInput;
pub use autoregressive::{Autoregressive, AutoregressiveSettings, Feeding};
pub use predictor::Predictor;
pub(crate) use predictor::{chunk, predict_while};
pub use seq2seq::Seq2Seq;
pub(crate) use weights::{Extras, Layout};
pub use weights::{load_weights, save_weights};

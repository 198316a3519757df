//! Networks, put together from [`layers`](crate::layers).

mod predictor;
mod seq2seq;
mod weights;

pub use crate::kernels::DecoderInput;
pub use predictor::Predictor;
pub use seq2seq::Seq2Seq;

//! Networks, put together from [`layers`](crate::layers).

mod seq2seq;
mod weights;

pub use crate::kernels::DecoderInput;
pub use seq2seq::Seq2Seq;

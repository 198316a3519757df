//! Networks, put together from [`layers`](crate::layers).

mod seq2seq;
mod weights;

pub use seq2seq::{DecoderInput, Seq2Seq};

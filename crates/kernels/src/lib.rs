//! The kernels for the CPU.
//!
//! # The frame in five minutes
//!
//! A **tile** is a handful of series that go through the whole computation together. It is kept
//! *feature-major*: one row a feature, one lane a series,
//!
//! ```text
//!            lane 0   lane 1   …   lane W-1          W = 1 or 2 vector registers
//! feature 0   x₀(b)    x₀(b+1)  …                    (8 or 16 series with AVX2)
//! feature 1   x₁(b)    x₁(b+1)  …
//! ```
//!
//! so the batch fills the vector lanes, a weight is broadcast to all of them, no feature count
//! needs padding, and a gate is computed in the register that its inner product ended in. Over time
//! a layer keeps two such arrays,
//!
//! ```text
//! gates   (T, SAVED·H, W)   what the backward pass needs, overwritten by the gradients
//! hidden  (T + 1, H, W)     row 0 is the initial state
//! ```
//!
//! and a tile of a small model stays in the second-level cache from its first forward step to its
//! last backward step. (An LSTM carries one more block of rows from step to step, its cell state.)
//!
//! | module | its one idea |
//! |---|---|
//! | [`level`] | one source, several instruction sets, chosen at run time |
//! | [`activation`] | sigmoid and tanh in a few ulp |
//! | [`aligned`] | buffers that start on a cache line, and those that are used again |
//! | `tile` | batch-first series to feature-major tiles and back |
//! | `product` | packed weights times a tile: the register-blocked inner product |
//! | `outer` | gradients of weights: a tile times a transposed tile, summed over time and lanes |
//! | `dense` | an affine map of every step, the head of a model |
//! | `cell` | what a recurrent cell is to the frame |
//! | `simple_rnn` | the formula of the simple RNN, forward and backward |
//! | `gru` | the gate formulas of the GRU |
//! | `lstm` | the gate formulas of the LSTM, and the cell state that it carries along |
//! | `shape` | the kinds of cells, and the sizes of a layer |
//! | `layer` | a cell over time: forward, then backward, for one tile |
//! | `dropout` | which outputs of a layer a training step drops |
//! | `stack` | layers over one tile, with a dense head or without |
//! | `threads` | work shared with other threads, from inside and outside of their pool |
//! | [`recurrent`] | a stack of layers as an operation on batch-first slices |
//! | [`seq2seq`] | the fused training step of the encoder-decoder |
//! | [`optimizer`] | Adam, RMSProp and SGD, after the clipping of the gradient |
//!
//! # Same result for any number of threads
//!
//! Its size and the instruction set decide how the batch is cut into tiles. Either a few tiles in a row
//! have a gradient of their own, and the gradients are added in their order; or, in large models, the
//! tiles keep their activations and each piece of the gradient is summed over them in their order. Sizes
//! and instruction set decide which, too. Threads only choose who computes which tile and which piece.

#![forbid(unsafe_code)]

pub mod activation;
pub mod aligned;
mod cell;
mod dense;
mod dropout;
mod gru;
mod layer;
pub mod level;
mod lstm;
pub mod optimizer;
mod outer;
mod product;
pub mod recurrent;
pub mod seq2seq;
mod shape;
mod simple_rnn;
mod stack;
mod threads;
mod tile;

use serde::{Deserialize, Serialize};

/// What the decoder reads at each of the F steps, beside the states that it starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoderInput {
    /// The encoder's last output, `(B, H)`, at every step (G. Chevalier).
    #[default]
    RepeatLast,
    /// Zeros, as wide as the decoder's input (L. Tonin).
    Zeros,
}

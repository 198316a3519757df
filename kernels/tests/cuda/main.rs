//! What a GPU computes in a training step, run on the CPU, against the fused step of the CPU.
//!
//! The kernels' own text is compiled by the C compiler. This shows that sizes, indices, formulas and
//! barriers are right. It does not show what only a GPU can: that NVIDIA's compiler takes it, how fast it
//! is, and the order in which memory is seen.

#![cfg(target_os = "linux")]

#[path = "../../src/cuda/arguments.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of the crate's module")]
mod arguments;
mod comparison;
mod fused;
mod graph;
#[path = "../../src/cuda/operations.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of the crate's module")]
mod operations;
#[path = "../../src/cuda/plan.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of the crate's module")]
mod plan;

// What these parts take from the module that they belong to.
use seq2seq_kernels::DecoderInput;
use seq2seq_kernels::optimizer::{BETA_1, BETA_2, EPSILON, Optimizer, Settings};
use seq2seq_kernels::seq2seq::NetworkShape;

//! The training step of the encoder-decoder on NVIDIA GPUs: one launch a step.
//!
//! It has all unsafe code of the project. Without feature `cuda` nothing calls a GPU: what is left decides
//! what a GPU is told, and is compared with the CPU.
//!
//! # The idea in five minutes
//!
//! Networks that fit into the registers of one multiprocessor have one kernel; for all others, hundreds of
//! operations are recorded once as a graph, which is launched as one.
//!
//! ## One kernel
//!
//! A step of a small network is a chain: 2·(P + F) recurrent steps, each of which waits for the one before.
//! A launch for each operation costs more than what it computes, and so does reading the weights anew at
//! each of them. So one launch does all, and the weights come once:
//!
//! ```text
//! block    1, 2 or 4 series (S) from their first step to the gradient; then the next ones
//! thread   a slice of one unit's weights, in registers; 1 to 32 threads, its lanes, make up a unit
//! shared   x, states and gates of all steps, a row (units, S) each, read as float4s
//!          (where they do not fit: the last two rows, and all of them in global memory)
//! ```
//!
//! A float4 is a piece of a row: one unit of 4 series, two of 2 or four of 1. A lane multiplies every
//! n-th float4 of a row by its weights, the lanes of a unit add up by shuffles and share the series between
//! them, and each has the gates of its own in registers. Layers run as a **wavefront**: each has threads of
//! its own and is a step behind the one below, so that P + L − 1 phases with one barrier each do for all L
//! layers. Backward, a thread does two things between barriers: the products with the gates' gradients of
//! the step after (its own layer's, and the one's above of this step), and the gates of this step. The
//! weights' gradients follow at the end, one product over time and series: to add them up on the way
//! would take as many registers again as the weights do.
//!
//! Then the blocks wait for each other, once: all of them are on the GPU together (a cooperative launch).
//! Each sums the gradients of all blocks for its share of the weights, in their order, and updates them. The
//! end of the kernel is the next such barrier. (Clipping by length takes one more.) The same GPU gives the
//! same result twice, bit for bit.
//!
//! The weights lie three times on the GPU: as matrices with padded rows, and packed as the threads load
//! them, forward and backward, since the backward pass multiplies by columns.
//!
//! What fits are the weights of one side (encoder or decoder) in the registers of one multiprocessor: one
//! layer of 120 units, two of 64, three of 48, four of 36.
//!
//! ## A graph
//!
//! A large network is products of matrices, and cuBLAS has the best: of the input with its weights for all
//! steps at once, of the states step by step, and of the weights' gradients again for all steps. Between
//! two of them lies one small kernel with all gates. The list of these operations is data, so that the
//! tests can run it on the CPU. The first batch of some size runs it as it is, the second one is recorded,
//! and from then on the record is launched. cuBLAS computes in full f32, unless TF32 is allowed.
//!
//! | file | its one idea |
//! |---|---|
//! | `step.rs` | the trainer: windows and losses on the GPU, and a queue of steps |
//! | `arguments.rs` | what a step is told |
//! | `formulas.cu` | gates and optimiser, what all kernels have in common |
//! | `fused.rs` | one kernel: its buffers |
//! | `plan.rs` | who computes what: the sizes that the kernel is compiled with, and where each weight lies |
//! | `train_step.cu` | the kernel |
//! | `kernel.rs` | compiled by NVRTC at the first use of some sizes, kept as long as the process, launched |
//! | `graph.rs` | a graph: recorded, and launched |
//! | `operations.rs` | what it consists of, and where each matrix lies |
//! | `operations.cu` | the small kernels |
//!
//! # Not run yet
//!
//! Nobody has run this on a GPU. `src/tests/` runs every thread on the CPU, and nvcc 13.0 says
//! (`-arch=sm_90 -Xptxas -v`; batch, steps, features, hidden sizes): no spills for e1 (100, 10+10, 2,
//! 2×12; 144 registers of 256 threads), keras (512, 15+15, 1, 2×35), e2 (50, 15+15, 1, 2×35) and btc (100,
//! 40+40, 2, 2×64; 166 registers of 384 threads). nvcc takes 3 to 5 seconds for each on two busy cores.
//!
//! An **estimate** of a step on an H200, in cycles at 1.8 GHz, to be replaced by measured times. A phase
//! costs its chain (load 30, products, shuffles 25 each, sigmoid and tanh 120, barrier 40) or the multiply-
//! adds and loads that a multiprocessor issues, whichever is more:
//!
//! | | e1 | keras | btc |
//! |---|---|---|---|
//! | forward phases | 22 × 310 | 32 × 850 | 82 × 500 |
//! | backward phases | 23 × 210 | 33 × 700 | 83 × 450 |
//! | loading weights, windows | 5 000 | 7 000 | 11 000 |
//! | weights' gradients | 2 000 | 15 000 | 35 000 |
//! | sum over blocks, update | 5 000 | 10 000 | 20 000 |
//! | **together** | **24 000: 13 µs** | **82 000: 46 µs** | **144 000: 80 µs** |
//!
//! Between launches that wait in a queue come 2 to 4 µs more.

#![cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "what the GPU is told"))]

mod arguments;
#[cfg(feature = "cuda")]
mod fused;
#[cfg(feature = "cuda")]
mod graph;
#[cfg(feature = "cuda")]
mod kernel;
mod operations;
mod plan;
#[cfg(feature = "cuda")]
mod step;
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(feature = "cuda")]
use cudarc::{cublas::result::CublasError, driver::DriverError};
use seq2seq_kernels::recurrent::CellKind;
use seq2seq_kernels::seq2seq::NetworkShape;
use std::fmt;

pub use plan::Limits;
#[cfg(feature = "cuda")]
pub use step::TrainStep;

/// The text of the one kernel of small networks, without their sizes.
const FUSED: &str = concat!(include_str!("formulas.cu"), include_str!("train_step.cu"));

/// The text of the small kernels between the products of a large network, of any size. For those who want
/// to look at what becomes of it.
pub const OPERATIONS: &str = concat!(include_str!("formulas.cu"), include_str!("operations.cu"));

/// What NVIDIA's driver or compiler says, with its own name of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// [`std::result::Result`] with this crate's [`Error`](struct@Error).
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The text that NVIDIA's compiler gets for the one kernel of a network, the steps of past and future, and batches of so
/// many series, on a GPU with these limits; none if it does not fit, or has other cells than GRUs. For those who
/// want to look at what becomes of it.
pub fn source(
    shape: &NetworkShape,
    [past_steps, future_steps]: [usize; 2],
    batch: usize,
    limits: Limits,
) -> Option<String> {
    if shape.cell != CellKind::Gru {
        return None;
    }
    let plan = plan::Plan::new(shape, past_steps, future_steps, batch, limits)?;
    Some(format!("{}{}", plan.defines(), FUSED))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "cuda")]
impl From<CublasError> for Error {
    fn from(error: CublasError) -> Self {
        Error(format!("{error:?}"))
    }
}

#[cfg(feature = "cuda")]
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Error(format!("{error:?}"))
    }
}

//! What a model is trained on.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::error::{Error, Result};
use crate::kernels::level::Level;

/// Where a model is trained.
///
/// The CPU computes with the widest instruction set that it has. Trainings with equal seeds are equal bit
/// for bit on any number of threads, but only on one instruction set: another one adds up in another order,
/// and a long training amplifies the rounding.
///
/// A GPU needs feature `cuda`, and an NVIDIA driver from 580 on. [`fit`](crate::train::fit) takes one launch
/// a step there; a training on the tape computes with dfdx's own operations, one small kernel after the
/// other. None of it has run on a GPU so far.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let hyperparameters = Hyperparameters { device: Device::best(), ..Default::default() };
/// println!("training on {}", hyperparameters.device);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number, from 0.
    Cuda(usize),
}

impl Device {
    /// The devices of this machine that the crate can train on: the CPU, then the GPUs.
    pub fn available() -> Vec<Device> {
        let gpus = gpus().unwrap_or_default();
        [Device::Cpu].into_iter().chain((0..gpus).map(Device::Cuda)).collect()
    }

    /// The first GPU; without one, the CPU.
    pub fn best() -> Device {
        Self::available().get(1).copied().unwrap_or_default()
    }

    /// GPU `number` for dfdx, on which a cell makes its own tensors and layers: in place of
    /// `Cpu::default()`.
    ///
    /// # Errors
    /// As [`Device::check`], and what else keeps dfdx from using it.
    #[cfg(feature = "cuda")]
    pub fn open_cuda(number: usize) -> Result<dfdx::tensor::Cuda> {
        cuda::open(number)
    }

    /// Whether this machine has it.
    ///
    /// # Errors
    /// [`Error::Device`] with what is missing: the feature, the driver, the GPU.
    pub fn check(self) -> Result<()> {
        let Device::Cuda(number) = self else { return Ok(()) };
        let reason = match gpus() {
            Ok(gpus) if number < gpus => return Ok(()),
            Ok(gpus) => format!("the driver finds {gpus} GPUs, counted from 0"),
            Err(reason) => reason,
        };
        Err(Error::Device { device: self, reason })
    }
}

/// How many GPUs there are, or why there is none.
#[cfg(feature = "cuda")]
fn gpus() -> Result<usize, String> {
    cuda::gpus()
}

/// How many GPUs there are, or why there is none.
#[cfg(not(feature = "cuda"))]
fn gpus() -> Result<usize, String> {
    Err("the crate is built without feature `cuda`".to_owned())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => {
                let threads = rayon::current_num_threads();
                let unit = if threads == 1 { "thread" } else { "threads" };
                write!(f, "CPU, {threads} {unit}, {}", Level::best())
            }
            Self::Cuda(number) => write!(f, "CUDA, GPU {number}"),
        }
    }
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_tells_the_threads_and_the_instruction_set_that_it_computes_with() {
        for (threads, expected) in [(1, "CPU, 1 thread"), (3, "CPU, 3 threads")] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let expected = format!("{expected}, {}", Level::best());
            assert_eq!(pool.install(|| Device::Cpu.to_string()), expected);
        }
    }

    #[test]
    fn without_the_feature_a_gpu_is_refused() {
        assert_eq!((Device::available(), Device::best()), (vec![Device::Cpu], Device::Cpu));
        Device::Cpu.check().unwrap();
        let message = Device::Cuda(3).check().unwrap_err().to_string();
        let expected = "CUDA, GPU 3, cannot be used: the crate is built without feature `cuda`; \
                        Device::Cpu always can";
        assert_eq!(message, expected);
    }
}

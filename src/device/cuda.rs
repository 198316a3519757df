//! What can go wrong with a GPU, as errors. dfdx and cudarc panic on most of it.

use cudarc::driver::result;
use dfdx::tensor::Cuda;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::Device;
use crate::error::{Error, Result};
use crate::kernels_cuda;

/// How many GPUs the driver finds, or why there is none.
pub(crate) fn gpus() -> Result<usize, String> {
    let count = result::init().and_then(|()| result::device::get_count());
    match count {
        Ok(0) => Err(reason("CUDA_ERROR_NO_DEVICE").to_owned()),
        Ok(count) => Ok(count as usize),
        Err(error) => Err(reason(&format!("{:?}", error.0)).to_owned()),
    }
}

/// Opens GPU `number` for dfdx.
pub(crate) fn open(number: usize) -> Result<Cuda> {
    Device::Cuda(number).check()?;
    guarded(number, || {
        Cuda::try_build(number, 0).map_err(|error| Error::Tensor(format!("{error:?}")))
    })
}

/// Calls `work` on GPU `number`, and makes an error of what dfdx panics on: memory that is full, a
/// driver that is too old.
pub(crate) fn guarded<T>(number: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What `work` has changed when it panics is dropped with it: the model is a copy on the GPU.
    let text = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(Error::Tensor(text))) => text,
        Ok(result) => return result,
        Err(panic) => match message(&*panic) {
            Some(text) if is_cuda(text) => text.to_owned(),
            _ => resume_unwind(panic),
        },
    };
    let reason = reason(&text).to_owned();
    Err(Error::Device { device: Device::Cuda(number), reason })
}

impl From<kernels_cuda::Error> for Error {
    fn from(error: kernels_cuda::Error) -> Self {
        Self::Tensor(error.to_string())
    }
}

fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

fn is_cuda(text: &str) -> bool {
    ["CUDA_ERROR_", "CUBLAS_STATUS_", "NVRTC_ERROR_"].iter().any(|name| text.contains(name))
}

/// What NVIDIA's name of an error means, and what to do.
fn reason(text: &str) -> &str {
    let known = [
        ("CUDA_ERROR_STUB_LIBRARY", "there is no NVIDIA driver (libcuda.so.1)"),
        ("CUDA_ERROR_NO_DEVICE", "the driver finds no GPU"),
        (
            "CUDA_ERROR_OUT_OF_MEMORY",
            "its memory is full: take a smaller batch_size or hidden_size, or end what else runs on it",
        ),
        (
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "its driver is older than the compiler that the program was built with: CUDA 13.0 needs \
             driver 580 or newer",
        ),
        (
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            "the driver's two halves are of different versions: restart the machine",
        ),
        (
            "CUDA_ERROR_NO_BINARY_FOR_GPU",
            "the program was built for a newer GPU: build it with CUDA_COMPUTE_CAP set to this one's \
             compute capability, without the dot",
        ),
        (
            "CUBLAS_STATUS_NOT_INITIALIZED",
            "NVIDIA's libcublas.so.13 was not found, or does not start",
        ),
        ("NVRTC_ERROR_BUILTIN_OPERATION_FAILURE", "NVIDIA's libnvrtc.so.13 was not found"),
        (
            "NVRTC_ERROR_COMPILATION",
            "CUDA's headers are not where the program was built with them: build it on this machine",
        ),
    ];
    known.iter().find(|(name, _)| text.contains(name)).map_or(text, |&(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_cuda_say_what_to_do() {
        let full = || -> Result<()> {
            panic!("an `Err` value: Driver(DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"full\"))")
        };
        let message = guarded(1, full).unwrap_err().to_string();
        assert!(
            message.starts_with("CUDA, GPU 1, cannot be used: its memory is full"),
            "{message}"
        );
        assert!(message.ends_with("Device::Cpu always can"), "{message}");
        let old = || -> Result<()> {
            Err(Error::Tensor("Driver(DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, ..))".into()))
        };
        let message = guarded(0, old).unwrap_err().to_string();
        assert!(message.contains("driver 580 or newer"), "{message}");
    }

    #[test]
    fn other_panics_go_on() {
        let bug = || -> Result<()> { panic!("a bug") };
        let panic = catch_unwind(AssertUnwindSafe(|| guarded(0, bug))).unwrap_err();
        assert_eq!(message(&*panic), Some("a bug"));
    }

    #[test]
    fn a_device_that_is_not_there_is_refused() {
        match gpus() {
            Ok(gpus) => assert!(open(gpus).unwrap_err().to_string().contains("counted from 0")),
            Err(reason) => assert!(open(0).unwrap_err().to_string().contains(&reason), "{reason}"),
        }
    }
}

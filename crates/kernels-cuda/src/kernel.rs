//! The compiled kernel: NVIDIA's compiler at first use of some sizes, the driver for each step.

use super::arguments::Arguments;
use super::plan::{Limits, Plan};
use super::{Error, FUSED, Result};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{CudaDevice, result};
use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr::from_mut;
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "train_step";

/// The pointers that the kernel gets: `Buffers` in `train_step.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Buffers(pub(super) [sys::CUdeviceptr; 16]);

/// A kernel on a GPU, ready to launch.
pub(super) struct Kernel {
    /// Keeps the context in which the function lives.
    device: Arc<CudaDevice>,
    function: sys::CUfunction,
    threads: u32,
    shared_bytes: u32,
    /// Blocks that are on the GPU at once.
    pub(super) most_blocks: usize,
}

// SAFETY: a function of CUDA's driver is a handle that all threads may use; it lives as long as its
// module, which is never unloaded, and its context, which `device` keeps.
#[allow(unsafe_code, reason = "a raw handle of the driver")]
unsafe impl Send for Kernel {}
// SAFETY: as above; the driver synchronises its calls itself.
#[allow(unsafe_code, reason = "a raw handle of the driver")]
unsafe impl Sync for Kernel {}

/// All that this process has compiled, by GPU and sizes.
static KERNELS: Mutex<BTreeMap<(usize, String), Arc<Kernel>>> = Mutex::new(BTreeMap::new());

/// What a GPU has for a block.
pub(super) fn limits(device: &CudaDevice) -> Result<Limits> {
    Ok(Limits {
        multiprocessors: attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_memory: attribute(
            device,
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?,
    })
}

/// Compiles a source for a GPU, and loads it there for good; its context is then that of this thread.
pub(super) fn load(device: &CudaDevice, source: &str) -> Result<sys::CUmodule> {
    let major = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // cudarc wants it to live for ever; there are as many of them as kernels.
    let architecture = Box::leak(format!("compute_{major}{minor}").into_boxed_str());
    let options = CompileOptions { arch: Some(architecture), ..CompileOptions::default() };
    let compiled = compile_ptx_with_opts(source, options);
    let text = compiled.map_err(|error| match error {
        CompileError::CompileError { log, .. } => {
            Error(format!("the kernel was not compiled: {}", log.to_string_lossy()))
        }
        other => Error(format!("{other:?}")),
    })?;
    let image = CString::new(text.to_src()).map_err(|error| Error(error.to_string()))?;
    device.bind_to_thread()?;
    // SAFETY: the image is a text that ends with a zero, and outlives the call.
    #[allow(unsafe_code, reason = "cudarc's own loader hides the module's handle")]
    Ok(unsafe { result::module::load_data(image.as_ptr().cast())? })
}

fn attribute(device: &CudaDevice, which: Attribute) -> Result<usize> {
    Ok(usize::try_from(device.attribute(which)?).unwrap_or(0))
}

impl Kernel {
    /// The kernel for a plan; compiled only if this process has not done it before.
    pub(super) fn of(device: &Arc<CudaDevice>, plan: &Plan) -> Result<Arc<Kernel>> {
        let key = (device.ordinal(), plan.defines());
        // A panic while it was locked has left nothing half done.
        let mut kernels = KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(Kernel::compile(device, plan, &key.1)?);
        kernels.insert(key, kernel.clone());
        Ok(kernel)
    }

    fn compile(device: &Arc<CudaDevice>, plan: &Plan, defines: &str) -> Result<Kernel> {
        let module = load(device, &format!("{defines}{FUSED}"))?;
        let name = CString::new(NAME).map_err(|error| Error(error.to_string()))?;
        let (threads, shared_bytes) = (plan.sharing().threads, plan.shared_bytes());
        // SAFETY: the module is never unloaded, so the function stays valid for the occupancy and for every
        // launch.
        #[allow(unsafe_code, reason = "cudarc's own loader hides the function's handle")]
        let (function, blocks) = unsafe {
            let function = result::module::get_function(module, name)?;
            sys::cuFuncSetAttribute(
                function,
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared_bytes as i32,
            )
            .result()?;
            let blocks = result::occupancy::max_active_block_per_multiprocessor(
                function,
                threads as i32,
                shared_bytes,
            )?;
            (function, usize::try_from(blocks).unwrap_or(0))
        };
        let most_blocks = blocks * limits(device)?.multiprocessors;
        if most_blocks == 0 {
            return Err(Error("the kernel takes more than the GPU has".to_owned()));
        }
        let (threads, shared_bytes) = (threads as u32, shared_bytes as u32);
        Ok(Kernel { device: device.clone(), function, threads, shared_bytes, most_blocks })
    }

    /// Starts a step after those that were started before, and does not wait for it.
    ///
    /// # Safety
    /// The buffers are as large as `train_step.cu` says for these arguments and so many blocks, and they
    /// are freed on the device's own stream. All indices in the order are of windows.
    #[allow(unsafe_code, reason = "a launch, of blocks that wait for each other")]
    pub(super) unsafe fn launch(
        &self,
        blocks: usize,
        mut buffers: Buffers,
        arguments: Arguments,
    ) -> Result<()> {
        self.device.bind_to_thread()?;
        let mut arguments = arguments.words();
        let mut parameters: [*mut c_void; 2] =
            [from_mut(&mut buffers).cast(), from_mut(&mut arguments).cast()];
        // SAFETY: the parameters have the layout of the kernel's, and are copied by the call; the caller
        // answers for what the buffers point to.
        let launched = unsafe {
            sys::cuLaunchCooperativeKernel(
                self.function,
                blocks as u32,
                1,
                1,
                self.threads,
                1,
                1,
                self.shared_bytes,
                *self.device.cu_stream(),
                parameters.as_mut_ptr(),
            )
        };
        Ok(launched.result()?)
    }
}

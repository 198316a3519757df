//! The operations of a step on a GPU, recorded once as a graph: hundreds of them cost one launch.

use super::arguments::Arguments;
use super::kernel::load;
use super::operations::{Gemm, KERNELS, Layout, Matrix, Operation, SUMS};
use super::step::Data;
use super::{Error, OPERATIONS, Result};
use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr, DriverError, result, sys};
use seq2seq_kernels::seq2seq::NetworkShape;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr::{from_mut, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that cuBLAS may use for a product, what NVIDIA advises for Hopper. With memory of its own it would
/// have to allocate in the middle of a record.
const WORKSPACE: usize = 32 << 20;
/// Threads of a block; no kernel shares anything within one.
const THREADS: usize = 256;

/// `Arrays` of `operations.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arrays {
    arena: sys::CUdeviceptr,
    sums: sys::CUdeviceptr,
    past: sys::CUdeviceptr,
    future: sys::CUdeviceptr,
    order: sys::CUdeviceptr,
    step: sys::CUdeviceptr,
    losses: sys::CUdeviceptr,
}

/// A network that is trained by products and small kernels.
pub(super) struct Graph {
    device: Arc<CudaDevice>,
    functions: Arc<Functions>,
    stream: sys::CUstream,
    products: cublas_sys::cublasHandle_t,
    layout: Layout,
    arena: CudaSlice<f32>,
    sums: CudaSlice<f64>,
    step: CudaSlice<u32>,
    /// Only cuBLAS uses it.
    workspace: CudaSlice<u8>,
    /// By the series of a batch, and whether the gradient is clipped: nothing for one that has run once.
    recorded: BTreeMap<(usize, bool), Option<sys::CUgraphExec>>,
}

/// The kernels of `operations.cu`, in the order of their names.
struct Functions {
    /// Keeps the context in which they live.
    _device: Arc<CudaDevice>,
    of: BTreeMap<&'static str, sys::CUfunction>,
}

// SAFETY: functions of CUDA's driver are handles that all threads may use; they live as long as their
// module, which is never unloaded, and its context, which the device keeps.
#[allow(unsafe_code, reason = "raw handles of the driver")]
unsafe impl Send for Functions {}
// SAFETY: as above; nothing changes them.
#[allow(unsafe_code, reason = "raw handles of the driver")]
unsafe impl Sync for Functions {}
// SAFETY: stream, graphs and cuBLAS' handle belong to this value alone and may be used by any thread, one
// at a time; each use binds the context to the thread first.
#[allow(unsafe_code, reason = "raw handles of the driver")]
unsafe impl Send for Graph {}

impl Functions {
    /// Compiled only if this process has not done it before.
    fn of(device: &Arc<CudaDevice>) -> Result<Arc<Functions>> {
        static FUNCTIONS: Mutex<BTreeMap<usize, Arc<Functions>>> = Mutex::new(BTreeMap::new());
        // A panic while it was locked has left nothing half done.
        let mut all = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(functions) = all.get(&device.ordinal()) {
            return Ok(functions.clone());
        }
        let module = load(device, OPERATIONS)?;
        let mut of = BTreeMap::new();
        for name in KERNELS {
            let text = CString::new(name).map_err(|error| Error(error.to_string()))?;
            // SAFETY: the module was loaded in the context that `load` has bound to this thread.
            #[allow(unsafe_code, reason = "cudarc's own loader hides the function's handle")]
            let function = unsafe { result::module::get_function(module, text)? };
            of.insert(name, function);
        }
        let functions = Arc::new(Functions { _device: device.clone(), of });
        all.insert(device.ordinal(), functions.clone());
        Ok(functions)
    }
}

impl Graph {
    /// For batches of up to `batch` series, from the given flat weights.
    pub(super) fn new(
        device: &Arc<CudaDevice>,
        shape: &NetworkShape,
        weights: &[f32],
        [past_steps, future_steps]: [usize; 2],
        batch: usize,
    ) -> Result<Graph> {
        let functions = Functions::of(device)?;
        let layout = Layout::new(shape, past_steps, future_steps, batch);
        let mut padded = vec![0.0; layout.elements];
        for (place, &weight) in layout.places().into_iter().zip(weights) {
            padded[place] = weight;
        }
        let mut arena = device.alloc_zeros(layout.floats)?;
        device.htod_sync_copy_into(&padded, &mut arena.slice_mut(..layout.elements))?;
        let ones = layout.ones()..layout.ones() + layout.num_ones;
        device.htod_sync_copy_into(&vec![1.0; layout.num_ones], &mut arena.slice_mut(ones))?;
        let (sums, step) = (device.alloc_zeros(SUMS)?, device.alloc_zeros(16)?);
        let workspace = device.alloc_zeros(WORKSPACE)?;
        // It waits for the device's own stream, and that one for it: so copies come in their turn.
        let stream = result::stream::create(StreamKind::Default)?;
        let products = match cublas::create_handle() {
            Ok(products) => products,
            Err(error) => {
                // SAFETY: it was made above, and nobody else has it.
                #[allow(unsafe_code, reason = "a raw handle of the driver")]
                unsafe {
                    result::stream::destroy(stream)?
                };
                return Err(error.into());
            }
        };
        let graph = Graph {
            device: device.clone(),
            functions,
            stream,
            products,
            layout,
            arena,
            sums,
            step,
            workspace,
            recorded: BTreeMap::new(),
        };
        graph.send_products_to(stream)?;
        Ok(graph)
    }

    /// Starts a step on so many series after those that were started before, and does not wait for it.
    ///
    /// # Safety
    /// The windows are of this network's sizes, `order` has the indices of the batch, all of them of
    /// windows, and `losses` has a place for the loss.
    #[allow(unsafe_code, reason = "launches")]
    pub(super) unsafe fn launch(
        &mut self,
        data: &Data,
        count: usize,
        clip: bool,
        arguments: Arguments,
    ) -> Result<()> {
        self.device.bind_to_thread()?;
        let arrays = Arrays {
            arena: *self.arena.device_ptr(),
            sums: *self.sums.device_ptr(),
            past: *data.past.device_ptr(),
            future: *data.future.device_ptr(),
            order: *data.order.device_ptr(),
            step: *self.step.device_ptr(),
            losses: *data.losses.device_ptr(),
        };
        // SAFETY: as many words as the array on the GPU has; they are copied before the call returns.
        unsafe {
            let words = arguments.words();
            result::memcpy_htod_async(arrays.step, &words, self.stream)?;
        }
        let graph = match self.recorded.get(&(count, clip)) {
            // The first time without a graph: libraries load their kernels then, which no record allows.
            None => {
                // SAFETY: the caller's promise.
                unsafe { self.run(self.stream, arrays, count, clip)? };
                self.recorded.insert((count, clip), None);
                return Ok(());
            }
            Some(Some(graph)) => *graph,
            Some(None) => {
                // SAFETY: the caller's promise.
                let graph = unsafe { self.record(arrays, count, clip)? };
                self.recorded.insert((count, clip), Some(graph));
                graph
            }
        };
        // SAFETY: the graph was made for this context and is not running: it is on the one stream.
        Ok(unsafe { sys::cuGraphLaunch(graph, self.stream) }.result()?)
    }

    /// See [`TrainStep::allow_tf32`](super::TrainStep::allow_tf32).
    pub(super) fn allow_tf32(&mut self, allowed: bool) -> Result<()> {
        use cublas_sys::cublasMath_t::{CUBLAS_DEFAULT_MATH, CUBLAS_TF32_TENSOR_OP_MATH};
        self.device.bind_to_thread()?;
        let mode = if allowed { CUBLAS_TF32_TENSOR_OP_MATH } else { CUBLAS_DEFAULT_MATH };
        // SAFETY: the handle is this value's own.
        #[allow(unsafe_code, reason = "a raw handle of cuBLAS")]
        unsafe { cublas_sys::cublasSetMathMode(self.products, mode) }.result()?;
        // They have the products of before.
        Ok(self.forget_records()?)
    }

    /// Waits for what was started, and destroys the graphs.
    fn forget_records(&mut self) -> std::result::Result<(), DriverError> {
        // SAFETY: stream and graphs are this value's own, and nothing runs any more.
        #[allow(unsafe_code, reason = "raw handles of the driver")]
        unsafe {
            result::stream::synchronize(self.stream)?;
            while let Some((_, graph)) = self.recorded.pop_first() {
                if let Some(graph) = graph {
                    sys::cuGraphExecDestroy(graph).result()?;
                }
            }
        }
        Ok(())
    }

    /// Where the products go from here on.
    fn send_products_to(&self, stream: sys::CUstream) -> Result<()> {
        let workspace = *self.workspace.device_ptr() as *mut c_void;
        // SAFETY: handle and workspace are this value's own, and so is the stream.
        #[allow(unsafe_code, reason = "raw handles of the driver")]
        unsafe {
            cublas::set_stream(self.products, stream.cast())?;
            // After the stream, with which cuBLAS forgets it.
            cublas_sys::cublasSetWorkspace_v2(self.products, workspace, WORKSPACE).result()?;
        }
        Ok(())
    }

    /// The operations as a graph.
    ///
    /// They are recorded on a stream that waits for no other: while one is recorded that others wait for,
    /// as ours is, nobody in the process may use the device's own stream.
    ///
    /// # Safety
    /// As [`launch`](Graph::launch), of every launch of the graph: the arrays must stay where they are.
    #[allow(unsafe_code, reason = "launches")]
    unsafe fn record(&self, arrays: Arrays, count: usize, clip: bool) -> Result<sys::CUgraphExec> {
        let recorder = result::stream::create(StreamKind::NonBlocking)?;
        let recorded = self.send_products_to(recorder).and_then(|()| {
            // SAFETY: the caller's promise; nobody else has the stream.
            unsafe { self.record_on(recorder, arrays, count, clip) }
        });
        let back = self.send_products_to(self.stream);
        // SAFETY: it was made above, and what was recorded on it has ended.
        unsafe { result::stream::destroy(recorder)? };
        back?;
        recorded
    }

    /// # Safety
    /// As [`record`](Graph::record), and nobody else uses the stream.
    #[allow(unsafe_code, reason = "launches")]
    unsafe fn record_on(
        &self,
        stream: sys::CUstream,
        arrays: Arrays,
        count: usize,
        clip: bool,
    ) -> Result<sys::CUgraphExec> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let (mut graph, mut executable) = (null_mut(), null_mut());
        // SAFETY: the caller's promise. The record is ended whatever happens in it, and the graph is
        // destroyed whatever becomes of it.
        unsafe {
            sys::cuStreamBeginCapture_v2(stream, mode).result()?;
            let recorded = self.run(stream, arrays, count, clip);
            sys::cuStreamEndCapture(stream, &mut graph).result()?;
            let made = recorded.and_then(|()| {
                Ok(sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0).result()?)
            });
            sys::cuGraphDestroy(graph).result()?;
            made?;
        }
        Ok(executable)
    }

    /// Puts the operations on a stream, to which the products go already.
    ///
    /// # Safety
    /// As [`launch`](Graph::launch).
    #[allow(unsafe_code, reason = "launches")]
    unsafe fn run(
        &self,
        stream: sys::CUstream,
        arrays: Arrays,
        count: usize,
        clip: bool,
    ) -> Result<()> {
        for operation in self.layout.step(count, clip) {
            match operation {
                Operation::Product(gemm) => {
                    // SAFETY: `Layout` keeps all matrices within the arena.
                    unsafe { self.product(gemm)? };
                }
                Operation::Kernel { name, threads, mut numbers } => {
                    let Some(&function) = self.functions.of.get(name) else {
                        return Err(Error(format!("there is no kernel {name}")));
                    };
                    let mut arrays = arrays;
                    let parameters: &mut [*mut c_void] =
                        &mut [from_mut(&mut arrays).cast(), from_mut(&mut numbers).cast()];
                    let (blocks, block) = (threads.div_ceil(THREADS), THREADS as u32);
                    let grid = (u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1);
                    // SAFETY: the parameters have the layout of the kernel's, and are copied by the call.
                    unsafe {
                        result::launch_kernel(
                            function,
                            grid,
                            (block, 1, 1),
                            0,
                            stream,
                            parameters,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A product of matrices in the arena.
    ///
    /// # Safety
    /// They are within the arena, and c is neither of the others.
    #[allow(unsafe_code, reason = "a launch")]
    unsafe fn product(&self, Gemm { m, n, k, a, b, c, add }: Gemm) -> Result<()> {
        let arena = *self.arena.device_ptr();
        let pointer = |matrix: Matrix| (arena + 4 * matrix.at as u64) as *mut f32;
        let as_it_is = |matrix: Matrix| match matrix.transposed {
            false => cublas_sys::cublasOperation_t::CUBLAS_OP_N,
            true => cublas_sys::cublasOperation_t::CUBLAS_OP_T,
        };
        let size = |n: usize| {
            i32::try_from(n).map_err(|_| Error(format!("a matrix with {n} rows is too large")))
        };
        let (m, n, k) = (size(m)?, size(n)?, size(k)?);
        let (of_a, of_b, of_c) = (size(a.stride)?, size(b.stride)?, size(c.stride)?);
        let (one, beta) = (1.0, if add { 1.0 } else { 0.0 });
        let (op_a, op_b) = (as_it_is(a), as_it_is(b));
        let (a, b, c) = (pointer(a), pointer(b), pointer(c));
        // SAFETY: the caller's promise; the factors are read before the call returns.
        unsafe {
            let handle = self.products;
            cublas::sgemm(handle, op_a, op_b, m, n, k, &one, a, of_a, b, of_b, &beta, c, of_c)?;
        }
        Ok(())
    }

    /// Flat weights, from the arena.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        self.flat(0)
    }

    /// The gradient of the last batch, in the order of the flat weights.
    pub(super) fn gradient(&self) -> Result<Vec<f32>> {
        self.flat(self.layout.gradient())
    }

    fn flat(&self, at: usize) -> Result<Vec<f32>> {
        let elements = self.arena.slice(at..at + self.layout.elements);
        let mut padded = vec![0.0; self.layout.elements];
        self.device.dtoh_sync_copy_into(&elements, &mut padded)?;
        Ok(self.layout.places().into_iter().map(|place| padded[place]).collect())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Errors have nobody to go to: what can not be given back is lost to the process.
        if self.device.bind_to_thread().is_err() {
            return;
        }
        self.forget_records().ok();
        // SAFETY: both were made by this value and are used by nobody else.
        #[allow(unsafe_code, reason = "raw handles of the driver")]
        unsafe {
            cublas::destroy_handle(self.products).ok();
            result::stream::destroy(self.stream).ok();
        }
    }
}

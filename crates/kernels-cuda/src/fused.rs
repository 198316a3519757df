//! A network that is trained by one kernel a step: its buffers on the GPU.

use super::Result;
use super::arguments::{Arguments, parts};
use super::kernel::{Buffers, Kernel, limits};
use super::plan::Plan;
use super::step::Data;
use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr};
use seq2seq_kernels::seq2seq::NetworkShape;
use std::sync::Arc;

/// `Buffers` of `train_step.cu`, less the windows and the losses, and the kernel.
pub(super) struct Fused {
    device: Arc<CudaDevice>,
    kernel: Arc<Kernel>,
    plan: Plan,
    /// Of the grid.
    blocks: usize,
    /// Where the flat weights lie among the padded ones.
    places: Vec<usize>,
    weights: CudaSlice<f32>,
    momentum: CudaSlice<f32>,
    square: CudaSlice<f32>,
    gradient: CudaSlice<f32>,
    packed: CudaSlice<f32>,
    forward_place: CudaSlice<i32>,
    backward_place: CudaSlice<i32>,
    partial: CudaSlice<f32>,
    squares: CudaSlice<f32>,
    lengths: CudaSlice<f64>,
    scratch: CudaSlice<f32>,
    barrier: CudaSlice<u32>,
}

impl Fused {
    /// For batches of up to `batch` series, from the given flat weights; none if the network is too large.
    pub(super) fn new(
        device: &Arc<CudaDevice>,
        shape: &NetworkShape,
        weights: &[f32],
        [past_steps, future_steps]: [usize; 2],
        batch: usize,
    ) -> Result<Option<Fused>> {
        let Some(plan) = Plan::new(shape, past_steps, future_steps, batch, limits(device)?) else {
            return Ok(None);
        };
        let kernel = Kernel::of(device, &plan)?;
        let blocks = batch.div_ceil(plan.sharing().series).min(kernel.most_blocks);
        let (packing, places, elements) = (plan.packing(), plan.places(), plan.elements());
        let (mut padded, mut packed) = (vec![0.0; elements], vec![0.0; packing.len]);
        for (&place, &weight) in places.iter().zip(weights) {
            padded[place] = weight;
            for copies in [&packing.forward, &packing.backward] {
                if let Ok(place) = usize::try_from(copies[place]) {
                    packed[place] = weight;
                }
            }
        }
        Ok(Some(Fused {
            weights: device.htod_sync_copy(&padded)?,
            momentum: device.alloc_zeros(elements)?,
            square: device.alloc_zeros(elements)?,
            gradient: device.alloc_zeros(elements)?,
            packed: device.htod_sync_copy(&packed)?,
            forward_place: device.htod_sync_copy(&packing.forward)?,
            backward_place: device.htod_sync_copy(&packing.backward)?,
            partial: device.alloc_zeros(blocks * elements)?,
            squares: device.alloc_zeros(blocks)?,
            lengths: device.alloc_zeros(blocks)?,
            scratch: device.alloc_zeros((blocks * plan.kept()).max(1))?,
            barrier: device.alloc_zeros(2)?,
            device: device.clone(),
            kernel,
            plan,
            blocks,
            places,
        }))
    }

    /// Starts a step on so many series after those that were started before, and does not wait for it.
    ///
    /// # Safety
    /// The windows are of this network's sizes, `order` has the indices of the batch, all of them of
    /// windows, and `losses` has a place for the loss.
    #[allow(unsafe_code, reason = "a launch")]
    pub(super) unsafe fn launch(
        &self,
        data: &Data,
        count: usize,
        mut arguments: Arguments,
    ) -> Result<()> {
        let blocks = count.div_ceil(self.plan.sharing().series).min(self.blocks);
        let threads = self.plan.sharing().threads;
        let parts = parts(self.plan.elements(), threads, self.blocks, blocks);
        arguments.parts = i32::try_from(parts).unwrap_or(1);
        let buffers = Buffers([
            *data.past.device_ptr(),
            *data.future.device_ptr(),
            *data.order.device_ptr(),
            *self.weights.device_ptr(),
            *self.momentum.device_ptr(),
            *self.square.device_ptr(),
            *self.gradient.device_ptr(),
            *self.packed.device_ptr(),
            *self.forward_place.device_ptr(),
            *self.backward_place.device_ptr(),
            *self.partial.device_ptr(),
            *self.squares.device_ptr(),
            *self.lengths.device_ptr(),
            *self.scratch.device_ptr(),
            *data.losses.device_ptr(),
            *self.barrier.device_ptr(),
        ]);
        // SAFETY: the buffers were made for this plan and so many blocks, and are freed on the same stream;
        // the caller answers for the data.
        unsafe { self.kernel.launch(self.blocks, buffers, arguments) }
    }

    /// Flat weights, from the GPU.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        self.flat(&self.weights)
    }

    /// The gradient of the last batch, in the order of the flat weights.
    pub(super) fn gradient(&self) -> Result<Vec<f32>> {
        self.flat(&self.gradient)
    }

    fn flat(&self, padded: &CudaSlice<f32>) -> Result<Vec<f32>> {
        let padded = self.device.dtoh_sync_copy(padded)?;
        Ok(self.places.iter().map(|&place| padded[place]).collect())
    }
}

//! The trainer: its buffers on the GPU, and a launch for each step.

use super::arguments::{Arguments, parts};
use super::kernel::{Buffers, Kernel, limits};
use super::plan::Plan;
use super::{Error, Result};
use crate::optimizer::Settings;
use crate::seq2seq::{Loss, NetworkShape, Windows};
use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr};
use std::ops::Range;
use std::sync::Arc;

/// Trains an encoder-decoder on a GPU: [`TrainStep`](crate::seq2seq::TrainStep) of the CPU, but that its
/// steps wait in a queue.
///
/// The windows are on the GPU from the start. [`set_order`](TrainStep::set_order) uploads in which order
/// they come; [`queue`](TrainStep::queue) starts a step on a part of them and returns at once;
/// [`losses`](TrainStep::losses) waits for what was queued.
pub struct TrainStep {
    device: Arc<CudaDevice>,
    kernel: Arc<Kernel>,
    plan: Plan,
    /// Of the grid.
    blocks: usize,
    /// Where the flat weights lie among the padded ones.
    places: Vec<usize>,
    future_values: usize,
    windows: usize,
    steps: i32,
    loss: Loss,
    /// Optimiser, learning rate, weight decay and clipping: free to change between steps.
    pub settings: Settings,
    /// Steps since the last call of `losses`.
    queued: usize,
    on_gpu: OnGpu,
}

/// `Buffers` of `train_step.cu`.
struct OnGpu {
    past: CudaSlice<f32>,
    future: CudaSlice<f32>,
    order: CudaSlice<i32>,
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
    losses: CudaSlice<f32>,
    barrier: CudaSlice<u32>,
}

impl OnGpu {
    fn pointers(&self) -> Buffers {
        Buffers([
            *self.past.device_ptr(),
            *self.future.device_ptr(),
            *self.order.device_ptr(),
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
            *self.losses.device_ptr(),
            *self.barrier.device_ptr(),
        ])
    }
}

impl TrainStep {
    /// A trainer on GPU number `gpu`, for batches of up to `batch` of these windows, that starts from the
    /// given flat weights; none if the network does not fit.
    ///
    /// The first of its sizes in a process compiles the kernel.
    ///
    /// # Errors
    /// [`Error`] with what the driver or the compiler says.
    #[allow(clippy::too_many_arguments, reason = "those of the CPU's, and which GPU")]
    pub fn new(
        gpu: usize,
        shape: &NetworkShape,
        weights: &[f32],
        windows: Windows<'_>,
        [past_steps, future_steps]: [usize; 2],
        batch: usize,
        loss: Loss,
        settings: Settings,
    ) -> Result<Option<TrainStep>> {
        let sizes = [past_steps, future_steps, batch, shape.hidden.len()];
        if sizes.contains(&0) || weights.len() != shape.num_weights() {
            return Err(Error(
                "a size is 0, or the weights are not those of the network".to_owned(),
            ));
        }
        let (past_values, future_values) =
            (past_steps * shape.features, future_steps * shape.outputs);
        let count = windows.past.len() / past_values;
        let fits_windows = (count * past_values, count * future_values);
        if count == 0 || fits_windows != (windows.past.len(), windows.future.len()) {
            return Err(Error("the windows are not of these sizes".to_owned()));
        }
        let device = CudaDevice::new(gpu)?;
        let batch = batch.min(count);
        let Some(plan) = Plan::new(shape, past_steps, future_steps, batch, limits(&device)?) else {
            return Ok(None);
        };
        let kernel = Kernel::of(&device, &plan)?;
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
        let on_gpu = OnGpu {
            past: device.htod_sync_copy(windows.past)?,
            future: device.htod_sync_copy(windows.future)?,
            order: device.alloc_zeros(count)?,
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
            losses: device.alloc_zeros(count)?,
            barrier: device.alloc_zeros(2)?,
        };
        Ok(Some(TrainStep {
            device,
            kernel,
            plan,
            blocks,
            places,
            future_values,
            windows: count,
            steps: 0,
            loss,
            settings,
            queued: 0,
            on_gpu,
        }))
    }

    /// The order in which the windows come from here on, after the steps that are queued. As many
    /// indices as there are windows, each of a window.
    ///
    /// # Errors
    /// [`Error`] when they are others, and with what the driver says.
    pub fn set_order(&mut self, order: &[usize]) -> Result<()> {
        if order.len() != self.windows || order.iter().any(|&index| index >= self.windows) {
            return Err(Error(format!("the order is not of {} windows", self.windows)));
        }
        let order = order.iter().map(|&index| i32::try_from(index));
        let order = order.collect::<Result<Vec<_>, _>>();
        let order = order.map_err(|_| Error("there are too many windows".to_owned()))?;
        Ok(self.device.htod_sync_copy_into(&order, &mut self.on_gpu.order)?)
    }

    /// Starts a step on a part of the order.
    ///
    /// # Errors
    /// [`Error`] when there is no such part, when more steps were queued than there are windows, and with
    /// what the driver says.
    pub fn queue(&mut self, batch: Range<usize>) -> Result<()> {
        let count = batch.len();
        if count == 0 || batch.end > self.windows || self.queued >= self.windows {
            return Err(Error(format!("{batch:?} is not a batch of {} windows", self.windows)));
        }
        let blocks = count.div_ceil(self.plan.sharing().series).min(self.blocks);
        let threads = self.plan.sharing().threads;
        self.steps = self.steps.saturating_add(1);
        let mut arguments = Arguments::new(self.settings, self.steps);
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        arguments.first = number(batch.start);
        arguments.count = number(count);
        arguments.loss = number(self.queued);
        arguments.parts = number(parts(self.plan.elements(), threads, self.blocks, blocks));
        arguments.factor = self.loss.factor(count, self.future_values) as f32;
        // SAFETY: the buffers were made for this plan and so many blocks, `losses` has room for as many
        // steps as there are windows; they are freed on the same stream. `set_order` lets no index in that
        // is not of a window, and before it all are 0.
        #[allow(unsafe_code, reason = "a launch")]
        unsafe {
            self.kernel.launch(self.blocks, self.on_gpu.pointers(), arguments)?;
        }
        self.queued += 1;
        Ok(())
    }

    /// Waits for the queue; the losses of its steps, each before its update.
    ///
    /// # Errors
    /// [`Error`] with what the driver says, of any of the steps.
    pub fn losses(&mut self) -> Result<Vec<f64>> {
        let queued = std::mem::take(&mut self.queued);
        let losses = self.device.dtoh_sync_copy(&self.on_gpu.losses)?;
        Ok(losses[..queued].iter().map(|&loss| f64::from(loss)).collect())
    }

    /// The flat weights after all steps that were queued.
    ///
    /// # Errors
    /// [`Error`] with what the driver says.
    pub fn weights(&self) -> Result<Vec<f32>> {
        self.flat(&self.on_gpu.weights)
    }

    /// The gradient of the last batch, without L2, in the order of the weights.
    ///
    /// # Errors
    /// [`Error`] with what the driver says.
    pub fn gradient(&self) -> Result<Vec<f32>> {
        self.flat(&self.on_gpu.gradient)
    }

    fn flat(&self, padded: &CudaSlice<f32>) -> Result<Vec<f32>> {
        let padded = self.device.dtoh_sync_copy(padded)?;
        Ok(self.places.iter().map(|&place| padded[place]).collect())
    }
}

//! The trainer: windows and losses on the GPU, and a launch for each step.

use super::arguments::Arguments;
use super::fused::Fused;
use super::graph::Graph;
use super::{Error, Result};
use cudarc::driver::{CudaDevice, CudaSlice};
use seq2seq_kernels::optimizer::Settings;
use seq2seq_kernels::recurrent::CellKind;
use seq2seq_kernels::seq2seq::{Loss, NetworkShape, Windows};
use std::ops::Range;
use std::sync::Arc;

/// Trains an encoder-decoder on a GPU: [`TrainStep`](seq2seq_kernels::seq2seq::TrainStep) of the CPU, but that its
/// steps wait in a queue.
///
/// The windows are on the GPU from the start. [`set_order`](TrainStep::set_order) uploads in which order
/// they come; [`queue`](TrainStep::queue) starts a step on a part of them and returns at once;
/// [`losses`](TrainStep::losses) waits for what was queued.
pub struct TrainStep {
    device: Arc<CudaDevice>,
    engine: Engine,
    data: Data,
    future_values: usize,
    windows: usize,
    /// Series of the largest batch.
    most: usize,
    steps: i32,
    loss: Loss,
    /// Optimiser, learning rate, weight decay and clipping: free to change between steps.
    pub settings: Settings,
    /// Steps since the last call of `losses`.
    queued: usize,
}

/// What computes a step.
enum Engine {
    /// One kernel, where the network is small enough.
    Fused(Box<Fused>),
    /// Matrix products, and small kernels between them.
    Graph(Box<Graph>),
}

/// What either of them reads, and where the losses go.
pub(super) struct Data {
    /// (N, P, D)
    pub(super) past: CudaSlice<f32>,
    /// (N, F, O)
    pub(super) future: CudaSlice<f32>,
    /// (N): indices of windows.
    pub(super) order: CudaSlice<i32>,
    /// (N)
    pub(super) losses: CudaSlice<f32>,
}

impl TrainStep {
    /// A trainer on GPU number `gpu`, for batches of up to `batch` of these windows, that starts from the
    /// given flat weights.
    ///
    /// The first of its sizes in a process compiles the kernels.
    ///
    /// # Errors
    /// [`Error`] with what the driver, the compiler or cuBLAS says.
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
    ) -> Result<TrainStep> {
        let sizes = [past_steps, future_steps, batch, shape.hidden.len()];
        if sizes.contains(&0) || weights.len() != shape.num_weights() {
            let reason = "a size is 0, or the weights are not those of the network";
            return Err(Error(reason.to_owned()));
        }
        if shape.cell != CellKind::Gru {
            return Err(Error(format!("the GPU has no kernels for {:?}", shape.cell)));
        }
        let (past_values, future_values) =
            (past_steps * shape.features, future_steps * shape.outputs);
        let count = windows.past.len() / past_values;
        let fits_windows = (count * past_values, count * future_values);
        if count == 0 || fits_windows != (windows.past.len(), windows.future.len()) {
            return Err(Error("the windows are not of these sizes".to_owned()));
        }
        let device = CudaDevice::new(gpu)?;
        let (batch, steps) = (batch.min(count), [past_steps, future_steps]);
        let engine = match Fused::new(&device, shape, weights, steps, batch)? {
            Some(fused) => Engine::Fused(Box::new(fused)),
            None => {
                let graph = Graph::new(&device, shape, weights, steps, batch)?;
                Engine::Graph(Box::new(graph))
            }
        };
        let data = Data {
            past: device.htod_sync_copy(windows.past)?,
            future: device.htod_sync_copy(windows.future)?,
            order: device.alloc_zeros(count)?,
            losses: device.alloc_zeros(count)?,
        };
        Ok(TrainStep {
            device,
            engine,
            data,
            future_values,
            windows: count,
            most: batch,
            steps: 0,
            loss,
            settings,
            queued: 0,
        })
    }

    /// Whether the products of large networks may be in TF32 from here on; at first they may not. One kernel
    /// for all is in f32 in any case.
    ///
    /// # Errors
    /// [`Error`] with what the driver or cuBLAS says.
    pub fn allow_tf32(&mut self, allowed: bool) -> Result<()> {
        match &mut self.engine {
            Engine::Fused(_) => Ok(()),
            Engine::Graph(graph) => graph.allow_tf32(allowed),
        }
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
        Ok(self.device.htod_sync_copy_into(&order, &mut self.data.order)?)
    }

    /// Starts a step on a part of the order.
    ///
    /// # Errors
    /// [`Error`] when there is no such part or it is larger than the largest batch, when more steps were
    /// queued than there are windows, and with what the driver says.
    pub fn queue(&mut self, batch: Range<usize>) -> Result<()> {
        let (count, most, windows) = (batch.len(), self.most, self.windows);
        if count == 0 || count > most || batch.end > windows || self.queued >= windows {
            let reason = format!("{batch:?} is not a batch of up to {most} of {windows} windows");
            return Err(Error(reason));
        }
        self.steps = self.steps.saturating_add(1);
        let mut arguments = Arguments::new(self.settings, self.steps);
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        arguments.first = number(batch.start);
        arguments.count = number(count);
        arguments.loss = number(self.queued);
        arguments.factor = self.loss.factor(count, self.future_values) as f32;
        // SAFETY: the windows are of the sizes that the engine was made for, `losses` has room for as many
        // steps as there are windows. `set_order` lets no index in that is not of a window, and before it
        // all are 0.
        #[allow(unsafe_code, reason = "launches")]
        unsafe {
            match &mut self.engine {
                Engine::Fused(fused) => fused.launch(&self.data, count, arguments)?,
                Engine::Graph(graph) => {
                    let clip = self.settings.clip_norm.is_some();
                    graph.launch(&self.data, count, clip, arguments)?;
                }
            }
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
        let losses = self.device.dtoh_sync_copy(&self.data.losses)?;
        Ok(losses[..queued].iter().map(|&loss| f64::from(loss)).collect())
    }

    /// The flat weights after all steps that were queued.
    ///
    /// # Errors
    /// [`Error`] with what the driver says.
    pub fn weights(&self) -> Result<Vec<f32>> {
        match &self.engine {
            Engine::Fused(fused) => fused.weights(),
            Engine::Graph(graph) => graph.weights(),
        }
    }

    /// The gradient of the last batch, without L2, in the order of the weights.
    ///
    /// # Errors
    /// [`Error`] with what the driver says.
    pub fn gradient(&self) -> Result<Vec<f32>> {
        match &self.engine {
            Engine::Fused(fused) => fused.gradient(),
            Engine::Graph(graph) => graph.gradient(),
        }
    }
}

//! Tiles over threads, then the sum of gradients and Adam.

use super::network::{Network, NetworkShape};
use super::pass::{BackwardPass, ForwardPass, Residual};
use super::workspace::Workspace;
use crate::kernels::cpu::adam::{Adam, Update};
use crate::kernels::cpu::aligned::Aligned;
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::tile::{MAX_VECTORS, Tile, gather};
use rayon::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The loss, without L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Mean over the batch of half the squared error summed over time and features.
    HalfSum,
    /// Squared error, the mean over everything.
    Mean,
}

impl Loss {
    /// The loss as a multiple of the summed squared error of `batch` series of `values` values.
    fn factor(self, batch: usize, values: usize) -> f64 {
        match self {
            Loss::HalfSum => 0.5 / batch as f64,
            Loss::Mean => 1.0 / (batch * values) as f64,
        }
    }
}

/// A data set of N windows, each series contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// (N, P, D).
    pub past: &'a [f32],
    /// (N, F, O).
    pub future: &'a [f32],
}

/// The sums over consecutive tiles, in their order.
struct Share {
    gradient: Aligned,
    squares: f64,
}

/// Trains an encoder-decoder, one batch a call.
///
/// A step allocates nothing, once it has seen its largest batch. It runs on the rayon pool that it
/// is called from; call it from inside the pool (see [`TrainStep::train_all`]) where steps are
/// short.
pub struct TrainStep {
    network: Network,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
    past_steps: usize,
    future_steps: usize,
    loss: Loss,
    /// The optimiser's settings, free to change between steps.
    pub adam: Adam,
    shares: Vec<Share>,
    workspaces: Vec<Mutex<Workspace>>,
}

/// The most shares of a batch: what so many threads can work on at once. Fixed, so that the result
/// does not depend on the number of threads; small, since each share has a gradient of its own.
const MAX_SHARES: usize = 16;

/// Weights that a thread sums and updates at once.
const CHUNK: usize = 4096;

impl TrainStep {
    /// A trainer that starts from the given flat weights (in the order of [`Network`]).
    pub fn new(
        shape: NetworkShape,
        weights: Vec<f32>,
        past_steps: usize,
        future_steps: usize,
        loss: Loss,
        adam: Adam,
        level: Level,
    ) -> Self {
        assert!(past_steps > 0 && future_steps > 0);
        let network = Network::new(shape, &weights, level);
        TrainStep {
            gradient: vec![0.0; weights.len()],
            mean: vec![0.0; weights.len()],
            square: vec![0.0; weights.len()],
            steps: 0,
            network,
            weights,
            past_steps,
            future_steps,
            loss,
            adam,
            shares: Vec::new(),
            workspaces: Vec::new(),
        }
    }

    /// The network, for predictions with the weights as they are now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The flat weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The gradient of the last batch, without L2, in the order of the weights.
    pub fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// One step on the windows of the given indices; returns the loss of this batch, before the
    /// update.
    pub fn train(&mut self, windows: Windows<'_>, batch: &[usize]) -> f64 {
        let loss = self.compute_gradient(windows, batch);
        self.update();
        loss
    }

    /// One step for each batch of `batch_size` of the indices, the last one as small as it comes;
    /// `each` hears the loss of every batch. Enters the thread pool once.
    pub fn train_all(
        &mut self,
        windows: Windows<'_>,
        order: &[usize],
        batch_size: usize,
        mut each: impl FnMut(f64) + Send,
    ) {
        rayon::scope(|_| {
            for batch in order.chunks(batch_size) {
                each(self.train(windows, batch));
            }
        });
    }

    /// The loss of the batch; its gradient is then in [`gradient`](TrainStep::gradient).
    pub fn compute_gradient(&mut self, windows: Windows<'_>, batch: &[usize]) -> f64 {
        if batch.is_empty() {
            self.gradient.fill(0.0);
            return 0.0;
        }
        let tiles = Tile::number(batch.len(), self.network.level.lanes());
        let tiles_per_share = tiles.div_ceil(MAX_SHARES);
        let num_shares = tiles.div_ceil(tiles_per_share);
        self.reserve(num_shares);

        let values = self.future_steps * self.network.shape.outputs;
        let factor = self.loss.factor(batch.len(), values);
        let workspaces = &self.workspaces;
        let network = &self.network;
        let shares = self.shares[..num_shares].par_iter_mut().enumerate();
        shares.with_max_len(1).for_each(|(i, share)| {
            let work = &mut *own_workspace(workspaces);
            share.gradient.fill(0.0);
            share.squares = 0.0;
            let first = i * tiles_per_share;
            for tile in first..tiles.min(first + tiles_per_share) {
                let tile = Tile::of(batch.len(), network.level.lanes(), tile);
                share.squares +=
                    network.train_tile(windows, batch, tile, factor, work, &mut share.gradient);
            }
        });

        let shares = &self.shares[..num_shares];
        let sum = |(i, gradient): (usize, &mut [f32])| {
            gradient.copy_from_slice(&shares[0].gradient[i * CHUNK..][..gradient.len()]);
            for share in &shares[1..] {
                for (to, from) in gradient.iter_mut().zip(&share.gradient[i * CHUNK..]) {
                    *to += from;
                }
            }
        };
        self.gradient.par_chunks_mut(CHUNK).enumerate().for_each(sum);
        factor * shares.iter().map(|share| share.squares).sum::<f64>()
    }

    /// Adam with the gradient as it is.
    fn update(&mut self) {
        self.steps = self.steps.saturating_add(1);
        let (adam, step, level) = (self.adam, self.steps, self.network.level);
        let weights = self.weights.par_chunks_mut(CHUNK);
        let moments = self.mean.par_chunks_mut(CHUNK).zip(self.square.par_chunks_mut(CHUNK));
        let gradient = self.gradient.par_chunks(CHUNK);
        weights.zip(gradient).zip(moments).for_each(|((weights, gradient), (mean, square))| {
            level.run(Update { adam, step, scale: 1.0, gradient, weights, mean, square });
        });
        self.network.set_weights(&self.weights);
    }

    /// Makes room for so many shares, and a workspace for each thread.
    fn reserve(&mut self, shares: usize) {
        while self.shares.len() < shares {
            self.shares.push(Share { gradient: Aligned::zeros(self.weights.len()), squares: 0.0 });
        }
        while self.workspaces.len() < rayon::current_num_threads() {
            self.workspaces.push(Mutex::new(Workspace::new(
                &self.network.shape,
                self.past_steps,
                self.future_steps,
                self.network.level.lanes() * MAX_VECTORS,
                true,
            )));
        }
    }
}

impl Network {
    /// Forward, loss and backward of one tile: returns the sum of squared errors and adds the
    /// gradient of `factor` times that sum.
    fn train_tile(
        &self,
        windows: Windows<'_>,
        batch: &[usize],
        tile: Tile,
        factor: f64,
        work: &mut Workspace,
        gradient: &mut [f32],
    ) -> f64 {
        let past_len = work.past_steps * self.shape.features;
        let future_len = work.future_steps * self.shape.outputs;
        let (vectors, width) = (tile.vectors, tile.vectors * self.level.lanes());
        let series = |lane: usize| batch[tile.first + lane];
        gather(&mut work.past[..past_len * width], width, tile.count, |lane| {
            &windows.past[series(lane) * past_len..][..past_len]
        });
        gather(&mut work.future[..future_len * width], width, tile.count, |lane| {
            &windows.future[series(lane) * future_len..][..future_len]
        });
        self.level.run(ForwardPass { network: self, work, vectors });
        let squares = self.level.run(Residual {
            output: &mut work.output[..future_len * width],
            target: &work.future[..future_len * width],
            width,
            count: tile.count,
            scale: (2.0 * factor) as f32,
        });
        self.level.run(BackwardPass { network: self, work, vectors, gradient });
        squares
    }
}

/// The workspace of the thread that asks: always the same, so that it stays in that core's cache.
fn own_workspace(workspaces: &[Mutex<Workspace>]) -> MutexGuard<'_, Workspace> {
    let own = rayon::current_thread_index().unwrap_or(0) % workspaces.len();
    // A panic in another tile is passed on by rayon; the buffers are overwritten in any case.
    workspaces[own].lock().unwrap_or_else(PoisonError::into_inner)
}

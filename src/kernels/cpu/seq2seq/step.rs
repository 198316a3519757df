//! Tiles over threads, then the sum of gradients and the optimiser.

use super::network::{Network, NetworkShape, Piece};
use super::pass::{BackwardPass, ForwardPass, Residual, WeightsPass};
use super::workspace::Workspace;
use crate::kernels::cpu::aligned::Aligned;
use crate::kernels::cpu::cell::Cell;
use crate::kernels::cpu::gru::Gru;
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::optimizer::{Settings, Update, clip_factor, squared_length};
use crate::kernels::cpu::outer::scratch_len;
use crate::kernels::cpu::tile::{MAX_VECTORS, Tile, gather};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError, RwLock};

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
/// is called from; where steps are short, enter the pool once for many of them, with
/// [`rayon::scope`].
pub struct TrainStep {
    network: Network,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    momentum: Vec<f32>,
    square: Vec<f32>,
    /// The gradient's sum of squares, chunk by chunk.
    squares: Vec<f64>,
    steps: i32,
    past_steps: usize,
    future_steps: usize,
    loss: Loss,
    /// Optimiser, learning rate, weight decay and clipping: free to change between steps.
    pub settings: Settings,
    pieces: Vec<Piece>,
    shares: Vec<Share>,
    workspaces: Vec<RwLock<Workspace>>,
    /// Of each thread, for the products that give the weights' gradients.
    scratch: Vec<Mutex<Aligned>>,
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
        settings: Settings,
        level: Level,
    ) -> Self {
        assert!(past_steps > 0 && future_steps > 0);
        let network = Network::new(shape, &weights, level);
        TrainStep {
            gradient: vec![0.0; weights.len()],
            momentum: vec![0.0; weights.len()],
            square: vec![0.0; weights.len()],
            squares: vec![0.0; weights.len().div_ceil(CHUNK)],
            steps: 0,
            weights,
            past_steps,
            future_steps,
            loss,
            settings,
            pieces: network.shape.pieces(),
            shares: Vec::new(),
            workspaces: Vec::new(),
            scratch: Vec::new(),
            network,
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

    /// The loss of the batch; its gradient is then in [`gradient`](TrainStep::gradient).
    pub fn compute_gradient(&mut self, windows: Windows<'_>, batch: &[usize]) -> f64 {
        if batch.is_empty() {
            self.gradient.fill(0.0);
            return 0.0;
        }
        let lanes = self.network.level.lanes();
        let values = self.future_steps * self.network.shape.outputs;
        let factor = self.loss.factor(batch.len(), values);
        let pass = Pass { windows, batch, factor, tiles: Tile::number(batch.len(), lanes) };
        let gradients = pass.tiles.min(MAX_SHARES) * self.weights.len();
        let squares = if self.activations(pass.tiles) < gradients {
            self.gradient_by_pieces(pass)
        } else {
            self.gradient_by_tiles(pass)
        };
        factor * squares
    }

    /// Tile by tile, from the data to a gradient of its own; then the sum of these. The activations
    /// of a tile stay in the cache of the core that computes it.
    fn gradient_by_tiles(&mut self, pass: Pass<'_>) -> f64 {
        let tiles_per_share = pass.tiles.div_ceil(MAX_SHARES);
        let num_shares = pass.tiles.div_ceil(tiles_per_share);
        self.reserve(rayon::current_num_threads());
        while self.shares.len() < num_shares {
            self.shares.push(Share { gradient: Aligned::zeros(self.weights.len()), squares: 0.0 });
        }
        let TrainStep { network, pieces, workspaces, scratch, .. } = self;
        let (pieces, workspaces, scratch) = (&*pieces, &*workspaces, &*scratch);
        let shares = self.shares[..num_shares].par_iter_mut().enumerate();
        shares.with_max_len(1).for_each(|(i, share)| {
            let thread = rayon::current_thread_index().unwrap_or(0);
            // A panic in another tile is passed on by rayon; the buffers are overwritten anyway.
            let mut work = workspaces[thread].write().unwrap_or_else(PoisonError::into_inner);
            let mut scratch = scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
            share.gradient.fill(0.0);
            share.squares = 0.0;
            let first = i * tiles_per_share;
            for tile in first..pass.tiles.min(first + tiles_per_share) {
                share.squares += network.pass_tile(pass, tile, &mut work);
                let vectors = pass.tile(tile, network).vectors;
                for Piece { place, weights } in pieces {
                    network.level.run(WeightsPass {
                        network,
                        work: &work,
                        vectors,
                        place,
                        gradient: &mut share.gradient[weights.clone()],
                        scratch: &mut scratch,
                    });
                }
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
        shares.iter().map(|share| share.squares).sum::<f64>()
    }

    /// First all tiles, from the data to the gradients of the gates, which are kept; then piece by
    /// piece the gradient of the weights, each summed over all tiles. For large layers, where the
    /// gradient of one tile would not stay in any cache.
    fn gradient_by_pieces(&mut self, pass: Pass<'_>) -> f64 {
        self.reserve(pass.tiles.max(rayon::current_num_threads()));
        let TrainStep { network, pieces, workspaces, scratch, .. } = self;
        let (network, scratch) = (&*network, &*scratch);
        let tiles = workspaces[..pass.tiles].par_iter_mut().enumerate();
        tiles.with_max_len(1).for_each(|(i, work)| {
            let work = work.get_mut().unwrap_or_else(PoisonError::into_inner);
            work.squares = network.pass_tile(pass, i, work);
        });
        let workspaces = &workspaces[..pass.tiles];
        by_pieces(pieces, &mut self.gradient, &|piece, gradient| {
            let thread = rayon::current_thread_index().unwrap_or(0);
            let mut scratch = scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
            gradient.fill(0.0);
            for (i, work) in workspaces.iter().enumerate() {
                network.level.run(WeightsPass {
                    network,
                    work: &work.read().unwrap_or_else(PoisonError::into_inner),
                    vectors: pass.tile(i, network).vectors,
                    place: &piece.place,
                    gradient,
                    scratch: &mut scratch,
                });
            }
        });
        let squares = workspaces.iter().map(|work| work.read().map_or(0.0, |work| work.squares));
        squares.sum()
    }

    /// Floats that so many tiles keep between the passes.
    fn activations(&self, tiles: usize) -> usize {
        let NetworkShape { hidden, .. } = &self.network.shape;
        let steps = self.past_steps + self.future_steps;
        let rows = hidden.iter().map(|hidden| (Gru::SAVED + 1) * hidden).sum::<usize>();
        tiles * steps * rows * self.network.level.lanes() * MAX_VECTORS
    }

    /// The optimiser, with the gradient scaled down if it is too long.
    fn update(&mut self) {
        self.steps = self.steps.saturating_add(1);
        let scale = self.settings.clip_norm.map_or(1.0, |most| clip_factor(self.norm(), most));
        let (settings, step, level) = (self.settings, self.steps, self.network.level);
        let scale = scale as f32;
        let weights = self.weights.par_chunks_mut(CHUNK);
        let states = self.momentum.par_chunks_mut(CHUNK).zip(self.square.par_chunks_mut(CHUNK));
        let gradient = self.gradient.par_chunks(CHUNK);
        weights.zip(gradient).zip(states).for_each(|((weights, gradient), (momentum, square))| {
            level.run(Update { settings, step, scale, gradient, weights, momentum, square });
        });
        self.network.set_weights(&self.weights);
    }

    /// The length of the whole gradient, added up in an order that does not depend on the threads.
    fn norm(&mut self) -> f64 {
        let gradient = self.gradient.par_chunks(CHUNK);
        let squares = self.squares.par_iter_mut().zip(gradient);
        squares.for_each(|(square, gradient)| *square = squared_length(gradient));
        self.squares.iter().sum::<f64>().sqrt()
    }

    /// Makes room for so many tiles at once, and for the scratch memory of all threads.
    fn reserve(&mut self, workspaces: usize) {
        let NetworkShape { hidden, features, .. } = &self.network.shape;
        let width = self.network.level.lanes() * MAX_VECTORS;
        while self.workspaces.len() < workspaces {
            self.workspaces.push(RwLock::new(Workspace::new(
                &self.network.shape,
                self.past_steps,
                self.future_steps,
                width,
                true,
            )));
        }
        let rows = hidden.iter().copied().max().unwrap_or(0).max(*features);
        let scratch = scratch_len(rows, self.past_steps.max(self.future_steps), width);
        let scratch = || Mutex::new(Aligned::zeros(scratch));
        self.scratch.resize_with(self.scratch.len().max(rayon::current_num_threads()), scratch);
    }
}

/// What all tiles of a step have in common.
#[derive(Clone, Copy)]
struct Pass<'a> {
    windows: Windows<'a>,
    batch: &'a [usize],
    /// The loss as a multiple of the summed squared error.
    factor: f64,
    tiles: usize,
}

impl Pass<'_> {
    fn tile(&self, index: usize, network: &Network) -> Tile {
        Tile::of(self.batch.len(), network.level.lanes(), index)
    }
}

/// Calls `each` with every piece and its part of the gradient, on all threads.
fn by_pieces<F>(pieces: &[Piece], gradient: &mut [f32], each: &F)
where
    F: Fn(&Piece, &mut [f32]) + Sync,
{
    match pieces {
        [] => {}
        [piece] => each(piece, gradient),
        _ => {
            let (left, right) = pieces.split_at(pieces.len() / 2);
            let middle = right[0].weights.start - left[0].weights.start;
            let (of_left, of_right) = gradient.split_at_mut(middle);
            rayon::join(|| by_pieces(left, of_left, each), || by_pieces(right, of_right, each));
        }
    }
}

impl Network {
    /// Forward, loss and backward of one tile, to the gradients of the gates: returns the sum of
    /// squared errors.
    fn pass_tile(&self, pass: Pass<'_>, tile: usize, work: &mut Workspace) -> f64 {
        let Pass { windows, batch, factor, .. } = pass;
        let tile = pass.tile(tile, self);
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
        self.level.run(BackwardPass { network: self, work, vectors });
        squares
    }
}

//! Tiles over threads, then the sum of gradients and the optimiser.

use super::network::{Half, Network, NetworkPass, NetworkShape};
use super::workspace::Workspace;
use crate::aligned::Aligned;
use crate::dropout::Dropout;
use crate::level::{Isa, Kernel, Level};
use crate::optimizer::{CHUNK, Settings, Update, clip_factor, norm};
use crate::outer::scratch_len;
use crate::stack::Piece;
use crate::threads::{MAX_SHARES, shares};
use crate::tile::{Gather, Tile};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The loss, without L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Mean over the batch of half the squared error summed over time and features.
    HalfSum,
    /// Squared error, the mean over everything; no training asks for it, but the tests do.
    Mean,
}

impl Loss {
    /// The loss as a multiple of the summed squared error of `batch` series of `values` values.
    pub fn factor(self, batch: usize, values: usize) -> f64 {
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
    tiles: Range<usize>,
    gradient: Aligned,
    squares: f64,
}

impl Share {
    fn new(weights: usize) -> Self {
        Share { tiles: 0..0, gradient: Aligned::zeros(weights), squares: 0.0 }
    }
}

/// Trains an encoder-decoder, one batch a call.
///
/// A step allocates nothing, once it has seen batches of all its sizes. It runs on the rayon pool that it
/// is called from; where steps are short, enter the pool once for many of them, with
/// [`rayon::scope`].
pub struct TrainStep {
    network: Network,
    weights: Vec<f32>,
    momentum: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
    /// Of past and future.
    lengths: [usize; 2],
    loss: Loss,
    dropout: Option<Dropout>,
    /// Optimiser, learning rate, weight decay and clipping: free to change between steps.
    pub settings: Settings,
    pieces: Vec<(Half, Piece)>,
    /// At least one; in the end the first one has the sum of all.
    shares: Vec<Share>,
    workspaces: Vec<Workspace>,
    /// Of each thread, for the products that give the weights' gradients.
    scratch: Vec<Mutex<Aligned>>,
}

/// The most shares of a thread that have buffers at once. Threads wait for each other after so many,
/// and the buffers take memory.
const SHARES_AT_ONCE: usize = 4;

/// Below this many weights a gradient is not worth sharing with another thread.
const WORTH_JOIN: usize = 4096;

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
            momentum: vec![0.0; weights.len()],
            square: vec![0.0; weights.len()],
            steps: 0,
            lengths: [past_steps, future_steps],
            loss,
            dropout: None,
            settings,
            pieces: network.shape.pieces(),
            shares: vec![Share::new(weights.len())],
            weights,
            workspaces: Vec::new(),
            scratch: Vec::new(),
            network,
        }
    }

    /// The same with dropout in every step. With a rate of 0, or one layer, nothing is dropped.
    pub fn with_dropout(self, dropout: Dropout) -> Self {
        assert!((0.0..1.0).contains(&dropout.rate));
        let drops = dropout.rate > 0.0 && self.network.shape.hidden.len() > 1;
        TrainStep { dropout: drops.then_some(dropout), workspaces: Vec::new(), ..self }
    }

    /// The network, for predictions with the weights as they are now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The flat weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// What the optimiser remembers: m and v of [`Optimizer`](crate::optimizer::Optimizer),
    /// in the order of the weights, and the steps that were taken.
    pub fn memory(&self) -> (&[f32], &[f32], i32) {
        (&self.momentum, &self.square, self.steps)
    }

    /// Takes up the [`memory`](TrainStep::memory) of another trainer of the same network.
    pub fn set_memory(&mut self, momentum: &[f32], square: &[f32], steps: i32) {
        self.momentum.copy_from_slice(momentum);
        self.square.copy_from_slice(square);
        self.steps = steps;
    }

    /// The gradient of the last batch, without L2, in the order of the weights.
    pub fn gradient(&self) -> &[f32] {
        &self.shares[0].gradient
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
            self.shares[0].gradient.fill(0.0);
            return 0.0;
        }
        let values = self.lengths[1] * self.network.shape.outputs;
        let factor = self.loss.factor(batch.len(), values);
        let tiles = Tile::number(batch.len(), self.network.level);
        let num_shares = tiles.min(MAX_SHARES);
        // Large layers: the activations of all tiles are fewer than the numbers of several
        // gradients, none of which would stay in any cache. So one gradient is summed over the
        // tiles, which keep theirs until then, see `sum_of_shares`.
        let one_share = self.activations(tiles) < num_shares * self.weights.len();
        let dropout = self.dropout.map(|dropout| (dropout, self.steps));
        let pass = Pass { windows, batch, factor, tiles, steps: self.lengths, dropout };
        factor * self.sum_of_shares(pass, if one_share { 1 } else { num_shares })
    }

    /// The gradient of a batch that is cut into so many shares; returns the sum of squared errors.
    fn sum_of_shares(&mut self, pass: Pass<'_>, num_shares: usize) -> f64 {
        // The tiles of a lone share keep their activations, but not more of them at once than threads
        // can work on. Otherwise those of a tile are used while they are in the cache.
        let slots = if num_shares == 1 { pass.tiles.min(MAX_SHARES) } else { 1 };
        // In rounds, each of as many shares as there are buffers for.
        let rounds = num_shares.div_ceil(rayon::current_num_threads() * SHARES_AT_ONCE);
        let shares_per_round = num_shares.div_ceil(rounds);
        self.reserve(num_shares, shares_per_round * slots);

        let of_tiles = shares(pass.tiles, num_shares);
        let TrainStep { network, pieces, shares, workspaces, scratch, .. } = self;
        let shares = &mut shares[..num_shares];
        // The last tiles, often narrower ones, come first: work at the end is to be large enough that
        // two threads can share its gradients.
        for (share, tiles) in shares.iter_mut().rev().zip(of_tiles) {
            share.tiles = tiles;
            share.squares = 0.0;
        }
        let engine = Engine { network, pieces, scratch, pass, slots };
        for round in shares.chunks_mut(shares_per_round) {
            engine.shares(round, workspaces);
        }

        let squares = shares.iter().map(|share| share.squares).sum::<f64>();
        let [total, others @ ..] = shares else { return squares };
        let others = &*others;
        total.gradient.par_chunks_mut(CHUNK).enumerate().for_each(|(i, total)| {
            for share in others {
                for (to, from) in total.iter_mut().zip(&share.gradient[i * CHUNK..]) {
                    *to += from;
                }
            }
        });
        squares
    }

    /// Floats of gates and states that so many tiles keep between the passes, at most.
    fn activations(&self, tiles: usize) -> usize {
        let layers = self.network.encoder.shape.layers.iter();
        let rows = layers.map(|shape| shape.gates() + shape.hidden).sum::<usize>();
        tiles * self.lengths.iter().sum::<usize>() * rows * Tile::whole(self.network.level)
    }

    /// The optimiser, with the gradient scaled down if it is too long.
    fn update(&mut self) {
        self.steps = self.steps.saturating_add(1);
        let norm = || norm(&self.shares[0].gradient);
        let scale = self.settings.clip_norm.map_or(1.0, |most| clip_factor(norm(), most));
        Update {
            settings: self.settings,
            step: self.steps,
            scale: scale as f32,
            gradient: &self.shares[0].gradient,
            weights: &mut self.weights,
            momentum: &mut self.momentum,
            square: &mut self.square,
        }
        .chunks(self.network.level);
        self.network.set_weights(&self.weights);
    }

    /// Makes room for so many shares, so many tiles at once, and the scratch memory of all threads.
    fn reserve(&mut self, shares: usize, workspaces: usize) {
        while self.shares.len() < shares {
            self.shares.push(Share::new(self.weights.len()));
        }
        let NetworkShape { hidden, features, .. } = &self.network.shape;
        let width = Tile::whole(self.network.level);
        while self.workspaces.len() < workspaces {
            let (shape, lengths) = (&self.network.shape, self.lengths);
            let dropout = self.dropout.is_some();
            self.workspaces.push(Workspace::new(shape, lengths, width, dropout));
        }
        let rows = hidden.iter().copied().max().unwrap_or(0).max(*features);
        let scratch = scratch_len(rows, self.network.level);
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
    /// Of past and future.
    steps: [usize; 2],
    /// With the number of the step.
    dropout: Option<(Dropout, i32)>,
}

impl Pass<'_> {
    /// Tile `index` on its way through the network.
    fn tile(self, index: usize, network: &Network) -> NetworkPass<'_> {
        let tile = Tile::of(self.batch.len(), network.level, index);
        NetworkPass { network, tile, steps: self.steps, dropout: self.dropout }
    }
}

/// Shares, tiles and pieces of the gradient over threads.
///
/// Everything is cut in two and again in two, and a thread without work takes the other half of
/// what another one does. Sizes and instruction set alone decide what is summed in which order.
struct Engine<'a> {
    network: &'a Network,
    pieces: &'a [(Half, Piece)],
    /// Of each thread.
    scratch: &'a [Mutex<Aligned>],
    pass: Pass<'a>,
    /// Workspaces of a share: tiles whose passes go before the gradients of their weights.
    slots: usize,
}

impl Engine<'_> {
    /// The gradients of some shares, in the given workspaces.
    fn shares(&self, shares: &mut [Share], work: &mut [Workspace]) {
        match shares {
            [] => {}
            [share] => self.share(share, &mut work[..self.slots]),
            _ => {
                let middle = shares.len() / 2;
                let (left, right) = shares.split_at_mut(middle);
                let (of_left, of_right) = work.split_at_mut(middle * self.slots);
                rayon::join(|| self.shares(left, of_left), || self.shares(right, of_right));
            }
        }
    }

    fn share(&self, share: &mut Share, work: &mut [Workspace]) {
        let Range { start, end } = share.tiles;
        for first in (start..end).step_by(self.slots) {
            let tiles = first..end.min(first + self.slots);
            let work = &mut work[..tiles.len()];
            self.passes(tiles.clone(), work);
            share.squares += work.iter().map(|work| work.squares).sum::<f64>();
            let from_zero = first == start;
            self.gradient(self.pieces, &mut share.gradient, from_zero, tiles, work);
        }
    }

    /// Forward and backward of some tiles.
    fn passes(&self, tiles: Range<usize>, work: &mut [Workspace]) {
        match work {
            [] => {}
            [work] => work.squares = pass_tile(self.network, self.pass, tiles.start, work),
            _ => {
                let (left, right) = work.split_at_mut(work.len() / 2);
                let middle = tiles.start + left.len();
                rayon::join(
                    || self.passes(tiles.start..middle, left),
                    || self.passes(middle..tiles.end, right),
                );
            }
        }
    }

    /// The gradients of some pieces, each summed over the given tiles in their order; added to what
    /// is there, or from zero.
    fn gradient(
        &self,
        pieces: &[(Half, Piece)],
        gradient: &mut [f32],
        from_zero: bool,
        tiles: Range<usize>,
        work: &[Workspace],
    ) {
        if pieces.len() > 1 && gradient.len() >= WORTH_JOIN {
            let (left, right) = pieces.split_at(pieces.len() / 2);
            let middle = right[0].1.weights.start - left[0].1.weights.start;
            let (of_left, of_right) = gradient.split_at_mut(middle);
            rayon::join(
                || self.gradient(left, of_left, from_zero, tiles.clone(), work),
                || self.gradient(right, of_right, from_zero, tiles.clone(), work),
            );
            return;
        }
        let Some(start) = pieces.first().map(|(_, piece)| piece.weights.start) else { return };
        if from_zero {
            gradient.fill(0.0);
        }
        let thread = rayon::current_thread_index().unwrap_or(0);
        // A panic in another piece is passed on by rayon; the scratch memory is overwritten anyway.
        let mut scratch = self.scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            let weights = piece.1.weights.start - start..piece.1.weights.end - start;
            for (tile, work) in tiles.clone().zip(work) {
                let pass = self.pass.tile(tile, self.network);
                pass.weights(piece, work, &mut gradient[weights.clone()], &mut scratch);
            }
        }
    }
}

/// Forward, loss and backward of one tile, to the gradients of the gates: returns the sum of
/// squared errors.
fn pass_tile(network: &Network, pass: Pass<'_>, tile: usize, work: &mut Workspace) -> f64 {
    let Pass { windows, batch, factor, .. } = pass;
    let pass = pass.tile(tile, network);
    let (tile, width, [past_len, future_len]) = (pass.tile, pass.tile.width(), pass.lens());
    let gather = |rows: &mut [f32], series: &[f32]| {
        let (count, len) = (tile.count, rows.len() / width);
        let series = |lane: usize| &series[batch[tile.first + lane] * len..][..len];
        tile.level.run(Gather { rows, width, count, series });
    };
    gather(&mut work.past[..past_len], windows.past);
    gather(&mut work.future[..future_len], windows.future);
    pass.forward(work);
    let squares = tile.level.run(Residual {
        output: &mut work.output[..future_len],
        target: &work.future[..future_len],
        width,
        count: tile.count,
        scale: (2.0 * factor) as f32,
    });
    pass.backward(work);
    squares
}

/// Replaces predictions by the gradient of the loss, `scale` times the error; returns the sum of
/// squared errors.
struct Residual<'a> {
    /// (F·O, W).
    output: &'a mut [f32],
    /// (F·O, W).
    target: &'a [f32],
    /// Lanes of a row.
    width: usize,
    /// Lanes that hold a series.
    count: usize,
    scale: f32,
}

impl Kernel for Residual<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) -> f64 {
        let mut sum = 0.0;
        let rows = self.output.chunks_exact_mut(self.width);
        for (output, target) in rows.zip(self.target.chunks_exact(self.width)) {
            let mut squares = isa.splat_f32s(0.0);
            let (output, idle) = output.split_at_mut(self.count);
            let chunks = output.chunks_mut(S::F32_LANES);
            for (output, target) in chunks.zip(target[..self.count].chunks(S::F32_LANES)) {
                let error =
                    isa.sub_f32s(isa.partial_load_f32s(output), isa.partial_load_f32s(target));
                squares = isa.fma(error, error, squares);
                isa.partial_store_f32s(output, isa.mul_f32s(error, isa.splat_f32s(self.scale)));
            }
            idle.fill(0.0);
            sum += f64::from(isa.reduce_sum_f32s(squares));
        }
        sum
    }
}

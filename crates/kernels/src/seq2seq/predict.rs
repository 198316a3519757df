//! The forward pass alone.
//!
//! Nothing is kept for a backward pass: each step goes through all layers, and leaves their states to the next
//! one. Some tiles go side by side, so that the weights are read once a step for all of them.

use super::network::{Network, NetworkShape};
use crate::DecoderInput;
use crate::aligned::Aligned;
use crate::dense;
use crate::layer::{LayerKernel, Project, Step, StepInput};
use crate::product::Columns;
use crate::shape::Shape;
use crate::stack::Stack;
use crate::tile::{Scatter, Tile, TileKernel};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most tiles that go side by side.
const SIDE_BY_SIDE: usize = 4;

impl Network {
    /// The predictions (N, F, O) for the pasts (N, P, D), for any number of steps F, which need
    /// not be the number that was trained.
    pub fn predict(&self, past: &[f32], past_steps: usize, future_steps: usize) -> Vec<f32> {
        let all = self.predict_while(past, past_steps, future_steps, &|| true);
        all.expect("nothing ends it early")
    }

    /// As [`predict`](Network::predict), but calls `go_on` before each step of a few series, and returns `None`
    /// when `go_on` has returned false.
    pub fn predict_while(
        &self,
        past: &[f32],
        past_steps: usize,
        future_steps: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<f32>> {
        let lens = [past_steps * self.shape.features, future_steps * self.shape.outputs];
        let [past_len, future_len] = lens;
        assert!(past_steps > 0 && future_steps > 0 && past.len().is_multiple_of(past_len));
        let series = past.len() / past_len;
        let mut output = vec![0.0; series * future_len];

        // How many go side by side decides about the time alone: there is to be work for all threads.
        let tiles: Vec<Tile> = Tile::all(series, self.level).collect();
        let most = (tiles.len() / (2 * rayon::current_num_threads())).clamp(1, SIDE_BY_SIDE);
        let mut rest = &mut output[..];
        let alike = tiles.chunk_by(|a, b| (a.level, a.vectors) == (b.level, b.vectors));
        let jobs = alike.flat_map(|tiles| tiles.chunks(most)).map(|tiles| {
            let series: usize = tiles.iter().map(|tile| tile.count).sum();
            (tiles, rest.split_off_mut(..series * future_len).expect("outputs of all tiles"))
        });

        let lanes = most * tiles.iter().map(Tile::width).max().unwrap_or(0);
        // Of threads that have nothing to do just now.
        let unused = Mutex::new(Vec::new());
        let unused = || unused.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = AtomicBool::new(false);
        let run = |(tiles, mut output): (&[Tile], &mut [f32])| {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let found = unused().pop();
            let mut buffers = found.unwrap_or_else(|| Buffers::new(&self.shape, lens, lanes));
            let pass = Pass { network: self, tiles, lens, go_on };
            let width = pass.tile().width();
            let rows = buffers.past.chunks_exact_mut(past_len * width);
            for (tile, rows) in tiles.iter().zip(rows) {
                tile.gather(rows, past, past_len);
            }
            if !pass.run(&mut buffers) {
                return ended.store(true, Ordering::Relaxed);
            }
            let rows = buffers.output.chunks_exact(future_len * width);
            for (tile, rows) in tiles.iter().zip(rows) {
                let series = output.split_off_mut(..tile.count * future_len);
                let series = series.expect("outputs of all tiles");
                tile.level.run(Scatter::<false> { rows, width, series, len: future_len });
            }
            unused().push(buffers);
        };
        if series <= Tile::whole(self.level) {
            // Not worth a thread.
            jobs.for_each(run);
        } else {
            jobs.collect::<Vec<_>>().into_par_iter().for_each(run);
        }
        (!ended.into_inner()).then_some(output)
    }
}

/// What the tiles that go side by side need: one after the other, each with the rows of its shape.
struct Buffers {
    /// (P·D, W) of each tile.
    past: Aligned,
    /// (F·O, W) of each tile.
    output: Aligned,
    /// Of each layer, after the step that it has taken last.
    states: Vec<State>,
    /// (SAVED·H, W) of each tile, for the largest H.
    gates: Aligned,
    /// (H, W) of each tile, for the largest H: the state before a step.
    before: Aligned,
    /// (GATES·H, W) of each tile: what the decoder's first layer makes of its input.
    projected: Aligned,
}

/// The states of a layer.
struct State {
    /// (H, W) of each tile.
    hidden: Aligned,
    /// (CARRIED·H, W) of each tile: what is carried beside the hidden state.
    carried: Aligned,
}

impl Buffers {
    /// For so many values of the past and the future of a series, and so many lanes of all tiles together.
    fn new(shape: &NetworkShape, [past, future]: [usize; 2], lanes: usize) -> Self {
        let zeros = |rows| Aligned::zeros(rows * lanes);
        let layers = shape.decoder().layers;
        let most = |rows: fn(&Shape) -> usize| layers.iter().map(rows).max().unwrap_or(0);
        let state =
            |shape: &Shape| State { hidden: zeros(shape.hidden), carried: zeros(shape.carried()) };
        Buffers {
            past: zeros(past),
            output: zeros(future),
            states: layers.iter().map(state).collect(),
            gates: zeros(most(|shape| shape.gates())),
            before: zeros(most(|shape| shape.hidden)),
            projected: zeros(layers[0].groups() * layers[0].hidden),
        }
    }
}

/// Tiles of one width on their way through the network.
#[derive(Clone, Copy)]
struct Pass<'a> {
    network: &'a Network,
    tiles: &'a [Tile],
    /// Values of the past and of the future of a series.
    lens: [usize; 2],
    /// Called before each step; false ends the pass.
    go_on: &'a (dyn Fn() -> bool + Sync),
}

impl Pass<'_> {
    /// One of the tiles, which are all alike.
    fn tile(self) -> Tile {
        self.tiles[0]
    }

    /// The lanes of all tiles.
    fn lanes(self) -> usize {
        self.tiles.len() * self.tile().width()
    }

    /// From the past to the output. Returns false when `go_on` did.
    fn run(self, buffers: &mut Buffers) -> bool {
        let Network { shape, encoder, decoder, .. } = self.network;
        let lanes = self.lanes();
        let Buffers { past, output, states, gates, before, projected } = buffers;
        let [past_len, future_len] = self.lens;
        for State { hidden, carried } in &mut *states {
            hidden.fill(0.0);
            carried.fill(0.0);
        }
        for first in (0..past_len).step_by(shape.features) {
            let range = first..first + shape.features;
            let past = &past[..past_len * lanes];
            let input = StepInput::Columns(Columns { rows: past, stride: past_len, range });
            if !self.step(encoder, input, states, gates, before) {
                return false;
            }
        }

        let layer = &decoder.layers[0];
        let projected = &mut projected[..layer.shape.groups() * layer.shape.hidden * lanes];
        let input = match (shape.decoder_input, states.last()) {
            (DecoderInput::RepeatLast, Some(State { hidden: context, .. })) => {
                let input = &context[..layer.shape.input * lanes];
                Project { layer, input, product: &mut *projected }.run(self.tile());
                StepInput::Projected(projected)
            }
            _ => StepInput::Zeros,
        };
        for first in (0..future_len).step_by(shape.outputs) {
            if !self.step(decoder, input.clone(), states, gates, before) {
                return false;
            }
            if let (Some(dense), Some(State { hidden, .. })) = (&decoder.head, states.last()) {
                let range = first..first + shape.outputs;
                let rows = &mut output[..future_len * lanes];
                let output = Columns { rows, stride: future_len, range };
                let input = &hidden[..decoder.shape.top() * lanes];
                dense::Forward { dense, input, output }.run(self.tile());
            }
        }
        true
    }

    /// Takes a step through the layers of a stack, unless `go_on` returns false.
    fn step(
        self,
        stack: &Stack,
        input: StepInput<'_>,
        states: &mut [State],
        gates: &mut [f32],
        before: &mut [f32],
    ) -> bool {
        if !(self.go_on)() {
            return false;
        }
        let lanes = self.lanes();
        let mut input = input;
        for (layer, State { hidden, carried }) in stack.layers.iter().zip(states) {
            let Shape { hidden: units, .. } = layer.shape;
            let (after, before) = (&mut hidden[..units * lanes], &mut before[..units * lanes]);
            before.copy_from_slice(after);
            Step {
                layer,
                input,
                gates: &mut gates[..layer.shape.gates() * lanes],
                before,
                after: &mut *after,
                carried: &mut carried[..layer.shape.carried() * lanes],
            }
            .run(self.tile());
            input = StepInput::Columns(Columns::whole(after, units));
        }
        true
    }
}

//! A stack of layers as an operation on batch-first slices: what a tape wraps.
//!
//! The whole stack goes tile by tile: between its layers nothing changes its layout, and other
//! threads are called once for each direction.

use super::aligned::Recycled;
use super::cell::Cell;
use super::gru::Gru;
use super::layer::{self, Backward, Forward, InputGradient, Packed, Part, Shape, Traces, Weights};
use super::level::Level;
use super::lstm::Lstm;
use super::outer::scratch_len;
use super::simple_rnn::SimpleRnn;
use super::threads::{for_each, sum_of_shares, tiles_per_share, worth_threads};
use super::tile::{Scatter, Tile};
use std::mem::swap;

/// Which formulas a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// One tanh: PyTorch's `nn.RNN`.
    SimpleRnn,
    /// Gates r, z, n: PyTorch's `nn.GRU`.
    Gru,
    /// Gates i, f, g, o, and a cell state: PyTorch's `nn.LSTM`.
    Lstm,
}

/// A stack of recurrent layers over time, as PyTorch's with `batch_first=True`. H is the number of
/// units of a layer, or of the last one.
///
/// The weights are one flat slice, layer after layer, each in the order `weight_ih` (G·H, D),
/// `weight_hh` (G·H, H), `bias_ih` (G·H), `bias_hh` (G·H), each row-major, with the G gates in the
/// order that [`CellKind`] tells.
#[derive(Clone, Debug)]
pub struct RecurrentStack {
    cell: CellKind,
    layers: Vec<Shape>,
    level: Level,
}

/// What a stack reads.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Other features at every step, (B, T, D).
    Sequence(&'a [f32]),
    /// The same features, (B, D), at so many steps.
    Repeated(&'a [f32], usize),
}

/// One number for each of the states of a layer; what is `None` is zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct States<'a> {
    /// Of the hidden state, (B, H).
    pub hidden: Option<&'a [f32]>,
    /// Of the cell state of an LSTM, (B, H).
    pub cell: Option<&'a [f32]>,
}

/// As [`States`], computed.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedStates {
    /// Of the hidden state, (B, H).
    pub hidden: Vec<f32>,
    /// Of the cell state of an LSTM, (B, H); empty for other cells.
    pub cell: Vec<f32>,
}

/// What a stack computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// The hidden states of the last layer after each step, (B, T, H); empty if they were not asked
    /// for.
    pub hidden: Vec<f32>,
    /// The states of each layer after the last step.
    pub last: Vec<OwnedStates>,
}

/// The gradients of what [`RecurrentStack::forward`] has computed.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Of the outputs, (B, T, H); zeros if `None`.
    pub hidden: Option<&'a [f32]>,
    /// Of the states of each layer after the last step; zeros if there are none.
    pub last: &'a [States<'a>],
}

/// The gradients of what [`RecurrentStack::forward`] has read beside its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Of the states that each layer started from.
    pub initial: Vec<OwnedStates>,
    /// Of the weights, in the flat order of [`RecurrentStack`].
    pub weights: Vec<f32>,
}

/// What [`RecurrentStack::forward`] leaves for [`RecurrentStack::backward`].
pub struct Saved {
    batch: usize,
    steps: usize,
    repeated: bool,
    packed: PackedStack,
    /// The [`TileBuffers`], tile after tile.
    buffers: Recycled,
}

/// The packed weights of the layers of any kind.
enum PackedStack {
    SimpleRnn(Vec<Packed<SimpleRnn>>),
    Gru(Vec<Packed<Gru>>),
    Lstm(Vec<Packed<Lstm>>),
}

/// What a stack keeps of one tile.
struct TileBuffers<'a> {
    /// (T·D, W), or (D, W) if it is repeated.
    x: &'a mut [f32],
    layers: Vec<LayerBuffers<'a>>,
}

/// What one of its layers keeps.
struct LayerBuffers<'a> {
    shape: Shape,
    /// (T, SAVED·H, W)
    gates: &'a mut [f32],
    /// (T + 1, H, W)
    hidden: &'a mut [f32],
    /// (H, W): the gradient of the hidden state, from the last one to the first.
    carry: &'a mut [f32],
    /// (CARRIED·H, W): what is carried beside the output, then its gradient.
    carried: &'a mut [f32],
}

impl LayerBuffers<'_> {
    /// The states after each step, (T, H, W).
    fn outputs(&self, width: usize) -> &[f32] {
        &self.hidden[self.shape.hidden * width..]
    }

    /// The state after the last step, (H, W).
    fn last(&self, width: usize) -> &[f32] {
        &self.hidden[self.hidden.len() - self.shape.hidden * width..]
    }
}

impl RecurrentStack {
    /// Layers of so many units each, of which the first reads `input` features; all at least 1.
    pub fn new(cell: CellKind, input: usize, hidden: &[usize], level: Level) -> Self {
        let mut input = input;
        let mut layers = Vec::with_capacity(hidden.len());
        for &hidden in hidden {
            assert!(input > 0 && hidden > 0, "a layer needs features and units");
            layers.push(Shape { input, hidden });
            input = hidden;
        }
        assert!(!layers.is_empty(), "a stack needs a layer");
        RecurrentStack { cell, layers, level }
    }

    /// How many weights the stack has.
    pub fn num_weights(&self) -> usize {
        match self.cell {
            CellKind::SimpleRnn => self.weights::<SimpleRnn>(),
            CellKind::Gru => self.weights::<Gru>(),
            CellKind::Lstm => self.weights::<Lstm>(),
        }
    }

    fn weights<K: Cell>(&self) -> usize {
        self.layers.iter().map(|shape| shape.weights::<K>()).sum()
    }

    /// Runs over the input from the initial states, one for each layer, or zeros if there are none;
    /// tells the outputs at every step if they are asked for.
    ///
    /// The lengths of the slices must fit one another.
    pub fn forward(
        &self,
        weights: &[f32],
        input: Input<'_>,
        initial: &[States<'_>],
        batch: usize,
        every_step: bool,
    ) -> (Outputs, Saved) {
        let features = self.layers[0].input;
        let (x, steps, repeated) = match input {
            Input::Sequence(x) => (x, x.len() / (batch * features), false),
            Input::Repeated(x, steps) => (x, steps, true),
        };
        let pass = Pass { stack: self, batch, steps, repeated };
        assert_eq!(x.len(), batch * pass.input_len());
        assert_eq!(weights.len(), self.num_weights());
        match self.cell {
            CellKind::SimpleRnn => {
                pass.start(weights, x, initial, every_step, PackedStack::SimpleRnn)
            }
            CellKind::Gru => pass.start(weights, x, initial, every_step, PackedStack::Gru),
            CellKind::Lstm => pass.start(weights, x, initial, every_step, PackedStack::Lstm),
        }
    }

    /// The gradients of everything that [`forward`](RecurrentStack::forward) read, from those of
    /// what it computed. That of the input is added to `input`, if it is asked for. Consumes the
    /// saved activations: the gradients are computed in their place.
    pub fn backward(
        &self,
        saved: Saved,
        upstream: Upstream<'_>,
        input: Option<&mut [f32]>,
    ) -> Gradients {
        let Saved { batch, steps, repeated, packed, mut buffers } = saved;
        let pass = Pass { stack: self, batch, steps, repeated };
        match &packed {
            PackedStack::SimpleRnn(packed) => pass.backward(packed, &mut buffers, upstream, input),
            PackedStack::Gru(packed) => pass.backward(packed, &mut buffers, upstream, input),
            PackedStack::Lstm(packed) => pass.backward(packed, &mut buffers, upstream, input),
        }
    }
}

/// A stack and the sizes that it runs with.
#[derive(Clone, Copy)]
struct Pass<'a> {
    stack: &'a RecurrentStack,
    batch: usize,
    steps: usize,
    repeated: bool,
}

impl Pass<'_> {
    fn lanes(self) -> usize {
        self.stack.level.lanes()
    }

    /// Series of a whole tile.
    fn series(self) -> usize {
        Tile::whole(self.lanes())
    }

    fn tile(self, index: usize) -> Tile {
        Tile::of(self.batch, self.lanes(), index)
    }

    fn tiles(self) -> usize {
        Tile::number(self.batch, self.lanes())
    }

    /// Values of a series of the input.
    fn input_len(self) -> usize {
        self.stack.layers[0].input * if self.repeated { 1 } else { self.steps }
    }

    /// Units of the last layer.
    fn top(self) -> usize {
        self.stack.layers[self.stack.layers.len() - 1].hidden
    }

    fn worth_threads<K: Cell>(self) -> bool {
        worth_threads(self.batch * self.steps * self.stack.weights::<K>())
    }

    /// The slices must be as long as batch and layers want them.
    fn check<K: Cell>(self, states: &[States<'_>]) {
        assert!(states.is_empty() || states.len() == self.stack.layers.len());
        for (states, shape) in states.iter().zip(&self.stack.layers) {
            assert!(states.hidden.is_none_or(|h| h.len() == self.batch * shape.hidden));
            assert!(states.cell.is_none_or(|c| c.len() == self.batch * shape.carried::<K>()));
        }
    }

    /// Floats of the buffers of one lane.
    fn lane_len<K: Cell>(self) -> usize {
        let layer = |shape: &Shape| {
            let (gates, hidden) = (shape.gates::<K>(), shape.hidden);
            self.steps * gates + (self.steps + 1) * hidden + hidden + shape.carried::<K>()
        };
        self.input_len() + self.stack.layers.iter().map(layer).sum::<usize>()
    }

    /// Floats of the buffers of all tiles; the last one may be narrower.
    fn buffers_len<K: Cell>(self) -> usize {
        let Some(last) = self.tiles().checked_sub(1) else { return 0 };
        let width = last * self.series() + self.tile(last).vectors * self.lanes();
        width * self.lane_len::<K>()
    }

    fn split<K: Cell>(self, buffers: &mut [f32], width: usize) -> TileBuffers<'_> {
        let mut rest = buffers;
        let mut next = |rows: usize| rest.split_off_mut(..rows * width).expect("buffers of a tile");
        TileBuffers {
            x: next(self.input_len()),
            layers: (self.stack.layers.iter())
                .map(|&shape| LayerBuffers {
                    shape,
                    gates: next(self.steps * shape.gates::<K>()),
                    hidden: next((self.steps + 1) * shape.hidden),
                    carry: next(shape.hidden),
                    carried: next(shape.carried::<K>()),
                })
                .collect(),
        }
    }

    /// Lays a state out as rows; zeros if there is none.
    fn gather_state(self, tile: Tile, rows: &mut [f32], state: Option<&[f32]>) {
        let width = tile.vectors * self.lanes();
        match state {
            Some(state) => {
                tile.gather(self.stack.level, rows, width, state, rows.len() / width);
            }
            None => rows.fill(0.0),
        }
    }

    /// Packs the weights, and runs with them.
    fn start<K: Cell + Sync>(
        self,
        weights: &[f32],
        x: &[f32],
        initial: &[States<'_>],
        every_step: bool,
        of_kind: fn(Vec<Packed<K>>) -> PackedStack,
    ) -> (Outputs, Saved) {
        self.check::<K>(initial);
        let mut rest = weights;
        let pack = |&shape: &Shape| {
            let mut packed = Packed::<K>::new(shape);
            packed.pack(rest.split_off(..shape.weights::<K>()).expect("weights of all layers"));
            packed
        };
        let packed: Vec<_> = self.stack.layers.iter().map(pack).collect();
        let mut buffers = Recycled::new(self.buffers_len::<K>());
        let outputs = self.forward(&packed, x, initial, every_step, &mut buffers);
        let Pass { batch, steps, repeated, .. } = self;
        (outputs, Saved { batch, steps, repeated, packed: of_kind(packed), buffers })
    }

    fn forward<K: Cell + Sync>(
        self,
        packed: &[Packed<K>],
        x: &[f32],
        initial: &[States<'_>],
        every_step: bool,
        buffers: &mut [f32],
    ) -> Outputs {
        let level = self.stack.level;
        let len = self.steps * self.top();
        let mut hidden = vec![0.0; if every_step { self.batch * len } else { 0 }];
        let mut outputs = hidden.chunks_mut(self.series() * len);
        let tiles = buffers.chunks_mut(self.series() * self.lane_len::<K>());
        let jobs = tiles.enumerate().map(|(i, buffers)| (i, buffers, outputs.next())).collect();
        for_each(jobs, self.worth_threads::<K>(), |(i, buffers, output)| {
            let tile = self.tile(i);
            let width = tile.vectors * self.lanes();
            let TileBuffers { x: rows, mut layers } = self.split::<K>(buffers, width);
            tile.gather(level, rows, width, x, self.input_len());
            for (l, layer) in packed.iter().enumerate() {
                let (below, rest) = layers.split_at_mut(l);
                let LayerBuffers { shape, gates, hidden, carried, .. } = &mut rest[0];
                let initial = initial.get(l).copied().unwrap_or_default();
                self.gather_state(tile, &mut hidden[..shape.hidden * width], initial.hidden);
                self.gather_state(tile, carried, initial.cell);
                let input = self.read(rows, below, width);
                let vectors = tile.vectors;
                level.run(Forward { layer, vectors, input, gates, hidden, carried });
            }
            if let Some(series) = output {
                let rows = layers[layers.len() - 1].outputs(width);
                level.run(Scatter::<false> { rows, width, series, len });
            }
        });
        let last = self.owned_states::<K>(buffers, |buffers, width| buffers.last(width));
        Outputs { hidden, last }
    }

    /// What the layer above some others reads.
    fn read<'b>(
        self,
        x: &'b [f32],
        below: &'b [LayerBuffers<'_>],
        width: usize,
    ) -> layer::Input<'b> {
        match below.last() {
            Some(below) => layer::Input::Sequence(below.outputs(width)),
            None if self.repeated => layer::Input::Constant(x),
            None => layer::Input::Sequence(x),
        }
    }

    /// The states of all layers: of the hidden one what `hidden` tells, (H, W) of each tile, and
    /// what is carried.
    fn owned_states<K: Cell>(
        self,
        buffers: &mut [f32],
        hidden: impl for<'b> Fn(&'b LayerBuffers<'_>, usize) -> &'b [f32],
    ) -> Vec<OwnedStates> {
        let zeros = |shape: &Shape| OwnedStates {
            hidden: vec![0.0; self.batch * shape.hidden],
            cell: vec![0.0; self.batch * shape.carried::<K>()],
        };
        let mut states: Vec<_> = self.stack.layers.iter().map(zeros).collect();
        let tiles = buffers.chunks_mut(self.series() * self.lane_len::<K>());
        for (i, buffers) in tiles.enumerate() {
            let tile = self.tile(i);
            let width = tile.vectors * self.lanes();
            for (states, layer) in states.iter_mut().zip(self.split::<K>(buffers, width).layers) {
                let (level, units) = (self.stack.level, layer.shape.hidden);
                tile.scatter(level, hidden(&layer, width), width, &mut states.hidden, units);
                if K::CARRIED > 0 {
                    tile.scatter(level, layer.carried, width, &mut states.cell, units);
                }
            }
        }
        states
    }

    fn backward<K: Cell + Sync>(
        self,
        packed: &[Packed<K>],
        buffers: &mut [f32],
        upstream: Upstream<'_>,
        input: Option<&mut [f32]>,
    ) -> Gradients {
        let outputs = self.batch * self.steps * self.top();
        assert!(upstream.hidden.is_none_or(|hidden| hidden.len() == outputs));
        self.check::<K>(upstream.last);
        let tiles_per_share = tiles_per_share(self.tiles());
        let shares = self.tiles().div_ceil(tiles_per_share);
        let weights = self.stack.weights::<K>();
        let mut gradients = Recycled::new(shares * weights);

        // Without an input's gradient the chunks of nothing end at once.
        let series = tiles_per_share * self.series();
        let mut of_input = match input {
            Some(input) => {
                assert_eq!(input.len(), self.batch * self.input_len());
                input.chunks_mut(series * self.input_len())
            }
            None => [].chunks_mut(1),
        };
        let shares = buffers.chunks_mut(series * self.lane_len::<K>());
        let jobs = shares.zip(gradients.chunks_mut(weights)).enumerate();
        let jobs = jobs.map(|(i, (buffers, gradient))| Share {
            first: i * tiles_per_share,
            buffers,
            gradient,
            of_input: of_input.next(),
        });
        for_each(jobs.collect(), self.worth_threads::<K>(), |share| {
            self.backward_share(packed, share, upstream);
        });

        let weights = sum_of_shares(&gradients, weights);
        let initial = self.owned_states::<K>(buffers, |buffers, _| &*buffers.carry);
        Gradients { initial, weights }
    }

    fn backward_share<K: Cell>(
        self,
        packed: &[Packed<K>],
        share: Share<'_>,
        upstream: Upstream<'_>,
    ) {
        let level = self.stack.level;
        let Share { first, buffers, gradient, mut of_input } = share;
        let Shape { input: features, hidden: units } = self.stack.layers[0];
        let rows = self.stack.layers.iter().map(|shape| shape.hidden.max(shape.input)).max();
        let rows = rows.unwrap_or(0);
        // The gradients of a layer's outputs and of its inputs.
        let stream = || Recycled::new(self.steps * rows * self.series());
        let (mut outputs, mut inputs) = (stream(), stream());
        let mut summed = Recycled::new(K::GATES * units * self.series());
        let mut scratch = Recycled::new(scratch_len(rows, self.lanes()));
        gradient.fill(0.0);

        let tiles = buffers.chunks_mut(self.series() * self.lane_len::<K>());
        for (i, buffers) in tiles.enumerate() {
            let tile = self.tile(first + i);
            let (vectors, width) = (tile.vectors, tile.vectors * self.lanes());
            let summed = &mut summed[..K::GATES * units * width];
            let TileBuffers { x, mut layers } = self.split::<K>(buffers, width);
            if let Some(of_outputs) = upstream.hidden {
                let len = self.steps * self.top();
                tile.gather(level, &mut outputs[..len * width], width, of_outputs, len);
            }
            let mut gradient = &mut gradient[..];
            for (l, layer) in packed.iter().enumerate().rev() {
                let (below, rest) = layers.split_at_mut(l);
                let LayerBuffers { shape, gates, hidden, carry, carried } = &mut rest[0];
                let last = upstream.last.get(l).copied().unwrap_or_default();
                self.gather_state(tile, carry, last.hidden);
                self.gather_state(tile, carried, last.cell);
                level.run(Backward {
                    layer,
                    vectors,
                    gates,
                    hidden,
                    upstream: (l + 1 < packed.len() || upstream.hidden.is_some())
                        .then_some(&outputs[..self.steps * shape.hidden * width]),
                    carry,
                    carried,
                    input: if l > 0 {
                        InputGradient::Sequence(&mut inputs[..self.steps * shape.input * width])
                    } else if self.repeated {
                        let gradient = &mut inputs[..features * width];
                        gradient.fill(0.0);
                        InputGradient::Constant { gradient, summed }
                    } else if of_input.is_some() {
                        InputGradient::Sequence(&mut inputs[..self.steps * features * width])
                    } else {
                        InputGradient::Unused
                    },
                });
                let input = self.read(x, below, width);
                let traces = Traces { shape: *shape, vectors, gates, hidden, input, summed };
                let above = gradient.len() - shape.weights::<K>();
                let mut rest = gradient.split_off_mut(above..).expect("weights of all layers");
                for (part, len) in Part::of::<K>(*shape) {
                    let gradient = rest.split_off_mut(..len).expect("weights of all parts");
                    level.run(Weights::<K>::new(traces, part, gradient, &mut scratch));
                }
                swap(&mut outputs, &mut inputs);
            }
            if let Some(of_input) = &mut of_input {
                let len = self.input_len();
                let series = of_input.split_off_mut(..tile.count * len).expect("series of tiles");
                let rows = &outputs[..len * width];
                level.run(Scatter::<true> { rows, width, series, len });
            }
        }
    }
}

/// Tiles whose gradients are summed in their order.
struct Share<'a> {
    /// The first of them.
    first: usize,
    buffers: &'a mut [f32],
    /// Of all weights.
    gradient: &'a mut [f32],
    /// Of the input of its series, if it is asked for.
    of_input: Option<&'a mut [f32]>,
}

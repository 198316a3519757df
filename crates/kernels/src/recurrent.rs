//! A stack of layers as an operation on batch-first slices: what a tape wraps.
//!
//! The whole stack goes tile by tile: between its layers nothing changes its layout, and other
//! threads are called once for each direction.

use super::aligned::Recycled;
use super::cell::Cell;
use super::dense::{self, Dense};
use super::gru::Gru;
use super::layer::{self, Backward, Forward, InputGradient, Packed, Part, Shape, Traces, Weights};
use super::level::Level;
use super::lstm::Lstm;
use super::outer::scratch_len;
use super::simple_rnn::SimpleRnn;
use super::threads::{MAX_SHARES, for_each, shares, sum_of_shares, worth_threads};
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
/// order that [`CellKind`] tells. Those of a dense head follow: its matrix (O, H) and its bias (O).
#[derive(Clone, Debug)]
pub struct RecurrentStack {
    cell: CellKind,
    layers: Vec<Shape>,
    /// Features that a dense head makes of the last layer's outputs, O.
    head: Option<usize>,
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
    /// The hidden states of the last layer after each step, (B, T, H), or what the head makes of them,
    /// (B, T, O); empty if they were not asked for.
    pub every_step: Vec<f32>,
    /// The states of each layer after the last step; none with a head.
    pub last: Vec<OwnedStates>,
}

/// The gradients of what [`RecurrentStack::forward`] has computed.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Of the outputs, (B, T, H), or (B, T, O) with a head; zeros if `None`.
    pub every_step: Option<&'a [f32]>,
    /// Of the states of each layer after the last step; zeros if there are none.
    pub last: &'a [States<'a>],
}

/// The gradients of what [`RecurrentStack::forward`] has read beside its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Of the states that each layer started from; none if no states were given.
    pub initial: Vec<OwnedStates>,
    /// Of the weights, in the flat order of [`RecurrentStack`].
    pub weights: Vec<f32>,
}

/// What [`RecurrentStack::forward`] leaves for [`RecurrentStack::backward`].
pub struct Saved {
    sizes: Sizes,
    packed: PackedStack,
    head: Option<Dense>,
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
        RecurrentStack { cell, layers, head: None, level }
    }

    /// The same with a dense head of so many outputs, at least 1. Its outputs at every step are then all
    /// that [`forward`](RecurrentStack::forward) tells.
    pub fn with_head(self, outputs: usize) -> Self {
        assert!(outputs > 0, "a head needs outputs");
        RecurrentStack { head: Some(outputs), ..self }
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
        let of_head = self.head.map_or(0, |outputs| Dense::weights(self.top(), outputs));
        self.weights_of_layers::<K>() + of_head
    }

    fn weights_of_layers<K: Cell>(&self) -> usize {
        self.layers.iter().map(|shape| shape.weights::<K>()).sum()
    }

    /// Units of the last layer.
    fn top(&self) -> usize {
        self.layers[self.layers.len() - 1].hidden
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
        let from_states = !initial.is_empty();
        let pass = Pass { stack: self, sizes: Sizes { batch, steps, repeated, from_states } };
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
        let Saved { sizes, packed, head, buffers } = saved;
        let pass = Pass { stack: self, sizes };
        match packed {
            PackedStack::SimpleRnn(packed) => pass.backward(packed, head, buffers, upstream, input),
            PackedStack::Gru(packed) => pass.backward(packed, head, buffers, upstream, input),
            PackedStack::Lstm(packed) => pass.backward(packed, head, buffers, upstream, input),
        }
    }
}

/// What a stack runs over.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    steps: usize,
    /// Whether the input is the same at all steps.
    repeated: bool,
    /// Whether states were given to start from.
    from_states: bool,
}

/// A stack and what it runs over.
#[derive(Clone, Copy)]
struct Pass<'a> {
    stack: &'a RecurrentStack,
    sizes: Sizes,
}

impl Pass<'_> {
    fn tiles(self) -> impl Iterator<Item = Tile> {
        Tile::all(self.sizes.batch, self.stack.level)
    }

    /// Values of a series of the input.
    fn input_len(self) -> usize {
        self.stack.layers[0].input * if self.sizes.repeated { 1 } else { self.sizes.steps }
    }

    /// Values of a series of the outputs.
    fn output_len(self) -> usize {
        self.sizes.steps * self.stack.head.unwrap_or(self.stack.top())
    }

    fn worth_threads<K: Cell>(self) -> bool {
        worth_threads(self.sizes.batch * self.sizes.steps * self.stack.weights::<K>())
    }

    /// The slices must be as long as batch and layers want them.
    fn check<K: Cell>(self, states: &[States<'_>]) {
        assert!(states.is_empty() || states.len() == self.stack.layers.len());
        for (states, shape) in states.iter().zip(&self.stack.layers) {
            assert!(states.hidden.is_none_or(|h| h.len() == self.sizes.batch * shape.hidden));
            assert!(states.cell.is_none_or(|c| c.len() == self.sizes.batch * shape.carried::<K>()));
        }
    }

    /// Floats of the buffers of one lane.
    fn lane_len<K: Cell>(self) -> usize {
        let Sizes { steps, .. } = self.sizes;
        let layer = |shape: &Shape| {
            let (gates, hidden) = (shape.gates::<K>(), shape.hidden);
            steps * gates + (steps + 1) * hidden + hidden + shape.carried::<K>()
        };
        self.input_len() + self.stack.layers.iter().map(layer).sum::<usize>()
    }

    /// Each tile with its buffers.
    fn with_buffers<'b, K: Cell>(
        self,
        buffers: &'b mut [f32],
    ) -> impl Iterator<Item = (Tile, TileBuffers<'b>)> {
        let mut rest = buffers;
        self.tiles().map(move |tile| {
            let len = tile.width() * self.lane_len::<K>();
            let buffers = rest.split_off_mut(..len).expect("buffers of all tiles");
            (tile, self.split::<K>(buffers, tile.width()))
        })
    }

    fn split<K: Cell>(self, buffers: &mut [f32], width: usize) -> TileBuffers<'_> {
        let mut rest = buffers;
        let mut next = |rows: usize| rest.split_off_mut(..rows * width).expect("buffers of a tile");
        TileBuffers {
            x: next(self.input_len()),
            layers: (self.stack.layers.iter())
                .map(|&shape| LayerBuffers {
                    shape,
                    gates: next(self.sizes.steps * shape.gates::<K>()),
                    hidden: next((self.sizes.steps + 1) * shape.hidden),
                    carry: next(shape.hidden),
                    carried: next(shape.carried::<K>()),
                })
                .collect(),
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
        let head = self.stack.head.map(|outputs| {
            let mut head = Dense::new(self.stack.top(), outputs);
            head.pack(rest);
            head
        });
        let lanes = Tile::lanes(self.sizes.batch, self.stack.level);
        let mut buffers = Recycled::new(lanes * self.lane_len::<K>());
        let outputs = self.forward(&packed, head.as_ref(), x, initial, every_step, &mut buffers);
        (outputs, Saved { sizes: self.sizes, packed: of_kind(packed), head, buffers })
    }

    fn forward<K: Cell + Sync>(
        self,
        packed: &[Packed<K>],
        head: Option<&Dense>,
        x: &[f32],
        initial: &[States<'_>],
        every_step: bool,
        buffers: &mut [f32],
    ) -> Outputs {
        let len = self.output_len();
        let mut of_every_step = vec![0.0; if every_step { self.sizes.batch * len } else { 0 }];
        let mut rest = &mut of_every_step[..];
        let jobs = self.with_buffers::<K>(buffers).map(|(tile, buffers)| {
            // `None` where no outputs are asked for.
            (tile, buffers, rest.split_off_mut(..tile.count * len))
        });
        for_each(jobs.collect(), self.worth_threads::<K>(), |(tile, buffers, output)| {
            let (Tile { level, vectors, .. }, width) = (tile, tile.width());
            let TileBuffers { x: rows, mut layers } = buffers;
            tile.gather(rows, x, self.input_len());
            for (l, layer) in packed.iter().enumerate() {
                let (below, rest) = layers.split_at_mut(l);
                let LayerBuffers { shape, gates, hidden, carried, .. } = &mut rest[0];
                let initial = initial.get(l).copied().unwrap_or_default();
                tile.gather_or_zeros(&mut hidden[..shape.hidden * width], initial.hidden);
                tile.gather_or_zeros(carried, initial.cell);
                let input = self.read(rows, below, width);
                level.run(Forward { layer, vectors, input, gates, hidden, carried });
            }
            if let Some(series) = output {
                let hidden = layers[layers.len() - 1].outputs(width);
                let Some(dense) = head else {
                    return level.run(Scatter::<false> { rows: hidden, width, series, len });
                };
                let mut rows = Recycled::new(len * width);
                level.run(dense::Forward { dense, vectors, input: hidden, output: &mut rows });
                level.run(Scatter::<false> { rows: &rows, width, series, len });
            }
        });
        let last = match head {
            None => self.owned_states::<K>(buffers, |buffers, width| buffers.last(width)),
            Some(_) => Vec::new(),
        };
        Outputs { every_step: of_every_step, last }
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
            None if self.sizes.repeated => layer::Input::Constant(x),
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
            hidden: vec![0.0; self.sizes.batch * shape.hidden],
            cell: vec![0.0; self.sizes.batch * shape.carried::<K>()],
        };
        let mut states: Vec<_> = self.stack.layers.iter().map(zeros).collect();
        for (tile, buffers) in self.with_buffers::<K>(buffers) {
            for (states, layer) in states.iter_mut().zip(buffers.layers) {
                let units = layer.shape.hidden;
                tile.scatter(hidden(&layer, tile.width()), &mut states.hidden, units);
                if K::CARRIED > 0 {
                    tile.scatter(layer.carried, &mut states.cell, units);
                }
            }
        }
        states
    }

    fn backward<K: Cell + Sync>(
        self,
        packed: Vec<Packed<K>>,
        head: Option<Dense>,
        mut buffers: Recycled,
        upstream: Upstream<'_>,
        input: Option<&mut [f32]>,
    ) -> Gradients {
        let outputs = self.sizes.batch * self.output_len();
        assert!(upstream.every_step.is_none_or(|gradient| gradient.len() == outputs));
        self.check::<K>(upstream.last);
        let mut tiles: Vec<_> = self.with_buffers::<K>(&mut buffers).collect();
        let shares = shares(tiles.len(), MAX_SHARES);
        let weights = self.stack.weights::<K>();
        let mut gradients = Recycled::new(shares.len() * weights);

        if let Some(input) = &input {
            assert_eq!(input.len(), self.sizes.batch * self.input_len());
        }
        let (mut rest, mut rest_of_input) = (&mut tiles[..], input);
        let jobs = shares.zip(gradients.chunks_mut(weights)).map(|(range, gradient)| {
            let tiles = rest.split_off_mut(..range.len()).expect("tiles of all shares");
            let series = tiles.iter().map(|(tile, _)| tile.count).sum::<usize>();
            let of_input = rest_of_input.as_mut().map(|rest| {
                rest.split_off_mut(..series * self.input_len()).expect("series of all tiles")
            });
            Share { tiles, gradient, of_input }
        });
        for_each(jobs.collect(), self.worth_threads::<K>(), |share| {
            self.backward_share(&packed, head.as_ref(), share, upstream);
        });

        let weights = sum_of_shares(&gradients, weights);
        let initial = match self.sizes.from_states {
            true => self.owned_states::<K>(&mut buffers, |buffers, _| &*buffers.carry),
            false => Vec::new(),
        };
        Gradients { initial, weights }
    }

    fn backward_share<K: Cell>(
        self,
        packed: &[Packed<K>],
        head: Option<&Dense>,
        share: Share<'_, '_>,
        upstream: Upstream<'_>,
    ) {
        let (level, Sizes { steps, repeated, .. }) = (self.stack.level, self.sizes);
        let Share { tiles, gradient, mut of_input } = share;
        let Shape { input: features, hidden: units } = self.stack.layers[0];
        let rows = self.stack.layers.iter().map(|shape| shape.hidden.max(shape.input)).max();
        let rows = rows.max(self.stack.head).unwrap_or(0);
        // The gradients of a layer's outputs and of its inputs.
        let widest = Tile::whole(level);
        let stream = || Recycled::new(steps * rows * widest);
        let (mut outputs, mut inputs) = (stream(), stream());
        let mut summed = Recycled::new(K::GATES * units * widest);
        let mut scratch = Recycled::new(scratch_len(rows, level));
        gradient.fill(0.0);

        for (tile, TileBuffers { x, layers }) in tiles {
            let (Tile { level, vectors, .. }, width) = (*tile, tile.width());
            let summed = &mut summed[..K::GATES * units * width];
            let (mut gradient, of_head) =
                gradient.split_at_mut(self.stack.weights_of_layers::<K>());
            let len = self.output_len();
            match (upstream.every_step, head) {
                (None, _) => {}
                (Some(given), None) => tile.gather(&mut outputs[..len * width], given, len),
                (Some(given), Some(dense)) => {
                    let upstream = &mut inputs[..len * width];
                    tile.gather(upstream, given, len);
                    let (input, upstream) = (layers[packed.len() - 1].outputs(width), &*upstream);
                    let input_gradient = &mut outputs[..input.len()];
                    level.run(dense::Backward { dense, vectors, upstream, input_gradient });
                    let (gradient, scratch) = (of_head, &mut scratch[..]);
                    level.run(dense::Weights {
                        dense,
                        vectors,
                        input,
                        upstream,
                        gradient,
                        scratch,
                    });
                }
            }
            for (l, layer) in packed.iter().enumerate().rev() {
                let (below, rest) = layers.split_at_mut(l);
                let LayerBuffers { shape, gates, hidden, carry, carried } = &mut rest[0];
                let last = upstream.last.get(l).copied().unwrap_or_default();
                tile.gather_or_zeros(carry, last.hidden);
                tile.gather_or_zeros(carried, last.cell);
                level.run(Backward {
                    layer,
                    vectors,
                    gates,
                    hidden,
                    upstream: (l + 1 < packed.len() || upstream.every_step.is_some())
                        .then_some(&outputs[..steps * shape.hidden * width]),
                    carry,
                    carried,
                    input: if l > 0 {
                        InputGradient::Sequence(&mut inputs[..steps * shape.input * width])
                    } else if repeated {
                        let gradient = &mut inputs[..features * width];
                        gradient.fill(0.0);
                        InputGradient::Constant { gradient, summed }
                    } else if of_input.is_some() {
                        InputGradient::Sequence(&mut inputs[..steps * features * width])
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
struct Share<'a, 'b> {
    tiles: &'a mut [(Tile, TileBuffers<'b>)],
    /// Of all weights.
    gradient: &'a mut [f32],
    /// Of the input of its series, if it is asked for.
    of_input: Option<&'a mut [f32]>,
}

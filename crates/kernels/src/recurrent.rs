//! A stack of layers as an operation on batch-first slices: what a tape wraps.
//!
//! The whole stack goes tile by tile: between its layers nothing changes its layout, and other
//! threads are called once for each direction.

use super::aligned::Recycled;
use super::layer::{self, InputGradient};
use super::level::Level;
use super::outer::scratch_len;
pub use super::shape::CellKind;
use super::stack::{Stack, StackShape, TilePass};
use super::threads::{MAX_SHARES, for_each, shares, sum_of_shares, worth_threads};
use super::tile::{Scatter, Tile};

/// A stack of recurrent layers over time, as PyTorch's with `batch_first=True`, with a dense head or without.
/// H is the number of units of a layer, or of the last one.
///
/// The weights are one flat slice, layer after layer, each in the order `weight_ih` (G·H, D),
/// `weight_hh` (G·H, H), `bias_ih` (G·H), `bias_hh` (G·H), each row-major, with the G gates in the
/// order that [`CellKind`] tells. Those of a dense head follow: its matrix (O, H) and its bias (O).
#[derive(Clone, Debug)]
pub struct RecurrentStack {
    shape: StackShape,
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
    stack: Stack,
    sizes: Sizes,
    /// Of each tile: its input, then the buffer of [`TilePass`].
    buffers: Recycled,
}

/// What a stack runs over.
#[derive(Clone, Copy)]
struct Sizes {
    level: Level,
    batch: usize,
    steps: usize,
    /// Whether the input is the same at all steps.
    repeated: bool,
    /// Whether states were given to start from.
    from_states: bool,
}

impl RecurrentStack {
    /// Layers of so many units each, of which the first reads `input` features; all at least 1. Without any
    /// layer the head reads the input.
    pub fn new(cell: CellKind, input: usize, hidden: &[usize], level: Level) -> Self {
        RecurrentStack { shape: StackShape::new(cell, input, hidden, None), level }
    }

    /// The same with a dense head of so many outputs, at least 1. Its outputs at every step are then all
    /// that [`forward`](RecurrentStack::forward) tells.
    pub fn with_head(mut self, outputs: usize) -> Self {
        assert!(outputs > 0, "a head needs outputs");
        self.shape.head = Some(outputs);
        self
    }

    /// How many weights the stack has.
    pub fn num_weights(&self) -> usize {
        self.shape.weights()
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
        assert!(batch > 0, "a batch needs a series");
        let (x, steps, repeated) = match input {
            Input::Sequence(x) => (x, x.len() / (batch * self.shape.input), false),
            Input::Repeated(x, steps) => (x, steps, true),
        };
        let head_alone = self.shape.head.is_some() && !repeated;
        assert!(steps > 0 && (head_alone || !self.shape.layers.is_empty()), "nothing to compute");
        let from_states = !initial.is_empty();
        let sizes = Sizes { level: self.level, batch, steps, repeated, from_states };
        assert_eq!(weights.len(), self.num_weights());
        let mut stack = Stack::new(self.shape.clone());
        stack.pack(weights, false);
        let pass = Pass { stack: &stack, sizes };
        assert_eq!(x.len(), batch * pass.input_len());
        let mut buffers = Recycled::new(Tile::lanes(batch, self.level) * pass.lane_len());
        let outputs = pass.forward(x, initial, every_step, &mut buffers);
        (outputs, Saved { stack, sizes, buffers })
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
        let Saved { stack, sizes, mut buffers } = saved;
        Pass { stack: &stack, sizes }.backward(&mut buffers, upstream, input)
    }
}

/// A stack and what it runs over.
#[derive(Clone, Copy)]
struct Pass<'a> {
    stack: &'a Stack,
    sizes: Sizes,
}

impl<'a> Pass<'a> {
    fn shape(self) -> &'a StackShape {
        &self.stack.shape
    }

    /// Values of a series of the input.
    fn input_len(self) -> usize {
        self.shape().input * if self.sizes.repeated { 1 } else { self.sizes.steps }
    }

    /// Values of a series of the outputs.
    fn output_len(self) -> usize {
        self.sizes.steps * self.shape().outputs()
    }

    fn worth_threads(self) -> bool {
        worth_threads(self.sizes.batch * self.sizes.steps * self.shape().weights())
    }

    /// The slices must be as long as batch and layers want them.
    fn check(self, states: &[States<'_>]) {
        let (batch, layers) = (self.sizes.batch, &self.shape().layers);
        assert!(states.is_empty() || states.len() == layers.len());
        for (states, shape) in states.iter().zip(layers) {
            assert!(states.hidden.is_none_or(|h| h.len() == batch * shape.hidden));
            assert!(states.cell.is_none_or(|c| c.len() == batch * shape.carried()));
        }
    }

    /// Floats of the buffers of one lane.
    fn lane_len(self) -> usize {
        self.input_len() + self.shape().rows(self.sizes.steps, false)
    }

    /// Each tile with its input and its buffer.
    fn tiles(self, buffers: &mut [f32]) -> impl Iterator<Item = (Tile, &mut [f32], &mut [f32])> {
        let mut rest = buffers;
        Tile::all(self.sizes.batch, self.sizes.level).map(move |tile| {
            let width = tile.width();
            let mut next = |rows| rest.split_off_mut(..rows * width).expect("buffers of all tiles");
            let input = next(self.input_len());
            (tile, input, next(self.lane_len() - self.input_len()))
        })
    }

    fn tile_pass<'b>(self, tile: Tile, x: &'b [f32]) -> TilePass<'b>
    where
        'a: 'b,
    {
        let Sizes { steps, repeated, .. } = self.sizes;
        let input = if repeated { layer::Input::Constant(x) } else { layer::Input::Sequence(x) };
        TilePass { stack: self.stack, tile, steps, input, dropout: None }
    }

    fn forward(
        self,
        x: &[f32],
        initial: &[States<'_>],
        every_step: bool,
        buffers: &mut [f32],
    ) -> Outputs {
        self.check(initial);
        let len = self.output_len();
        let mut of_every_step = vec![0.0; if every_step { self.sizes.batch * len } else { 0 }];
        let mut rest = &mut of_every_step[..];
        let jobs = self.tiles(buffers).map(|(tile, input, buffer)| {
            // `None` where no outputs are asked for.
            (tile, input, buffer, rest.split_off_mut(..tile.count * len))
        });
        for_each(jobs.collect(), self.worth_threads(), |(tile, input, buffer, output)| {
            tile.gather(input, x, self.input_len());
            let pass = self.tile_pass(tile, input);
            for (l, shape) in self.shape().layers.iter().enumerate() {
                let own = pass.layer(l, buffer);
                let initial = initial.get(l).copied().unwrap_or_default();
                tile.gather_or_zeros(
                    &mut own.hidden[..shape.hidden * tile.width()],
                    initial.hidden,
                );
                tile.gather_or_zeros(own.carried, initial.cell);
            }
            pass.forward(buffer);
            let Some(series) = output else { return };
            let mut of_head = Recycled::new(self.shape().head.map_or(0, |_| len * tile.width()));
            pass.head(buffer, &mut of_head);
            let rows = if self.shape().head.is_some() { &of_head } else { pass.top(buffer) };
            tile.level.run(Scatter::<false> { rows, width: tile.width(), series, len });
        });
        let last = match self.shape().head {
            None => self.owned_states(buffers, |pass, l, buffer| pass.last(l, buffer)),
            Some(_) => Vec::new(),
        };
        Outputs { every_step: of_every_step, last }
    }

    /// The states of all layers: of the hidden one what `hidden` tells, (H, W) of each tile, and
    /// what is carried.
    fn owned_states(
        self,
        buffers: &mut [f32],
        hidden: impl for<'b> Fn(TilePass<'b>, usize, &'b [f32]) -> &'b [f32],
    ) -> Vec<OwnedStates> {
        let zeros = |rows| vec![0.0; self.sizes.batch * rows];
        let layers = self.shape().layers.iter();
        let mut states: Vec<_> = layers
            .map(|shape| OwnedStates { hidden: zeros(shape.hidden), cell: zeros(shape.carried()) })
            .collect();
        for (tile, input, buffer) in self.tiles(buffers) {
            let pass = self.tile_pass(tile, input);
            for (l, OwnedStates { hidden: of_hidden, cell }) in states.iter_mut().enumerate() {
                let units = self.shape().layers[l].hidden;
                tile.scatter(hidden(pass, l, buffer), of_hidden, units);
                if !cell.is_empty() {
                    tile.scatter(pass.carried(l, buffer), cell, units);
                }
            }
        }
        states
    }

    fn backward(
        self,
        buffers: &mut [f32],
        upstream: Upstream<'_>,
        input: Option<&mut [f32]>,
    ) -> Gradients {
        let Sizes { batch, from_states, .. } = self.sizes;
        let outputs = batch * self.output_len();
        assert!(upstream.every_step.is_none_or(|gradient| gradient.len() == outputs));
        assert!(input.as_ref().is_none_or(|input| input.len() == batch * self.input_len()));
        self.check(upstream.last);
        let mut tiles: Vec<_> = self.tiles(buffers).collect();
        let shares = shares(tiles.len(), MAX_SHARES);
        let weights = self.shape().weights();
        let mut gradients = Recycled::new(shares.len() * weights);

        let (mut rest, mut rest_of_input) = (&mut tiles[..], input);
        let jobs = shares.zip(gradients.chunks_mut(weights)).map(|(range, gradient)| {
            let tiles = rest.split_off_mut(..range.len()).expect("tiles of all shares");
            let series = tiles.iter().map(|(tile, ..)| tile.count).sum::<usize>();
            let of_input = rest_of_input.as_mut().map(|rest| {
                rest.split_off_mut(..series * self.input_len()).expect("series of all tiles")
            });
            Share { tiles, gradient, of_input }
        });
        for_each(jobs.collect(), self.worth_threads(), |share| self.share(share, upstream));

        let weights = sum_of_shares(&gradients, weights);
        let initial = match from_states {
            true => self.owned_states(buffers, |pass, l, buffer| pass.carry(l, buffer)),
            false => Vec::new(),
        };
        Gradients { initial, weights }
    }

    /// The gradients of a share.
    fn share(self, share: Share<'_, '_>, upstream: Upstream<'_>) {
        let Sizes { level, steps, repeated, .. } = self.sizes;
        let Share { tiles, gradient, mut of_input } = share;
        let (shape, most) = (self.shape(), Tile::whole(level));
        let stream = || Recycled::new(steps * shape.widest() * most);
        let (mut outputs, mut inputs) = (stream(), stream());
        let (len, input_len) = (self.output_len(), self.input_len());
        let mut of_head = Recycled::new(shape.head.map_or(0, |_| len * most));
        let mut of_x = Recycled::new(input_len * most);
        let summed = shape.layers.first().map_or(0, |shape| shape.groups() * shape.hidden);
        let mut summed = Recycled::new(summed * most);
        let mut scratch = Recycled::new(scratch_len(shape.widest(), level));
        let pieces = shape.pieces();
        gradient.fill(0.0);

        for (tile, x, buffer) in tiles {
            let (tile, width) = (*tile, tile.width());
            let pass = self.tile_pass(tile, x);
            let of_head = &mut of_head[..if shape.head.is_some() { len * width } else { 0 }];
            match upstream.every_step {
                None => {
                    of_head.fill(0.0);
                    outputs.fill(0.0);
                }
                Some(given) if shape.head.is_some() => {
                    tile.gather(of_head, given, len);
                    pass.head_backward(of_head, &mut outputs);
                }
                Some(given) => tile.gather(&mut outputs[..len * width], given, len),
            }
            for l in 0..shape.layers.len() {
                let own = pass.layer(l, buffer);
                let last = upstream.last.get(l).copied().unwrap_or_default();
                tile.gather_or_zeros(own.carry, last.hidden);
                tile.gather_or_zeros(own.carried, last.cell);
            }
            let (of_x, summed) = (&mut of_x[..input_len * width], &mut summed[..]);
            let summed_rows = summed.len() / most * width;
            let summed = &mut summed[..summed_rows];
            let input = if repeated {
                of_x.fill(0.0);
                InputGradient::Constant { gradient: &mut *of_x, summed: &mut *summed }
            } else if of_input.is_some() {
                InputGradient::Sequence(&mut *of_x)
            } else {
                InputGradient::Unused
            };
            let from_outputs = upstream.every_step.is_some();
            pass.backward(buffer, [&mut outputs, &mut inputs], from_outputs, input);
            for piece in &pieces {
                let gradient = &mut gradient[piece.weights.clone()];
                pass.weights(&piece.place, buffer, [of_head, summed], gradient, &mut scratch);
            }
            if let Some(of_input) = &mut of_input {
                let series = of_input.split_off_mut(..tile.count * input_len);
                let series = series.expect("series of all tiles");
                // Without a layer the head's gradient is that of the input.
                let rows =
                    if shape.layers.is_empty() { &outputs[..input_len * width] } else { &*of_x };
                tile.level.run(Scatter::<true> { rows, width, series, len: input_len });
            }
        }
    }
}

/// Tiles whose gradients are summed in their order.
struct Share<'a, 'b> {
    /// Each with its input and its buffer.
    tiles: &'a mut [(Tile, &'b mut [f32], &'b mut [f32])],
    /// Of all weights.
    gradient: &'a mut [f32],
    /// Of the input of its series, if it is asked for.
    of_input: Option<&'a mut [f32]>,
}

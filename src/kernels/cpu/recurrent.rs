//! A layer as an operation on batch-first slices: what a tape wraps.

use super::aligned::Aligned;
use super::cell::Cell;
use super::gru::Gru;
use super::layer::{Backward, Forward, Input, InputGradient, Packed, Part, Shape, Traces, Weights};
use super::level::Level;
use super::lstm::Lstm;
use super::outer::scratch_len;
use super::simple_rnn::SimpleRnn;
use super::tile::{MAX_VECTORS, Scatter, Tile};
use rayon::prelude::*;

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

/// One recurrent layer over time, as PyTorch's with `batch_first=True`.
///
/// The weights are one flat slice in the order `weight_ih` (G·H, D), `weight_hh` (G·H, H),
/// `bias_ih` (G·H), `bias_hh` (G·H), each row-major, with the G gates in the order that
/// [`CellKind`] tells.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentLayer {
    cell: CellKind,
    shape: Shape,
    level: Level,
}

/// The states that a layer starts from; what is `None` is zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct Initial<'a> {
    /// The hidden state, (B, H).
    pub hidden: Option<&'a [f32]>,
    /// The cell state of an LSTM, (B, H).
    pub cell: Option<&'a [f32]>,
}

/// What a layer computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// The hidden states after each step, (B, T, H). The last step is the final state.
    pub hidden: Vec<f32>,
    /// The cell state of an LSTM after the last step, (B, H); empty for other cells.
    pub cell: Vec<f32>,
}

/// The gradients of what [`RecurrentLayer::forward`] has computed.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Of the hidden states, (B, T, H).
    pub hidden: &'a [f32],
    /// Of the final cell state, (B, H); zeros if `None`.
    pub cell: Option<&'a [f32]>,
}

/// The gradients of what [`RecurrentLayer::forward`] has read.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Of the input, (B, T, D); empty if it was not asked for.
    pub input: Vec<f32>,
    /// Of the initial hidden state, (B, H).
    pub hidden: Vec<f32>,
    /// Of the initial cell state of an LSTM, (B, H); empty for other cells.
    pub cell: Vec<f32>,
    /// Of the weights, in the flat order of [`RecurrentLayer`].
    pub weights: Vec<f32>,
}

/// What [`RecurrentLayer::forward`] leaves for [`RecurrentLayer::backward`].
pub struct Saved {
    batch: usize,
    tiles: Vec<SavedTile>,
    packed: PackedCell,
}

/// The packed weights of a layer of any kind.
enum PackedCell {
    SimpleRnn(Packed<SimpleRnn>),
    Gru(Packed<Gru>),
    Lstm(Packed<Lstm>),
}

struct SavedTile {
    tile: Tile,
    x: Aligned,
    gates: Aligned,
    hidden: Aligned,
    carried: Aligned,
}

impl RecurrentLayer {
    /// A layer of `hidden` units that reads `input` features; both at least 1.
    pub fn new(cell: CellKind, input: usize, hidden: usize, level: Level) -> Self {
        assert!(input > 0 && hidden > 0, "a layer needs features and units");
        RecurrentLayer { cell, shape: Shape { input, hidden }, level }
    }

    /// How many weights the layer has.
    pub fn num_weights(&self) -> usize {
        match self.cell {
            CellKind::SimpleRnn => self.shape.weights::<SimpleRnn>(),
            CellKind::Gru => self.shape.weights::<Gru>(),
            CellKind::Lstm => self.shape.weights::<Lstm>(),
        }
    }

    /// Runs over the input `x`, (B, T, D), from the initial states.
    ///
    /// The lengths of the slices must fit one another: `x` sets B·T, `initial` or `batch` sets B.
    pub fn forward(
        &self,
        weights: &[f32],
        x: &[f32],
        initial: Initial<'_>,
        batch: usize,
    ) -> (Outputs, Saved) {
        match self.cell {
            CellKind::SimpleRnn => {
                self.forward_cell(weights, x, initial, batch, PackedCell::SimpleRnn)
            }
            CellKind::Gru => self.forward_cell(weights, x, initial, batch, PackedCell::Gru),
            CellKind::Lstm => self.forward_cell(weights, x, initial, batch, PackedCell::Lstm),
        }
    }

    /// The gradients of everything that [`forward`](RecurrentLayer::forward) read, from those of
    /// what it computed. Consumes the saved activations: the gradients are computed in their
    /// place.
    pub fn backward(
        &self,
        saved: Saved,
        upstream: Upstream<'_>,
        input_gradient: bool,
    ) -> Gradients {
        let Saved { batch, tiles, packed } = saved;
        match &packed {
            PackedCell::SimpleRnn(packed) => {
                self.backward_cell(packed, tiles, batch, upstream, input_gradient)
            }
            PackedCell::Gru(packed) => {
                self.backward_cell(packed, tiles, batch, upstream, input_gradient)
            }
            PackedCell::Lstm(packed) => {
                self.backward_cell(packed, tiles, batch, upstream, input_gradient)
            }
        }
    }

    fn forward_cell<K: Cell + Sync>(
        &self,
        weights: &[f32],
        x: &[f32],
        initial: Initial<'_>,
        batch: usize,
        of_kind: fn(Packed<K>) -> PackedCell,
    ) -> (Outputs, Saved) {
        let Shape { input, hidden } = self.shape;
        assert_eq!(weights.len(), self.num_weights());
        assert_eq!(x.len() % (batch * input), 0);
        assert!(initial.hidden.is_none_or(|h| h.len() == batch * hidden));
        assert!(initial.cell.is_none_or(|c| c.len() == batch * self.shape.carried::<K>()));
        let steps = x.len() / (batch * input);
        let mut packed = Packed::<K>::new(self.shape);
        packed.pack(weights);

        let lanes = self.level.lanes();
        let width = lanes * MAX_VECTORS;
        let mut outputs = Outputs {
            hidden: vec![0.0; batch * steps * hidden],
            cell: vec![0.0; batch * self.shape.carried::<K>()],
        };
        let tiles: Vec<_> = outputs
            .hidden
            .par_chunks_mut(width * steps * hidden)
            .enumerate()
            .map(|(i, output)| {
                let tile = Tile::of(batch, lanes, i);
                let width = tile.vectors * lanes;
                let mut saved = SavedTile {
                    tile,
                    x: Aligned::zeros(steps * input * width),
                    gates: Aligned::zeros(steps * self.shape.gates::<K>() * width),
                    hidden: Aligned::zeros((steps + 1) * hidden * width),
                    carried: Aligned::zeros(self.shape.carried::<K>() * width),
                };
                tile.gather(self.level, &mut saved.x, width, x, steps * input);
                if let Some(initial) = initial.hidden {
                    let first = &mut saved.hidden[..hidden * width];
                    tile.gather(self.level, first, width, initial, hidden);
                }
                if let Some(initial) = initial.cell {
                    tile.gather(self.level, &mut saved.carried, width, initial, hidden);
                }
                self.level.run(Forward {
                    layer: &packed,
                    vectors: tile.vectors,
                    input: Input::Sequence(&saved.x),
                    gates: &mut saved.gates,
                    hidden: &mut saved.hidden,
                    carried: &mut saved.carried,
                });
                let states = &saved.hidden[hidden * width..];
                let len = steps * hidden;
                self.level.run(Scatter { rows: states, width, series: output, len });
                saved
            })
            .collect();
        if !outputs.cell.is_empty() {
            for saved in &tiles {
                let width = saved.tile.vectors * lanes;
                saved.tile.scatter(self.level, &saved.carried, width, &mut outputs.cell, hidden);
            }
        }
        let saved = Saved { batch, tiles, packed: of_kind(packed) };
        (outputs, saved)
    }

    fn backward_cell<K: Cell + Sync>(
        &self,
        packed: &Packed<K>,
        mut tiles: Vec<SavedTile>,
        batch: usize,
        upstream: Upstream<'_>,
        input_gradient: bool,
    ) -> Gradients {
        let Shape { input, hidden } = self.shape;
        assert_eq!(upstream.hidden.len() % (batch * hidden), 0);
        assert!(upstream.cell.is_none_or(|c| c.len() == batch * self.shape.carried::<K>()));
        let steps = upstream.hidden.len() / (batch * hidden);
        let lanes = self.level.lanes();
        let scratch = scratch_len(input.max(hidden), lanes);
        let scratch = || Aligned::zeros(scratch);

        let results: Vec<_> = tiles
            .par_iter_mut()
            .map_init(scratch, |scratch, saved| {
                let SavedTile { tile, .. } = *saved;
                let width = tile.vectors * lanes;
                let mut of_outputs = Aligned::zeros(steps * hidden * width);
                tile.gather(self.level, &mut of_outputs, width, upstream.hidden, steps * hidden);
                let mut carry = Aligned::zeros(hidden * width);
                let mut carried = Aligned::zeros(self.shape.carried::<K>() * width);
                if let Some(of_cell) = upstream.cell {
                    tile.gather(self.level, &mut carried, width, of_cell, hidden);
                }
                let x_len = if input_gradient { saved.x.len() } else { 0 };
                let mut dx = Aligned::zeros(x_len);
                self.level.run(Backward {
                    layer: packed,
                    vectors: tile.vectors,
                    gates: &mut saved.gates,
                    hidden: &saved.hidden,
                    upstream: Some(&of_outputs),
                    carry: &mut carry,
                    carried: &mut carried,
                    input: if input_gradient {
                        InputGradient::Sequence(&mut dx)
                    } else {
                        InputGradient::Unused
                    },
                });
                let mut gradient = vec![0.0; self.num_weights()];
                let traces = Traces {
                    shape: self.shape,
                    vectors: tile.vectors,
                    gates: &saved.gates,
                    hidden: &saved.hidden,
                    input: Input::Sequence(&saved.x),
                    summed: &[],
                };
                let mut rest = &mut gradient[..];
                for (part, len) in Part::of::<K>(self.shape) {
                    let gradient = rest.split_off_mut(..len).expect("weights of all parts");
                    self.level.run(Weights::<K>::new(traces, part, gradient, scratch));
                }
                (tile, dx, carry, carried, gradient)
            })
            .collect();

        let mut gradients = Gradients {
            input: vec![0.0; if input_gradient { batch * steps * input } else { 0 }],
            hidden: vec![0.0; batch * hidden],
            cell: vec![0.0; batch * self.shape.carried::<K>()],
            weights: vec![0.0; self.num_weights()],
        };
        for (tile, dx, carry, carried, gradient) in results {
            let width = tile.vectors * lanes;
            if input_gradient {
                tile.scatter(self.level, &dx, width, &mut gradients.input, steps * input);
            }
            tile.scatter(self.level, &carry, width, &mut gradients.hidden, hidden);
            if !gradients.cell.is_empty() {
                tile.scatter(self.level, &carried, width, &mut gradients.cell, hidden);
            }
            for (to, from) in gradients.weights.iter_mut().zip(&gradient) {
                *to += from;
            }
        }
        gradients
    }
}

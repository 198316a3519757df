//! A layer as an operation on batch-first slices: what a tape wraps.

use super::aligned::Aligned;
use super::gru::Gru;
use super::layer::{Backward, Forward, Input, InputGradient, Packed, Part, Shape, Traces, Weights};
use super::level::Level;
use super::outer::scratch_len;
use super::tile::{MAX_VECTORS, Tile, gather, scatter};
use rayon::prelude::*;

/// One GRU layer over time: PyTorch's `nn.GRU(D, H, batch_first=True)`.
///
/// The weights are one flat slice in the order `weight_ih` (3H, D), `weight_hh` (3H, H), `bias_ih`
/// (3H), `bias_hh` (3H), each row-major, gates in the order r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct GruLayer {
    shape: Shape,
    level: Level,
}

/// What [`GruLayer::forward`] leaves for [`GruLayer::backward`], one entry a tile.
pub struct GruSaved {
    batch: usize,
    tiles: Vec<SavedTile>,
    packed: Packed<Gru>,
}

struct SavedTile {
    tile: Tile,
    x: Aligned,
    gates: Aligned,
    hidden: Aligned,
}

/// The gradients of [`GruLayer::backward`].
#[derive(Clone, Debug, PartialEq)]
pub struct GruGradients {
    /// Of the input, (B, T, D); empty if it was not asked for.
    pub input: Vec<f32>,
    /// Of the initial state, (B, H).
    pub initial: Vec<f32>,
    /// Of the weights, in the flat order of [`GruLayer`].
    pub weights: Vec<f32>,
}

impl GruLayer {
    /// A layer of `hidden` units that reads `input` features; both at least 1.
    pub fn new(input: usize, hidden: usize, level: Level) -> Self {
        assert!(input > 0 && hidden > 0, "a layer needs features and units");
        GruLayer { shape: Shape { input, hidden }, level }
    }

    /// How many weights the layer has.
    pub fn num_weights(&self) -> usize {
        self.shape.weights::<Gru>()
    }

    /// The states after each step, (B, T, H), from the input `x`, (B, T, D), and the initial
    /// state, (B, H), zeros if `None`. The last step of the output is the final state.
    ///
    /// The lengths of the slices must fit one another: `x` sets B·T, `initial` or `batch` sets B.
    pub fn forward(
        &self,
        weights: &[f32],
        x: &[f32],
        initial: Option<&[f32]>,
        batch: usize,
    ) -> (Vec<f32>, GruSaved) {
        let Shape { input, hidden } = self.shape;
        assert_eq!(weights.len(), self.num_weights());
        assert_eq!(x.len() % (batch * input), 0);
        assert!(initial.is_none_or(|h| h.len() == batch * hidden));
        let steps = x.len() / (batch * input);
        let mut packed = Packed::<Gru>::new(self.shape);
        packed.pack(weights);

        let lanes = self.level.lanes();
        let width = lanes * MAX_VECTORS;
        let mut output = vec![0.0; batch * steps * hidden];
        let tiles = output
            .par_chunks_mut(width * steps * hidden)
            .enumerate()
            .map(|(i, output)| {
                let tile = Tile::of(batch, lanes, i);
                let width = tile.vectors * lanes;
                let mut saved = SavedTile {
                    tile,
                    x: Aligned::zeros(steps * input * width),
                    gates: Aligned::zeros(steps * self.shape.gates::<Gru>() * width),
                    hidden: Aligned::zeros((steps + 1) * hidden * width),
                };
                gather(&mut saved.x, width, tile.count, |lane| {
                    &x[(tile.first + lane) * steps * input..][..steps * input]
                });
                if let Some(initial) = initial {
                    let first = &mut saved.hidden[..hidden * width];
                    gather(first, width, tile.count, |lane| {
                        &initial[(tile.first + lane) * hidden..][..hidden]
                    });
                }
                self.level.run(Forward {
                    layer: &packed,
                    vectors: tile.vectors,
                    input: Input::Sequence(&saved.x),
                    gates: &mut saved.gates,
                    hidden: &mut saved.hidden,
                });
                let states = &saved.hidden[hidden * width..];
                for (lane, series) in output.chunks_exact_mut(steps * hidden).enumerate() {
                    scatter(states, width, lane, series);
                }
                saved
            })
            .collect();
        let saved = GruSaved { batch, tiles, packed };
        (output, saved)
    }

    /// The gradients of everything that [`forward`](GruLayer::forward) read, from that of its
    /// output, (B, T, H). Consumes the saved activations: the gradients are computed in their
    /// place.
    pub fn backward(
        &self,
        mut saved: GruSaved,
        upstream: &[f32],
        input_gradient: bool,
    ) -> GruGradients {
        let Shape { input, hidden } = self.shape;
        let batch = saved.batch;
        assert_eq!(upstream.len() % (batch * hidden), 0);
        let steps = upstream.len() / (batch * hidden);
        let lanes = self.level.lanes();
        let packed = &saved.packed;
        let scratch = scratch_len(input.max(hidden), steps, lanes * MAX_VECTORS);
        let scratch = || Aligned::zeros(scratch);

        let results: Vec<_> = saved
            .tiles
            .par_iter_mut()
            .map_init(scratch, |scratch, saved| {
                let SavedTile { tile, .. } = *saved;
                let width = tile.vectors * lanes;
                let mut tile_upstream = Aligned::zeros(steps * hidden * width);
                gather(&mut tile_upstream, width, tile.count, |lane| {
                    &upstream[(tile.first + lane) * steps * hidden..][..steps * hidden]
                });
                let mut carry = Aligned::zeros(hidden * width);
                let x_len = if input_gradient { saved.x.len() } else { 0 };
                let mut dx = Aligned::zeros(x_len);
                self.level.run(Backward {
                    layer: packed,
                    vectors: tile.vectors,
                    gates: &mut saved.gates,
                    hidden: &saved.hidden,
                    upstream: Some(&tile_upstream),
                    carry: &mut carry,
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
                for (part, len) in Part::of::<Gru>(self.shape) {
                    let gradient = rest.split_off_mut(..len).expect("weights of all parts");
                    self.level.run(Weights::<Gru>::new(traces, part, gradient, scratch));
                }
                (tile, dx, carry, gradient)
            })
            .collect();

        let mut gradients = GruGradients {
            input: vec![0.0; if input_gradient { batch * steps * input } else { 0 }],
            initial: vec![0.0; batch * hidden],
            weights: vec![0.0; self.num_weights()],
        };
        for (tile, dx, carry, gradient) in results {
            let width = tile.vectors * lanes;
            for lane in 0..tile.count {
                let series = tile.first + lane;
                if input_gradient {
                    let to = &mut gradients.input[series * steps * input..][..steps * input];
                    scatter(&dx, width, lane, to);
                }
                let to = &mut gradients.initial[series * hidden..][..hidden];
                scatter(&carry, width, lane, to);
            }
            for (to, from) in gradients.weights.iter_mut().zip(&gradient) {
                *to += from;
            }
        }
        gradients
    }
}

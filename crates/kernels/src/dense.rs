//! The dense head: the same affine map of every output of a layer; for one tile, and as an
//! operation on batch-first slices.

use super::aligned::Recycled;
use super::level::{Isa, Kernel, Level};
use super::outer::{Sequence, outer, row_sums, scratch_len};
use super::product::{PANEL, Panels, Start, product};
use super::threads::{MAX_SHARES, for_each, shares, sum_of_shares, worth_threads};
use super::tile::{Scatter, Tile, rows, rows_mut};

/// Weights (O, H) and bias (O) of the head, packed for both directions.
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    weight: Panels,
    transposed: Panels,
    bias: Vec<f32>,
}

impl Dense {
    /// Space for the weights; [`pack`](Dense::pack) fills it.
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        Dense {
            inputs,
            outputs,
            weight: Panels::new(outputs, inputs),
            transposed: Panels::new(inputs, outputs),
            bias: vec![0.0; outputs],
        }
    }

    /// Weights of a head: weight, then bias.
    pub(crate) fn weights(inputs: usize, outputs: usize) -> usize {
        outputs * (inputs + 1)
    }

    /// Takes over new weights.
    pub(crate) fn pack(&mut self, flat: &[f32]) {
        let (weight, bias) = flat.split_at(self.outputs * self.inputs);
        self.weight.pack_rows(weight, |p, r| {
            let row = p * PANEL + r;
            (row < self.outputs).then_some(row)
        });
        self.transposed.pack_columns(weight, self.inputs, |k| k);
        self.bias.copy_from_slice(bias);
    }
}

/// The head's outputs for all steps of a tile.
pub(crate) struct Forward<'a> {
    pub(crate) dense: &'a Dense,
    /// Registers of a row.
    pub(crate) vectors: usize,
    /// (T·H, W).
    pub(crate) input: &'a [f32],
    /// (T·O, W), written.
    pub(crate) output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.steps::<S, 1>(isa),
            _ => self.steps::<S, 2>(isa),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn steps<S: Isa, const C: usize>(self, isa: S) {
        let Dense { weight, bias, .. } = self.dense;
        let input = rows::<S, C>(self.input).chunks_exact(self.dense.inputs);
        let output = rows_mut::<S, C>(self.output).chunks_exact_mut(self.dense.outputs);
        for (input, output) in input.zip(output) {
            product(isa, weight, input, Start::Bias(bias), output);
        }
    }
}

/// The gradient of the head's input for all steps of a tile.
pub(crate) struct Backward<'a> {
    pub(crate) dense: &'a Dense,
    /// Registers of a row.
    pub(crate) vectors: usize,
    /// (T·O, W): the gradient of the outputs.
    pub(crate) upstream: &'a [f32],
    /// (T·H, W), overwritten.
    pub(crate) input_gradient: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.steps::<S, 1>(isa),
            _ => self.steps::<S, 2>(isa),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn steps<S: Isa, const C: usize>(self, isa: S) {
        let Dense { inputs, outputs, .. } = *self.dense;
        let upstream = rows::<S, C>(self.upstream);
        let to = rows_mut::<S, C>(self.input_gradient).chunks_exact_mut(inputs);
        for (upstream, to) in upstream.chunks_exact(outputs).zip(to) {
            product(isa, &self.dense.transposed, upstream, Start::Zero, to);
        }
    }
}

/// The gradient of the head's weights, of one tile, added to `gradient`.
pub(crate) struct Weights<'a> {
    pub(crate) dense: &'a Dense,
    /// Registers of a row.
    pub(crate) vectors: usize,
    /// (T·H, W), as in the forward pass.
    pub(crate) input: &'a [f32],
    /// (T·O, W): the gradient of the outputs.
    pub(crate) upstream: &'a [f32],
    /// Weight, then bias.
    pub(crate) gradient: &'a mut [f32],
    /// [`scratch_len`](super::outer::scratch_len) floats for H.
    pub(crate) scratch: &'a mut [f32],
}

impl Kernel for Weights<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        match self.vectors {
            1 => self.product::<S, 1>(isa),
            _ => self.product::<S, 2>(isa),
        }
    }
}

impl Weights<'_> {
    #[inline(always)]
    fn product<S: Isa, const C: usize>(self, isa: S) {
        let Dense { inputs, outputs, .. } = *self.dense;
        let (weight, bias) = self.gradient.split_at_mut(outputs * inputs);
        let input = Sequence::whole(rows::<S, C>(self.input), inputs);
        let upstream = Sequence::whole(rows::<S, C>(self.upstream), outputs);
        outer(isa, 1, |_| upstream.clone(), input, weight, self.scratch);
        row_sums(isa, upstream, |row, sum| bias[row] += sum);
    }
}

/// The same affine map of every step of all series of a batch.
#[derive(Clone, Copy, Debug)]
pub struct DenseMap {
    /// Features of a step, K.
    pub inputs: usize,
    /// Features of a step of the result, N.
    pub outputs: usize,
    /// Series, B.
    pub batch: usize,
    /// Steps of each, T.
    pub steps: usize,
    /// The instruction set.
    pub level: Level,
}

/// What [`DenseMap::forward`] leaves for [`DenseMap::backward`].
pub struct SavedMap {
    dense: Dense,
    /// (T·inputs, W), tile after tile.
    x: Recycled,
}

impl DenseMap {
    fn tiles(self) -> impl Iterator<Item = Tile> {
        Tile::all(self.batch, self.level)
    }

    fn worth_threads(self) -> bool {
        worth_threads(self.batch * self.steps * self.inputs * self.outputs)
    }

    /// From x, (B, T, inputs), to (B, T, outputs). The weights are the matrix, then the bias.
    pub fn forward(self, weights: &[f32], x: &[f32]) -> (Vec<f32>, SavedMap) {
        let DenseMap { inputs, outputs, batch, steps, .. } = self;
        assert_eq!(x.len(), batch * steps * inputs);
        let mut dense = Dense::new(inputs, outputs);
        dense.pack(weights);
        let (from_len, to_len) = (steps * inputs, steps * outputs);
        let mut saved = Recycled::new(Tile::lanes(batch, self.level) * from_len);
        let mut y = vec![0.0; batch * to_len];
        let (mut of_tiles, mut of_series) = (&mut saved[..], &mut y[..]);
        let jobs = self.tiles().map(|tile| {
            let input = of_tiles.split_off_mut(..tile.width() * from_len).expect("all tiles");
            let series = of_series.split_off_mut(..tile.count * to_len).expect("all series");
            (tile, input, series)
        });
        for_each(jobs.collect(), self.worth_threads(), |(tile, input, series)| {
            let (Tile { level, vectors, .. }, width) = (tile, tile.width());
            tile.gather(input, x, from_len);
            let mut output = Recycled::new(to_len * width);
            let dense = &dense;
            level.run(Forward { dense, vectors, input, output: &mut output });
            level.run(Scatter::<false> { rows: &output, width, series, len: to_len });
        });
        (y, SavedMap { dense, x: saved })
    }

    /// The gradient of the weights from that of the outputs. That of x is added to `of_x`.
    pub fn backward(self, saved: &SavedMap, upstream: &[f32], of_x: &mut [f32]) -> Vec<f32> {
        let DenseMap { inputs, outputs, batch, steps, level } = self;
        assert_eq!(upstream.len(), batch * steps * outputs);
        let (from_len, to_len) = (steps * inputs, steps * outputs);
        let weights = Dense::weights(inputs, outputs);
        let tiles: Vec<Tile> = self.tiles().collect();
        let shares = shares(tiles.len(), MAX_SHARES);
        let mut gradients = Recycled::new(shares.len() * weights);
        let mut rest = of_x;
        let jobs = shares.zip(gradients.chunks_mut(weights)).map(|(range, gradient)| {
            let tiles = &tiles[range];
            let series = tiles.iter().map(|tile| tile.count).sum::<usize>();
            let of_x = rest.split_off_mut(..series * from_len).expect("series of all tiles");
            (tiles, of_x, gradient)
        });
        for_each(jobs.collect(), self.worth_threads(), |(tiles, mut of_x, gradient)| {
            gradient.fill(0.0);
            let mut of_y = Recycled::new(to_len * Tile::whole(level));
            let mut of_rows = Recycled::new(from_len * Tile::whole(level));
            let mut scratch = Recycled::new(scratch_len(inputs, level));
            for &tile in tiles {
                let (Tile { level, vectors, .. }, width) = (tile, tile.width());
                // All tiles before are full.
                let input = &saved.x[tile.first * from_len..][..from_len * width];
                let upstream_rows = &mut of_y[..to_len * width];
                tile.gather(upstream_rows, upstream, to_len);
                let upstream = &*upstream_rows;
                let input_gradient = &mut of_rows[..from_len * width];
                let dense = &saved.dense;
                level.run(Backward { dense, vectors, upstream, input_gradient });
                let rows = &of_rows[..from_len * width];
                let series = of_x.split_off_mut(..tile.count * from_len).expect("all series");
                level.run(Scatter::<true> { rows, width, series, len: from_len });
                let scratch = &mut scratch;
                level.run(Weights { dense, vectors, input, upstream, gradient, scratch });
            }
        });
        sum_of_shares(&gradients, weights)
    }
}

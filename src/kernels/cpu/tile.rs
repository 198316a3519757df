//! Batch-first series to feature-major tiles and back.
//!
//! ```text
//! (B, T, D)                          tile: (T·D, W)
//! series b    : x(0,0) x(0,1) …      row (t, d): lane 0 = series b, lane 1 = series b+1, …
//! series b + 1: x(0,0) x(0,1) …      lanes past the last series hold zeros
//! ```

use super::level::Isa;

/// One row of a tile: a feature of as many series as `C` registers have lanes.
pub(crate) type Row<S, const C: usize> = [<S as pulp::Simd>::f32s; C];

/// The most registers that a row of a tile takes.
pub(crate) const MAX_VECTORS: usize = 2;

/// A range of the batch that goes through the computation together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// The first series of the batch that it holds.
    pub(crate) first: usize,
    /// How many series it holds.
    pub(crate) count: usize,
    /// The registers of a row: 1 or [`MAX_VECTORS`].
    pub(crate) vectors: usize,
}

impl Tile {
    /// How many tiles a batch is cut into.
    pub(crate) fn number(batch: usize, lanes: usize) -> usize {
        batch.div_ceil(lanes * MAX_VECTORS)
    }

    /// Tile `index` of a batch; the last one is as narrow as its series allow.
    pub(crate) fn of(batch: usize, lanes: usize, index: usize) -> Tile {
        let width = lanes * MAX_VECTORS;
        let first = index * width;
        let count = width.min(batch - first);
        let vectors = count.div_ceil(lanes);
        Tile { first, count, vectors }
    }

    /// Lays its series of a batch out as rows of `width` lanes; a series has `len` values.
    pub(crate) fn gather(&self, rows: &mut [f32], width: usize, batch: &[f32], len: usize) {
        gather(rows, width, self.count, |lane| &batch[(self.first + lane) * len..][..len]);
    }

    /// Writes its rows of `width` lanes as series of `len` values to their places in a batch.
    pub(crate) fn scatter(&self, rows: &[f32], width: usize, batch: &mut [f32], len: usize) {
        let series = batch[self.first * len..].chunks_exact_mut(len);
        for (lane, series) in series.take(self.count).enumerate() {
            scatter(rows, width, lane, series);
        }
    }
}

/// A tile as rows of vectors. The length must be a whole number of rows.
#[inline(always)]
pub(crate) fn rows<S: Isa, const C: usize>(tile: &[f32]) -> &[Row<S, C>] {
    bytemuck::cast_slice(tile)
}

/// A tile as rows of vectors, to write.
#[inline(always)]
pub(crate) fn rows_mut<S: Isa, const C: usize>(tile: &mut [f32]) -> &mut [Row<S, C>] {
    bytemuck::cast_slice_mut(tile)
}

/// Lays eight rows of `width` lanes out as columns: lane `l` of row `r` becomes number `r` of the row
/// that starts at `l * stride`. Rows that `from` lacks are zeros.
#[inline(always)]
pub(crate) fn transpose<S: Isa>(isa: S, from: &[f32], width: usize, to: &mut [f32], stride: usize) {
    const N: usize = 8;
    for first in (0..width).step_by(N) {
        let lanes = N.min(width - first);
        let mut block = [[0.0; N]; N];
        for (to, row) in block.iter_mut().zip(from.chunks_exact(width)) {
            match row[first..].first_chunk() {
                Some(row) => *to = *row,
                None => to[..lanes].copy_from_slice(&row[first..]),
            }
        }
        for (lane, column) in isa.transpose(block).iter().enumerate().take(lanes) {
            to[(first + lane) * stride..][..N].copy_from_slice(column);
        }
    }
}

/// Lays series out as a tile of rows of `width` lanes: `series(lane)` is the series of a lane.
pub(crate) fn gather<'a>(
    tile: &mut [f32],
    width: usize,
    count: usize,
    series: impl Fn(usize) -> &'a [f32],
) {
    for lane in 0..width {
        let lane_values = tile[lane..].iter_mut().step_by(width);
        if lane < count {
            for (to, from) in lane_values.zip(series(lane)) {
                *to = *from;
            }
        } else {
            lane_values.for_each(|to| *to = 0.0);
        }
    }
}

/// Writes one lane of a tile as a series.
pub(crate) fn scatter(tile: &[f32], width: usize, lane: usize, series: &mut [f32]) {
    for (to, from) in series.iter_mut().zip(tile[lane..].iter().step_by(width)) {
        *to = *from;
    }
}

//! Batch-first series to feature-major tiles and back.
//!
//! ```text
//! (B, T, D)                          tile: (T·D, W)
//! series b    : x(0,0) x(0,1) …      row (t, d): lane 0 = series b, lane 1 = series b+1, …
//! series b + 1: x(0,0) x(0,1) …      lanes past the last series hold zeros
//! ```

use super::level::{Isa, Kernel, Level};
use std::ops::Range;

/// One row of a tile: a feature of as many series as `C` registers have lanes.
pub(crate) type Row<S, const C: usize> = [<S as pulp::Simd>::f32s; C];

/// The most registers that a row of a tile takes.
pub(crate) const MAX_VECTORS: usize = 2;

/// A range of the batch that goes through the computation together.
///
/// A batch is cut into whole tiles, then narrower ones. All but the last are full, so that a tile's first
/// series is also the first of its lanes among those of all tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// The first series of the batch that it holds.
    pub(crate) first: usize,
    /// How many series it holds.
    pub(crate) count: usize,
    /// The instruction set: that of the batch, or for a few series the next narrower one.
    pub(crate) level: Level,
    /// The registers of a row: 1 or [`MAX_VECTORS`].
    pub(crate) vectors: usize,
}

impl Tile {
    /// How many series a whole tile holds.
    pub(crate) fn whole(level: Level) -> usize {
        level.lanes() * MAX_VECTORS
    }

    /// The tiles of a batch, in its order.
    pub(crate) fn all(batch: usize, level: Level) -> impl Iterator<Item = Tile> {
        Tile::after(0, batch, level)
    }

    /// How many tiles a batch is cut into.
    pub(crate) fn number(batch: usize, level: Level) -> usize {
        let whole = Tile::surely_whole(batch, level);
        whole + Tile::after(whole, batch, level).count()
    }

    /// Tile `index` of a batch.
    pub(crate) fn of(batch: usize, level: Level, index: usize) -> Tile {
        let whole = index.min(Tile::surely_whole(batch, level));
        let tile = Tile::after(whole, batch, level).nth(index - whole);
        tile.expect("a tile of the batch")
    }

    /// The lanes of all tiles of a batch.
    pub(crate) fn lanes(batch: usize, level: Level) -> usize {
        Tile::all(batch, level).map(|tile| tile.width()).sum()
    }

    /// How many tiles at the beginning of a batch are whole, at least.
    fn surely_whole(batch: usize, level: Level) -> usize {
        (batch / Tile::whole(level)).saturating_sub(1)
    }

    /// The tiles of a batch after so many whole ones.
    fn after(whole: usize, batch: usize, level: Level) -> impl Iterator<Item = Tile> {
        let mut first = whole * Tile::whole(level);
        std::iter::from_fn(move || {
            let tile = (first < batch).then(|| Tile::at(first, batch - first, level))?;
            first += tile.count;
            Some(tile)
        })
    }

    /// The tile from series `first` on, of which there are `left`.
    fn at(first: usize, left: usize, level: Level) -> Tile {
        let whole = Tile::whole(level);
        let (level, vectors) = match level.narrower() {
            Some(narrower) if left <= narrower.lanes() => (narrower, 1),
            // Whole tiles are large here: with a few smaller ones threads share the work more evenly.
            Some(_) if left < 2 * whole => (level, 1),
            None if left <= level.lanes() => (level, 1),
            _ => (level, MAX_VECTORS),
        };
        Tile { first, count: left.min(vectors * level.lanes()), level, vectors }
    }

    /// Lanes of a row.
    pub(crate) fn width(&self) -> usize {
        self.vectors * self.level.lanes()
    }

    /// Its series, of `len` values, in a batch.
    fn series(&self, len: usize) -> Range<usize> {
        self.first * len..(self.first + self.count) * len
    }

    /// Lays its series of a batch out as rows; a series has `len` values.
    pub(crate) fn gather(&self, rows: &mut [f32], batch: &[f32], len: usize) {
        let batch = &batch[self.series(len)];
        let series = |lane: usize| &batch[lane * len..][..len];
        self.level.run(Gather { rows, width: self.width(), count: self.count, series });
    }

    /// As [`gather`](Tile::gather), where there is something; else zeros.
    pub(crate) fn gather_or_zeros(&self, rows: &mut [f32], batch: Option<&[f32]>) {
        match batch {
            Some(batch) => self.gather(rows, batch, rows.len() / self.width()),
            None => rows.fill(0.0),
        }
    }

    /// Writes its rows as series of `len` values to their places in a batch.
    pub(crate) fn scatter(&self, rows: &[f32], batch: &mut [f32], len: usize) {
        let series = &mut batch[self.series(len)];
        self.level.run(Scatter::<false> { rows, width: self.width(), series, len });
    }
}

/// A computation for one tile, compiled for rows of one and of two registers, and for each instruction
/// set.
pub(crate) trait TileKernel: Sized {
    /// The computation, to be inlined as [`Kernel::run`].
    fn compute<S: Isa, const C: usize>(self, isa: S);

    /// Computes for a tile.
    fn run(self, tile: Tile) {
        match tile.vectors {
            1 => tile.level.run(OfWidth::<1, Self>(self)),
            _ => tile.level.run(OfWidth::<MAX_VECTORS, Self>(self)),
        }
    }
}

/// A computation for rows of `C` registers.
struct OfWidth<const C: usize, T>(T);

impl<const C: usize, T: TileKernel> Kernel for OfWidth<C, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        self.0.compute::<S, C>(isa);
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

/// Rows and columns of a block of [`Isa::transpose`].
pub(crate) const BLOCK: usize = 8;

/// Lays eight rows of `width` lanes out as columns: lane `l` of row `r` becomes number `r` of the row
/// that starts at `l * stride`. Rows that `from` lacks are zeros.
#[inline(always)]
pub(crate) fn transpose<S: Isa>(isa: S, from: &[f32], width: usize, to: &mut [f32], stride: usize) {
    for first in (0..width).step_by(BLOCK) {
        let lanes = BLOCK.min(width - first);
        let mut block = [[0.0; BLOCK]; BLOCK];
        for (to, row) in block.iter_mut().zip(from.chunks_exact(width)) {
            match row[first..].first_chunk() {
                Some(row) => *to = *row,
                None => to[..lanes].copy_from_slice(&row[first..]),
            }
        }
        for (lane, column) in isa.transpose(block).iter().enumerate().take(lanes) {
            to[(first + lane) * stride..][..BLOCK].copy_from_slice(column);
        }
    }
}

/// Series to a tile: what is a row of the batch becomes a lane, in blocks of eight by eight.
pub(crate) struct Gather<'a, F> {
    /// (K, W), written. Lanes past the last series become zeros.
    pub(crate) rows: &'a mut [f32],
    /// Lanes of a row, W.
    pub(crate) width: usize,
    /// How many series there are.
    pub(crate) count: usize,
    /// The series of a lane, K values.
    pub(crate) series: F,
}

impl<'s, F: Fn(usize) -> &'s [f32]> Kernel for Gather<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let Gather { rows, width, count, series } = self;
        for first in (0..width).step_by(BLOCK) {
            let lanes = first..width.min(first + BLOCK);
            let mut of_lanes: [&[f32]; BLOCK] = [&[]; BLOCK];
            for (values, lane) in of_lanes.iter_mut().zip(first..count.min(lanes.end)) {
                *values = series(lane);
            }
            for (b, rows) in rows.chunks_mut(BLOCK * width).enumerate() {
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (to, from) in block.iter_mut().zip(of_lanes) {
                    let from = &from[from.len().min(b * BLOCK)..];
                    match from.first_chunk() {
                        Some(from) => *to = *from,
                        None => to[..from.len()].copy_from_slice(from),
                    }
                }
                for (row, column) in rows.chunks_exact_mut(width).zip(isa.transpose(block)) {
                    match row[first..].first_chunk_mut() {
                        Some(row) => *row = column,
                        None => row[lanes.clone()].copy_from_slice(&column[..lanes.len()]),
                    }
                }
            }
        }
    }
}

/// A tile to series: the way back of [`Gather`]. With `ADD` it is added to what is there.
pub(crate) struct Scatter<'a, const ADD: bool> {
    /// (K, W)
    pub(crate) rows: &'a [f32],
    /// Lanes of a row, W.
    pub(crate) width: usize,
    /// Series of `len` values, one after the other, W or fewer; written.
    pub(crate) series: &'a mut [f32],
    /// Values of a series, K.
    pub(crate) len: usize,
}

impl<const ADD: bool> Kernel for Scatter<'_, ADD> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let Scatter { rows, width, series, len } = self;
        for (b, rows) in rows.chunks(BLOCK * width).enumerate() {
            for (g, series) in series.chunks_mut(BLOCK * len).enumerate() {
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (to, row) in block.iter_mut().zip(rows.chunks_exact(width)) {
                    let row = &row[g * BLOCK..];
                    match row.first_chunk() {
                        Some(row) => *to = *row,
                        None => to[..row.len()].copy_from_slice(row),
                    }
                }
                for (series, column) in series.chunks_exact_mut(len).zip(isa.transpose(block)) {
                    let to = &mut series[b * BLOCK..];
                    if ADD {
                        to.iter_mut().zip(column).for_each(|(to, value)| *to += value);
                        continue;
                    }
                    match to.first_chunk_mut() {
                        Some(to) => *to = column,
                        None => to.copy_from_slice(&column[..to.len()]),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_hold_every_series_once_and_waste_less_than_a_register() {
        for level in Level::available() {
            let narrowest = level.narrower().unwrap_or(level).lanes();
            for batch in 0..=5 * Tile::whole(level) {
                let tiles: Vec<Tile> = Tile::all(batch, level).collect();
                assert_eq!(tiles.len(), Tile::number(batch, level), "{level:?}, {batch} series");
                let mut lanes = 0;
                for (i, tile) in tiles.iter().enumerate() {
                    assert_eq!(*tile, Tile::of(batch, level, i), "{level:?}, {batch} series");
                    // The next one starts where this one's lanes end, so this one is full.
                    assert_eq!(tile.first, lanes, "{level:?}, {batch} series");
                    lanes += tile.width();
                }
                let last = tiles.last().map_or(0, |tile| tile.first + tile.count);
                assert_eq!(last, batch, "{level:?}");
                assert!(lanes - batch < narrowest, "{level:?}, {batch} series, {lanes} lanes");
            }
        }
    }
}

//! Packed weights times a tile: the register-blocked inner product.
//!
//! A panel holds [`PANEL`] rows of a weight matrix side by side, so that the inner loop reads them
//! as a stream:
//!
//! ```text
//! panel p:  w(6p, 0) … w(6p+5, 0) | w(6p, 1) … w(6p+5, 1) | …      one group an inner index k
//! ```
//!
//! Long rows are cut after every [`DEPTH`] indices: all panels of the first ones, then all panels of the next
//! ones. So many rows of a tile stay in the first-level cache while the weights pass by, in the order of
//! memory.
//!
//! For each k the loop loads the tile's row k (C registers), broadcasts each weight of the group,
//! and does 6·C multiply-adds into 6·C registers. With C = 2 that is 12 multiply-adds for 8 loads,
//! enough for a machine with two of each a cycle. Narrow tiles (C = 1), and machines with 32
//! registers, take two panels at once.

use super::level::Isa;
use super::tile::Row;
use std::ops::Range;

/// Rows of a panel. Six is what 16 registers allow with two registers a row.
pub(crate) const PANEL: usize = 6;

/// The most inner indices that are multiplied at once: so many rows of a tile take 16 KB of the first-level cache
/// with AVX2, and 32 KB with AVX-512.
const DEPTH: usize = 256;

/// Bytes of a batch of panels, which are multiplied with one column after the other: they stay in the
/// second-level cache meanwhile, and the column in the first.
const BATCH: usize = 128 << 10;

/// The results of one panel: a register block.
pub(crate) type Block<S, const C: usize> = [Row<S, C>; PANEL];

/// A weight matrix (rows, inner), packed into panels. Missing rows of the last panel are zeros.
pub(crate) struct Panels {
    inner: usize,
    panels: usize,
    /// How many are a batch, an even number.
    batch: usize,
    groups: Vec<[f32; PANEL]>,
}

impl Panels {
    /// Space for `rows` rows of length `inner`, all zero.
    pub(crate) fn new(rows: usize, inner: usize) -> Self {
        let panels = rows.div_ceil(PANEL);
        let bytes = size_of::<[f32; PANEL]>() * inner.clamp(1, DEPTH);
        let batch = (BATCH / bytes).max(2) / 2 * 2;
        Panels { inner, panels, batch, groups: vec![[0.0; PANEL]; panels * inner] }
    }

    /// Copies rows of a matrix in: row `r` of panel `p` is the row `source(p, r)` of `matrix`.
    pub(crate) fn pack_rows(
        &mut self,
        matrix: &[f32],
        source: impl Fn(usize, usize) -> Option<usize>,
    ) {
        let inner = self.inner;
        for (ks, block) in self.blocks_mut() {
            for (p, panel) in block.chunks_exact_mut(ks.len()).enumerate() {
                let rows: [&[f32]; PANEL] = std::array::from_fn(|r| match source(p, r) {
                    Some(row) => &matrix[row * inner..][ks.clone()],
                    None => &[],
                });
                if rows.iter().all(|row| row.len() == panel.len()) {
                    // All at once, so that a group is written once.
                    for (k, group) in panel.iter_mut().enumerate() {
                        *group = rows.map(|row| row[k]);
                    }
                    continue;
                }
                for (r, row) in rows.iter().enumerate() {
                    for (group, weight) in panel.iter_mut().zip(*row) {
                        group[r] = *weight;
                    }
                }
            }
        }
    }

    /// Copies the transpose of a matrix with `columns` columns in, its rows in the order that
    /// `source(k)` tells.
    pub(crate) fn pack_columns(
        &mut self,
        matrix: &[f32],
        columns: usize,
        source: impl Fn(usize) -> usize,
    ) {
        for (ks, block) in self.blocks_mut() {
            for (p, panel) in block.chunks_exact_mut(ks.len()).enumerate() {
                let first = p * PANEL;
                let width = PANEL.min(columns - first);
                for (k, group) in ks.clone().zip(panel) {
                    let row = &matrix[source(k) * columns + first..][..width];
                    match row.first_chunk() {
                        Some(row) => *group = *row,
                        None => group[..width].copy_from_slice(row),
                    }
                }
            }
        }
    }

    /// The ranges of inner indices that are multiplied at once, each with all its panels.
    fn blocks_mut(&mut self) -> impl Iterator<Item = (Range<usize>, &mut [[f32; PANEL]])> {
        let blocks = self.groups.chunks_mut(DEPTH * self.panels);
        depths(self.inner).zip(blocks)
    }

    /// The panels, a batch at a time.
    #[inline(always)]
    pub(crate) fn batches(&self) -> impl Iterator<Item = Range<usize>> {
        let (panels, batch) = (self.panels, self.batch);
        (0..panels).step_by(batch).map(move |first| first..panels.min(first + batch))
    }

    /// Panels `p` to `p + P` of one of the ranges of [`depths`].
    #[inline(always)]
    pub(crate) fn get<const P: usize>(&self, p: usize, ks: &Range<usize>) -> [&[[f32; PANEL]]; P] {
        let block = &self.groups[ks.start * self.panels..];
        std::array::from_fn(|i| &block[(p + i) * ks.len()..][..ks.len()])
    }
}

/// The ranges of so many inner indices that are multiplied one after the other.
#[inline(always)]
pub(crate) fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
    (0..inner).step_by(DEPTH).map(move |first| first..inner.min(first + DEPTH))
}

/// Whether the register file holds the results of two panels of `C` registers a row.
#[inline(always)]
pub(crate) fn two_panels_fit<S: Isa, const C: usize>() -> bool {
    2 * C * PANEL <= S::REGISTER_COUNT * 3 / 4
}

/// `results[p][r] += Σₖ panels[p][k][r] · column[k]`.
#[inline(always)]
pub(crate) fn accumulate<S: Isa, const P: usize, const C: usize>(
    isa: S,
    mut results: [Block<S, C>; P],
    panels: [&[[f32; PANEL]]; P],
    column: &[Row<S, C>],
) -> [Block<S, C>; P] {
    let inner = column.len();
    let panels = panels.map(|panel| &panel[..inner]);
    for k in 0..inner {
        let x = column[k];
        for p in 0..P {
            for r in 0..PANEL {
                let weight = isa.splat_f32s(panels[p][k][r]);
                for c in 0..C {
                    results[p][r][c] = isa.fma(weight, x[c], results[p][r][c]);
                }
            }
        }
    }
    results
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// A value a row, the same for every lane.
    Bias(&'a [f32]),
    /// What the output holds already.
    Output,
    /// Nothing.
    Zero,
}

/// A column of a matrix for each step of a tile, or for each of several tiles: some of its rows.
#[derive(Clone)]
pub(crate) struct Columns<T> {
    /// The rows of all steps or tiles, one after the other.
    pub(crate) rows: T,
    /// How many each has.
    pub(crate) stride: usize,
    /// Which of them the column is.
    pub(crate) range: Range<usize>,
}

impl<T> Columns<T> {
    /// All rows of each.
    #[inline(always)]
    pub(crate) fn whole(rows: T, stride: usize) -> Self {
        Columns { rows, stride, range: 0..stride }
    }
}

/// `output = start + weights · column`: one row of output a row of the weights.
#[inline(always)]
pub(crate) fn product<S: Isa, const C: usize>(
    isa: S,
    weights: &Panels,
    column: &[Row<S, C>],
    mut start: Start<'_>,
    output: &mut [Row<S, C>],
) {
    for ks in depths(column.len()) {
        panel_blocks(isa, weights, 0..weights.panels, &ks, &column[ks.clone()], start, output);
        start = Start::Output;
    }
}

/// The [`product`] with each of several columns, of the steps of a tile or of several tiles. The weights are read
/// once for all of them.
#[inline(always)]
pub(crate) fn products<S: Isa, const C: usize>(
    isa: S,
    weights: &Panels,
    columns: Columns<&[Row<S, C>]>,
    mut start: Start<'_>,
    outputs: Columns<&mut [Row<S, C>]>,
) {
    for ks in depths(columns.range.len()) {
        let range = columns.range.start + ks.start..columns.range.start + ks.end;
        for panels in weights.batches() {
            let columns = columns.rows.chunks_exact(columns.stride);
            for (column, output) in columns.zip(outputs.rows.chunks_exact_mut(outputs.stride)) {
                let (column, output) = (&column[range.clone()], &mut output[outputs.range.clone()]);
                panel_blocks(isa, weights, panels.clone(), &ks, column, start, output);
            }
        }
        start = Start::Output;
    }
}

/// The products of some panels with a part of a column.
#[inline(always)]
fn panel_blocks<S: Isa, const C: usize>(
    isa: S,
    weights: &Panels,
    panels: Range<usize>,
    ks: &Range<usize>,
    column: &[Row<S, C>],
    start: Start<'_>,
    output: &mut [Row<S, C>],
) {
    let mut p = panels.start;
    while two_panels_fit::<S, C>() && p + 2 <= panels.end {
        panel_block::<S, 2, C>(isa, weights.get(p, ks), p, column, start, output);
        p += 2;
    }
    while p < panels.end {
        panel_block::<S, 1, C>(isa, weights.get(p, ks), p, column, start, output);
        p += 1;
    }
}

/// The products of some panels, of which the first is number `p`.
#[inline(always)]
fn panel_block<S: Isa, const P: usize, const C: usize>(
    isa: S,
    panels: [&[[f32; PANEL]]; P],
    p: usize,
    column: &[Row<S, C>],
    start: Start<'_>,
    output: &mut [Row<S, C>],
) {
    let first = p * PANEL;
    let zero = [[[isa.splat_f32s(0.0); C]; PANEL]; P];
    let rows = (P * PANEL).min(output.len() - first);
    let output = &mut output[first..first + rows];
    let mut results = zero;
    match start {
        Start::Bias(bias) => {
            for (i, bias) in bias[first..first + rows].iter().enumerate() {
                results[i / PANEL][i % PANEL] = [isa.splat_f32s(*bias); C];
            }
        }
        Start::Output => {
            for (i, row) in output.iter().enumerate() {
                results[i / PANEL][i % PANEL] = *row;
            }
        }
        Start::Zero => {}
    }
    let results = accumulate(isa, results, panels, column);
    for (i, row) in output.iter_mut().enumerate() {
        *row = results[i / PANEL][i % PANEL];
    }
}

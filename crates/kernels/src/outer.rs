//! Gradients of weights: a tile times a tile, summed over time and lanes.
//!
//! ```text
//! dW(i, j) = Σₜ Σ_lane  left(t, i, lane) · right(t, j, lane)
//! ```
//!
//! The right tile is transposed, so that its features fill the vector lanes, and each number of the
//! left one is broadcast: the register block of `product`, six rows by two registers, with time and
//! the tile's lanes for the inner index. The result ends in the layout of the gradient, in one pass
//! after the time loop in place of one update a step.
//!
//! A right tile of few features would leave most lanes empty. There four rows of the left and three
//! of the right meet in registers, lane by lane, and the lanes are summed at the end.

use super::level::{Isa, Kernel, Level};
use super::product::{Block, PANEL, two_panels_fit};
use super::tile::{BLOCK, Row, Tile, rows, rows_mut, transpose};
use std::slice::ChunksExact;

/// Rows of a tile over time: rows `first` to `first + count` of each step.
#[derive(Clone)]
pub(crate) struct Sequence<'a, S: Isa, const C: usize> {
    /// The rows of a step, step after step. Kept as an iterator: to make one costs a division,
    /// which is much for a register block.
    steps: ChunksExact<'a, Row<S, C>>,
    /// All rows of these steps.
    rows: &'a [Row<S, C>],
    first: usize,
    count: usize,
}

impl<'a, S: Isa, const C: usize> Sequence<'a, S, C> {
    /// All of `count` rows a step.
    #[inline(always)]
    pub(crate) fn whole(rows: &'a [Row<S, C>], count: usize) -> Self {
        Sequence { steps: rows.chunks_exact(count), rows, first: 0, count }
    }

    /// Rows `from` to `from + count` of these.
    #[inline(always)]
    pub(crate) fn part(&self, from: usize, count: usize) -> Self {
        Sequence { first: self.first + from, count, ..self.clone() }
    }

    /// The steps after the first `steps` of these.
    #[inline(always)]
    fn after(&self, steps: usize) -> Self {
        let Some(step) = self.steps.clone().next() else { return self.clone() };
        let rows = &self.rows[steps * step.len()..];
        Sequence { steps: rows.chunks_exact(step.len()), rows, ..self.clone() }
    }

    /// The next step, as numbers.
    #[inline(always)]
    fn next(&mut self) -> Option<&'a [f32]> {
        let step = self.steps.next()?;
        Some(bytemuck::cast_slice(&step[self.first..][..self.count]))
    }
}

/// The most numbers, of all steps and lanes, that are multiplied at once: a block of left rows takes
/// less than half of the first-level cache, in which it stays while all right panels pass by.
const DEPTH: usize = 512;

/// Below this many right features the lanes are summed instead.
const NARROW: usize = 16;

/// The first features that are multiplied transposed. Up to half a register of others is cheaper by
/// sums over the lanes.
fn transposed(features: usize, lanes: usize) -> usize {
    if features < NARROW {
        return 0;
    }
    let unit = lanes.max(BLOCK);
    let rest = features % unit;
    if rest <= unit / 2 { features - rest } else { features }
}

/// Floats of scratch memory for products with up to `right` right rows, at this level or a narrower
/// one.
pub(crate) fn scratch_len(right: usize, level: Level) -> usize {
    // A row of the widest tile may be longer than the depth.
    DEPTH.max(Tile::whole(level)) * right.next_multiple_of(level.lanes().max(BLOCK))
}

/// Adds the product to `gradient`, row-major, a row for each of the left rows: those of `left(0)`,
/// then of `left(1)`, up to so many groups.
///
/// `scratch` is to have [`scratch_len`] floats.
#[inline(always)]
pub(crate) fn outer<'a, S: Isa, const C: usize>(
    isa: S,
    groups: usize,
    left: impl Fn(usize) -> Sequence<'a, S, C>,
    right: Sequence<'a, S, C>,
    gradient: &mut [f32],
    scratch: &mut [f32],
) {
    let (rows, columns) = (left(0).count, right.count);
    let wide = if rows < PANEL { 0 } else { transposed(columns, S::F32_LANES) };
    if wide < columns {
        let right = right.part(wide, columns - wide);
        for g in 0..groups {
            let gradient = &mut gradient[g * rows * columns + wide..];
            sums_of_lanes(isa, left(g), right.clone(), gradient, columns);
        }
    }
    if wide == 0 {
        return;
    }
    let right = right.part(0, wide);
    let width = C * S::F32_LANES;
    // The states have one step more than the gates.
    let steps = left(0).steps.len().min(right.steps.len());
    let passes = (steps * width).div_ceil(DEPTH).max(1);
    let steps_at_once = steps.div_ceil(passes).max(1);
    for done in (0..steps).step_by(steps_at_once) {
        let depth = steps_at_once.min(steps - done) * width;
        let features = wide.next_multiple_of(S::F32_LANES.max(BLOCK));
        let right_packed = &mut scratch[..depth * features];
        pack_right(isa, right.after(done), depth, right_packed);
        for g in 0..groups {
            let gradient = &mut gradient[g * rows * columns..];
            let left = left(g).after(done);
            let to = To { gradient, stride: columns, columns: wide };
            multiply(isa, &left, right_packed, depth, to);
        }
    }
}

/// The products of some steps with all right panels.
#[inline(always)]
fn multiply<S: Isa, const C: usize>(
    isa: S,
    left: &Sequence<'_, S, C>,
    right: &[f32],
    depth: usize,
    mut to: To<'_>,
) {
    let Some(step) = left.steps.clone().next() else { return };
    let step = step.len() * C * S::F32_LANES;
    let panel = 2 * S::F32_LANES * depth;
    let (pairs, last) = right.split_at(right.len() / panel * panel);
    let blocks = Blocks::new(left.count, two_panels_fit::<S, 2>());
    for b in 0..blocks.count {
        let left = bytemuck::cast_slice(&left.rows[left.first + blocks.first(b)..]);
        for (j, right) in pairs.chunks_exact(panel).enumerate() {
            let to = to.columns_from(j * 2 * S::F32_LANES);
            blocks.call::<S, C, 2>(isa, b, left, step, right, to);
        }
    }
    if !last.is_empty() {
        let blocks = Blocks::new(left.count, two_panels_fit::<S, 1>());
        let first = pairs.len() / depth;
        for b in 0..blocks.count {
            let left = bytemuck::cast_slice(&left.rows[left.first + blocks.first(b)..]);
            blocks.call::<S, C, 1>(isa, b, left, step, last, to.columns_from(first));
        }
    }
}

/// Left rows in blocks of one or two times [`PANEL`]; the last one overlaps the one before.
struct Blocks {
    rows: usize,
    count: usize,
    last: usize,
}

impl Blocks {
    #[inline(always)]
    fn new(rows: usize, two_fit: bool) -> Self {
        let block = if two_fit && rows >= 2 * PANEL { 2 * PANEL } else { PANEL };
        Blocks { rows: block, count: rows.div_ceil(block), last: rows - block }
    }

    /// The first row of a block.
    #[inline(always)]
    fn first(&self, block: usize) -> usize {
        self.last.min(block * self.rows)
    }

    /// Multiplies a block with a right panel of `V` registers.
    #[inline(always)]
    fn call<S: Isa, const C: usize, const V: usize>(
        &self,
        isa: S,
        block: usize,
        left: &[f32],
        step: usize,
        right: &[f32],
        to: To<'_>,
    ) {
        let first = self.first(block);
        let skip = block * self.rows - first;
        if self.rows == PANEL {
            isa.call(RegisterBlock::<1, C, V> { left, step, right, to, first, skip });
        } else {
            isa.call(RegisterBlock::<2, C, V> { left, step, right, to, first, skip });
        }
    }
}

/// Copies right rows as panels of two registers of features, the last perhaps of one: a row for
/// each lane of each step. Missing features are zeros.
#[inline(always)]
fn pack_right<S: Isa, const C: usize>(
    isa: S,
    mut right: Sequence<'_, S, C>,
    depth: usize,
    to: &mut [f32],
) {
    let width = C * S::F32_LANES;
    let all = to.len() / depth;
    for k in (0..depth).step_by(width) {
        let Some(step) = right.next() else { return };
        for first in (0..all).step_by(BLOCK) {
            let panel = first / (2 * S::F32_LANES) * (2 * S::F32_LANES);
            let features = (all - panel).min(2 * S::F32_LANES);
            let to = &mut to[panel * depth..][..features * depth];
            let step = &step[step.len().min(first * width)..];
            transpose(isa, step, width, &mut to[k * features + first - panel..], features);
        }
    }
}

/// Where products are added: the gradient from its first row and a column on.
struct To<'a> {
    gradient: &'a mut [f32],
    /// From a row to the next.
    stride: usize,
    columns: usize,
}

impl To<'_> {
    #[inline(always)]
    fn columns_from(&mut self, first: usize) -> To<'_> {
        let (stride, columns) = (self.stride, self.columns - first);
        To { gradient: &mut self.gradient[first..], stride, columns }
    }
}

/// `P` times [`PANEL`] left rows times one right panel.
///
/// A kernel of its own: when it is inlined into the loops around it, the compiler keeps the sums in
/// memory.
struct RegisterBlock<'a, const P: usize, const C: usize, const V: usize> {
    /// From its first row in the first step on.
    left: &'a [f32],
    /// From a step of `left` to the next.
    step: usize,
    /// The lanes of the steps, each with the features of a panel.
    right: &'a [f32],
    to: To<'a>,
    /// The first row.
    first: usize,
    /// Rows that the block before has added.
    skip: usize,
}

impl<const P: usize, const C: usize, const V: usize> Kernel for RegisterBlock<'_, P, C, V> {
    type Output = ();
    #[expect(clippy::needless_range_loop, reason = "see the loops that add to the gradient")]
    #[inline(always)]
    fn run<S: Isa>(self, isa: S) {
        let width = C * S::F32_LANES;
        let RegisterBlock { left, step, right, to, first, skip } = self;
        let mut sums: [Block<S, V>; P] = [[[isa.splat_f32s(0.0); V]; PANEL]; P];
        for (t, right) in rows::<S, V>(right).chunks_exact(width).enumerate() {
            let left = &left[t * step..][..P * PANEL * width];
            for lane in 0..width {
                let x = right[lane];
                for p in 0..P {
                    for r in 0..PANEL {
                        let factor = isa.splat_f32s(left[(p * PANEL + r) * width + lane]);
                        for v in 0..V {
                            sums[p][r][v] = isa.fma(factor, x[v], sums[p][r][v]);
                        }
                    }
                }
            }
        }
        let To { gradient, stride, columns } = to;
        let columns = columns.min(V * S::F32_LANES);
        let mut rows = gradient[(first + skip) * stride..].chunks_mut(stride);
        // Loops of fixed length: an index that is not constant would keep the sums out of
        // registers.
        for p in 0..P {
            for r in 0..PANEL {
                if p * PANEL + r < skip {
                    continue;
                }
                let Some(row) = rows.next() else { return };
                let mut parts = row[..columns].chunks_mut(S::F32_LANES);
                for v in 0..V {
                    let Some(to) = parts.next() else { break };
                    if to.len() == S::F32_LANES {
                        let to = &mut rows_mut::<S, 1>(to)[0][0];
                        *to = isa.add_f32s(*to, sums[p][r][v]);
                    } else {
                        let sum = isa.add_f32s(isa.partial_load_f32s(to), sums[p][r][v]);
                        isa.partial_store_f32s(to, sum);
                    }
                }
            }
        }
    }
}

/// Adds the product to `gradient`, with `stride` from a row to the next.
#[inline(always)]
fn sums_of_lanes<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    stride: usize,
) {
    for i in (0..left.count).step_by(LEFT) {
        let rows = left.part(i, LEFT.min(left.count - i));
        for j in (0..right.count).step_by(RIGHT) {
            let columns = right.part(j, RIGHT.min(right.count - j));
            let gradient = &mut gradient[i * stride + j..];
            outer_block(isa, rows.clone(), columns, gradient, stride);
        }
    }
}

/// Rows of a register block of [`outer_block`]: 4 × 3 sums, and 7 loads for 12 multiply-adds.
const LEFT: usize = 4;
const RIGHT: usize = 3;

/// One register block: row `m` of the result is added to `gradient` from `m * stride` on.
#[inline(always)]
fn outer_block<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    stride: usize,
) {
    match left.count {
        LEFT => outer_columns::<S, LEFT, C>(isa, left, right, gradient, stride),
        3 => outer_columns::<S, 3, C>(isa, left, right, gradient, stride),
        2 => outer_columns::<S, 2, C>(isa, left, right, gradient, stride),
        _ => outer_columns::<S, 1, C>(isa, left, right, gradient, stride),
    }
}

#[inline(always)]
fn outer_columns<S: Isa, const M: usize, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    stride: usize,
) {
    match right.count {
        RIGHT => lane_sums::<S, M, RIGHT, C>(isa, left, right, gradient, stride),
        2 => lane_sums::<S, M, 2, C>(isa, left, right, gradient, stride),
        _ => lane_sums::<S, M, 1, C>(isa, left, right, gradient, stride),
    }
}

#[inline(always)]
fn lane_sums<S: Isa, const M: usize, const N: usize, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    stride: usize,
) {
    let mut sums = [[isa.splat_f32s(0.0); N]; M];
    let mut right_steps = right.steps;
    for left_rows in left.steps {
        // In place of a zip, whose making is not inlined and is a call for each block.
        let Some(right_rows) = right_steps.next() else { break };
        let (l, r) = (&left_rows[left.first..][..M], &right_rows[right.first..][..N]);
        for c in 0..C {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = isa.fma(l[m][c], r[n][c], sums[m][n]);
                }
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let row = &mut gradient[m * stride..][..N];
        for (to, sum) in row.iter_mut().zip(sums) {
            *to += isa.reduce_sum_f32s(*sum);
        }
    }
}

/// Rows that [`row_sums`] adds up at once: a step's rows lie together, those of two steps do not.
const SUMS: usize = 16;

/// Tells `add` the sum of each row over time and lanes: the gradient of a bias.
#[inline(always)]
pub(crate) fn row_sums<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    mut add: impl FnMut(usize, f32),
) {
    for first in (0..left.count).step_by(SUMS) {
        let rows = left.part(first, SUMS.min(left.count - first));
        let mut sums = [[isa.splat_f32s(0.0); C]; SUMS];
        for step in rows.steps {
            for (sum, row) in sums.iter_mut().zip(&step[rows.first..][..rows.count]) {
                for c in 0..C {
                    sum[c] = isa.add_f32s(sum[c], row[c]);
                }
            }
        }
        for (i, sum) in sums.into_iter().take(rows.count).enumerate() {
            let total = sum.into_iter().fold(isa.splat_f32s(0.0), |a, b| isa.add_f32s(a, b));
            add(first + i, isa.reduce_sum_f32s(total));
        }
    }
}

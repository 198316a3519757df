//! Gradients of weights: a tile times a tile, summed over time and lanes.
//!
//! ```text
//! dW(i, j) = Σₜ Σ_lane  left(t, i, lane) · right(t, j, lane)
//! ```
//!
//! Four rows of the left and three of the right meet in twelve registers that run over all of
//! time; the lanes are summed once, at the end. So dW costs one pass after the time loop, in place
//! of one update a step.

use super::level::Isa;
use super::tile::{Row, rows_mut};

/// Rows of a tile over time: rows `first` to `first + count` of every `stride` rows.
#[derive(Clone, Copy)]
pub(crate) struct Sequence<'a, S: Isa, const C: usize> {
    /// The rows of all steps.
    pub(crate) rows: &'a [Row<S, C>],
    /// Rows of one step.
    pub(crate) stride: usize,
    /// The first row of a step that takes part.
    pub(crate) first: usize,
    /// How many rows of a step take part.
    pub(crate) count: usize,
}

impl<'a, S: Isa, const C: usize> Sequence<'a, S, C> {
    /// All of `count` rows a step.
    #[inline(always)]
    pub(crate) fn whole(rows: &'a [Row<S, C>], count: usize) -> Self {
        Sequence { rows, stride: count, first: 0, count }
    }

    /// Rows `from` to `from + count` of these.
    #[inline(always)]
    fn part(self, from: usize, count: usize) -> Self {
        Sequence { first: self.first + from, count, ..self }
    }

    /// Copies the rows, step after step, so that one load follows the other in memory.
    #[inline(always)]
    fn pack<'b>(self, to: &'b mut [Row<S, C>]) -> Sequence<'b, S, C> {
        let steps = self.rows.chunks_exact(self.stride);
        let to = &mut to[..steps.len() * self.count];
        for (to, from) in to.chunks_exact_mut(self.count).zip(steps) {
            for (to, from) in to.iter_mut().zip(&from[self.first..][..self.count]) {
                *to = *from;
            }
        }
        Sequence::whole(to, self.count)
    }
}

/// Rows of a register block: 4 × 3 sums, and 7 loads for 12 multiply-adds.
const LEFT: usize = 4;
const RIGHT: usize = 3;

/// Steps that are multiplied at once; it bounds the scratch memory.
const STEPS: usize = 64;

/// Bytes of left rows that stay in the first-level cache while all right rows pass by.
const GROUP_BYTES: usize = 16 << 10;

/// Above this many bytes of left and right rows, packing pays: a step's rows lie a page or more
/// apart, and fall on the same few sets of the first-level cache where H is a power of two.
const PACK_BYTES: usize = 64 << 10;

/// Floats of scratch memory for products with up to `right` right rows, of `steps` steps and
/// `width` lanes.
pub(crate) fn scratch_len(right: usize, steps: usize, width: usize) -> usize {
    let steps = steps.min(STEPS);
    let group = GROUP_BYTES / size_of::<f32>();
    right * steps * width + group.max(LEFT * steps * width)
}

/// Adds the product to `gradient`, row-major: left row `i` goes to row `destination(i)`.
///
/// `scratch` is to have [`scratch_len`] floats.
#[inline(always)]
pub(crate) fn outer<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    destination: impl Fn(usize) -> usize + Copy,
    scratch: &mut [f32],
) {
    if size_of_val(left.rows) + size_of_val(right.rows) <= PACK_BYTES {
        let mut i = 0;
        while i < left.count {
            let count = block_rows(left.count - i);
            let to = |m| destination(i + m);
            outer_rows(isa, left.part(i, count), right, gradient, to);
            i += count;
        }
        return;
    }
    let chunks = left.rows.chunks(STEPS * left.stride);
    for (l, r) in chunks.zip(right.rows.chunks(STEPS * right.stride)) {
        let left = Sequence { rows: l, ..left };
        // The states have one step more than the gates.
        let steps = l.len() / left.stride;
        let right = Sequence { rows: &r[..steps * right.stride], ..right };
        outer_packed(isa, left, right, gradient, destination, scratch);
    }
}

#[inline(always)]
fn block_rows(rows: usize) -> usize {
    if rows >= LEFT { LEFT } else { 1 }
}

/// The product by way of packed copies: right rows as blocks of [`RIGHT`], all of them; left rows
/// as blocks of [`LEFT`], a group at a time.
#[inline(always)]
fn outer_packed<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    destination: impl Fn(usize) -> usize + Copy,
    scratch: &mut [f32],
) {
    let steps = left.rows.len() / left.stride;
    let scratch = rows_mut::<S, C>(&mut scratch[..]);
    let (right_packed, left_packed) = scratch.split_at_mut(right.count * steps);
    for j in (0..right.count).step_by(RIGHT) {
        let block = right.part(j, RIGHT.min(right.count - j));
        block.pack(&mut right_packed[j * steps..]);
    }
    let group = GROUP_BYTES / (steps * size_of::<Row<S, C>>()) / LEFT * LEFT;
    let group = group.max(LEFT);
    for start in (0..left.count).step_by(group) {
        let end = left.count.min(start + group);
        let mut i = start;
        while i < end {
            let count = block_rows(end - i);
            left.part(i, count).pack(&mut left_packed[(i - start) * steps..]);
            i += count;
        }
        for j in (0..right.count).step_by(RIGHT) {
            let columns = RIGHT.min(right.count - j);
            let right_block = &right_packed[j * steps..][..columns * steps];
            let right_block = Sequence::whole(right_block, columns);
            let mut i = start;
            while i < end {
                let count = block_rows(end - i);
                let left_block = &left_packed[(i - start) * steps..][..count * steps];
                let left_block = Sequence::whole(left_block, count);
                let to = |m| destination(i + m) * right.count + j;
                outer_block(isa, left_block, right_block, gradient, to);
                i += count;
            }
        }
    }
}

/// One block of left rows with all right rows.
#[inline(always)]
fn outer_rows<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    destination: impl Fn(usize) -> usize + Copy,
) {
    for j in (0..right.count).step_by(RIGHT) {
        let block = right.part(j, RIGHT.min(right.count - j));
        let to = |m| destination(m) * right.count + j;
        outer_block(isa, left, block, gradient, to);
    }
}

/// One register block: row `m` of the result is added to `gradient` from `destination(m)` on.
#[inline(always)]
fn outer_block<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    destination: impl Fn(usize) -> usize,
) {
    match (left.count, right.count) {
        (LEFT, RIGHT) => sums::<S, LEFT, RIGHT, C>(isa, left, right, gradient, destination),
        (LEFT, 2) => sums::<S, LEFT, 2, C>(isa, left, right, gradient, destination),
        (LEFT, _) => sums::<S, LEFT, 1, C>(isa, left, right, gradient, destination),
        (_, RIGHT) => sums::<S, 1, RIGHT, C>(isa, left, right, gradient, destination),
        (_, 2) => sums::<S, 1, 2, C>(isa, left, right, gradient, destination),
        (_, _) => sums::<S, 1, 1, C>(isa, left, right, gradient, destination),
    }
}

#[inline(always)]
fn sums<S: Isa, const M: usize, const N: usize, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    destination: impl Fn(usize) -> usize,
) {
    let mut sums = [[isa.splat_f32s(0.0); N]; M];
    let steps = left.rows.chunks_exact(left.stride);
    for (l, r) in steps.zip(right.rows.chunks_exact(right.stride)) {
        let l = &l[left.first..][..M];
        let r = &r[right.first..][..N];
        for c in 0..C {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = isa.fma(l[m][c], r[n][c], sums[m][n]);
                }
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let row = &mut gradient[destination(m)..][..N];
        for (to, sum) in row.iter_mut().zip(sums) {
            *to += isa.reduce_sum_f32s(*sum);
        }
    }
}

/// Tells `add` the sum of each row over time and lanes: the gradient of a bias.
#[inline(always)]
pub(crate) fn row_sums<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    mut add: impl FnMut(usize, f32),
) {
    for i in 0..left.count {
        let mut sums = [isa.splat_f32s(0.0); C];
        for step in left.rows.chunks_exact(left.stride) {
            for (sum, x) in sums.iter_mut().zip(step[left.first + i]) {
                *sum = isa.add_f32s(*sum, x);
            }
        }
        let total =
            sums.into_iter().reduce(|a, b| isa.add_f32s(a, b)).unwrap_or(isa.splat_f32s(0.0));
        add(i, isa.reduce_sum_f32s(total));
    }
}

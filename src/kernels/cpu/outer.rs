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
use std::slice::ChunksExact;

/// Rows of a tile over time: rows `first` to `first + count` of each step.
#[derive(Clone)]
pub(crate) struct Sequence<'a, S: Isa, const C: usize> {
    /// The rows of a step, step after step. Kept as an iterator: to make one costs a division,
    /// which is much for a register block.
    steps: ChunksExact<'a, Row<S, C>>,
    first: usize,
    count: usize,
}

impl<'a, S: Isa, const C: usize> Sequence<'a, S, C> {
    /// All of `count` rows a step.
    #[inline(always)]
    pub(crate) fn whole(rows: &'a [Row<S, C>], count: usize) -> Self {
        Sequence { steps: rows.chunks_exact(count), first: 0, count }
    }

    /// Rows `from` to `from + count` of these.
    #[inline(always)]
    pub(crate) fn part(&self, from: usize, count: usize) -> Self {
        Sequence { steps: self.steps.clone(), first: self.first + from, count }
    }

    /// Copies these rows of the next `steps` steps, step after step, so that one load follows the
    /// other in memory.
    #[inline(always)]
    fn pack(&self, steps: usize, to: &mut [Row<S, C>]) {
        let mut from = self.steps.clone();
        for to in to[..steps * self.count].chunks_exact_mut(self.count) {
            let Some(from) = from.next() else { return };
            for (to, from) in to.iter_mut().zip(&from[self.first..][..self.count]) {
                *to = *from;
            }
        }
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

/// Adds the product to `gradient`, row-major: a row for each of the left rows.
///
/// `scratch` is to have [`scratch_len`] floats.
#[inline(always)]
pub(crate) fn outer<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    right: Sequence<'_, S, C>,
    gradient: &mut [f32],
    scratch: &mut [f32],
) {
    // The states have one step more than the gates.
    let steps = left.steps.len().min(right.steps.len());
    if steps * (left.count + right.count) * size_of::<Row<S, C>>() <= PACK_BYTES {
        for i in (0..left.count).step_by(LEFT) {
            let rows = left.part(i, LEFT.min(left.count - i));
            let gradient = &mut gradient[i * right.count..];
            for j in (0..right.count).step_by(RIGHT) {
                let columns = right.part(j, RIGHT.min(right.count - j));
                outer_block(isa, rows.clone(), columns, &mut gradient[j..], right.count);
            }
        }
        return;
    }
    let (mut left, mut right, mut rest) = (left, right, steps);
    while rest > 0 {
        let steps = STEPS.min(rest);
        outer_packed(isa, &left, &right, steps, gradient, scratch);
        rest -= steps;
        if rest > 0 {
            left.steps.nth(steps - 1);
            right.steps.nth(steps - 1);
        }
    }
}

/// The product over the next `steps` steps by way of packed copies: right rows as blocks of
/// [`RIGHT`], all of them; left rows as blocks of [`LEFT`], a group at a time.
#[inline(always)]
fn outer_packed<S: Isa, const C: usize>(
    isa: S,
    left: &Sequence<'_, S, C>,
    right: &Sequence<'_, S, C>,
    steps: usize,
    gradient: &mut [f32],
    scratch: &mut [f32],
) {
    let scratch = rows_mut::<S, C>(&mut scratch[..]);
    let (right_packed, left_packed) = scratch.split_at_mut(right.count * steps);
    for j in (0..right.count).step_by(RIGHT) {
        let block = right.part(j, RIGHT.min(right.count - j));
        block.pack(steps, &mut right_packed[j * steps..]);
    }
    let group = GROUP_BYTES / (steps * size_of::<Row<S, C>>()) / LEFT * LEFT;
    let group = group.max(LEFT);
    for start in (0..left.count).step_by(group) {
        let end = left.count.min(start + group);
        for i in (start..end).step_by(LEFT) {
            let block = left.part(i, LEFT.min(end - i));
            block.pack(steps, &mut left_packed[(i - start) * steps..]);
        }
        for j in (0..right.count).step_by(RIGHT) {
            let columns = RIGHT.min(right.count - j);
            let block = &right_packed[j * steps..][..columns * steps];
            let columns = Sequence::whole(block, columns);
            for i in (start..end).step_by(LEFT) {
                let rows = LEFT.min(end - i);
                let block = &left_packed[(i - start) * steps..][..rows * steps];
                let rows = Sequence::whole(block, rows);
                let to = &mut gradient[i * right.count + j..];
                outer_block(isa, rows, columns.clone(), to, right.count);
            }
        }
    }
}

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
        RIGHT => sums::<S, M, RIGHT, C>(isa, left, right, gradient, stride),
        2 => sums::<S, M, 2, C>(isa, left, right, gradient, stride),
        _ => sums::<S, M, 1, C>(isa, left, right, gradient, stride),
    }
}

#[inline(always)]
fn sums<S: Isa, const M: usize, const N: usize, const C: usize>(
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

/// Tells `add` the sum of each row over time and lanes: the gradient of a bias.
#[inline(always)]
pub(crate) fn row_sums<S: Isa, const C: usize>(
    isa: S,
    left: Sequence<'_, S, C>,
    mut add: impl FnMut(usize, f32),
) {
    for i in 0..left.count {
        let mut sums = [isa.splat_f32s(0.0); C];
        for step in left.steps.clone() {
            let row = &step[left.first + i];
            for c in 0..C {
                sums[c] = isa.add_f32s(sums[c], row[c]);
            }
        }
        let total =
            sums.into_iter().reduce(|a, b| isa.add_f32s(a, b)).unwrap_or(isa.splat_f32s(0.0));
        add(i, isa.reduce_sum_f32s(total));
    }
}

//! Packed weights times a tile: the register-blocked inner product.
//!
//! A panel holds [`PANEL`] rows of a weight matrix side by side, so that the inner loop reads them
//! as a stream:
//!
//! ```text
//! panel p:  w(6p, 0) … w(6p+5, 0) | w(6p, 1) … w(6p+5, 1) | …      one group an inner index k
//! ```
//!
//! For each k the loop loads the tile's row k (C registers), broadcasts each weight of the group,
//! and does 6·C multiply-adds into 6·C registers. With C = 2 that is 12 multiply-adds for 8 loads,
//! enough for a machine with two of each a cycle. Narrow tiles (C = 1), and machines with 32
//! registers, take two panels at once.

use super::level::Isa;
use super::tile::Row;

/// Rows of a panel. Six is what 16 registers allow with two registers a row.
pub(crate) const PANEL: usize = 6;

/// The results of one panel: a register block.
pub(crate) type Block<S, const C: usize> = [Row<S, C>; PANEL];

/// A weight matrix (rows, inner), packed into panels. Missing rows of the last panel are zeros.
pub(crate) struct Panels {
    inner: usize,
    panels: usize,
    groups: Vec<[f32; PANEL]>,
}

impl Panels {
    /// Space for `rows` rows of length `inner`, all zero.
    pub(crate) fn new(rows: usize, inner: usize) -> Self {
        let panels = rows.div_ceil(PANEL);
        Panels { inner, panels, groups: vec![[0.0; PANEL]; panels * inner] }
    }

    /// Copies rows of a matrix in: row `r` of panel `p` is the row `source(p, r)` of `matrix`.
    pub(crate) fn pack_rows(
        &mut self,
        matrix: &[f32],
        source: impl Fn(usize, usize) -> Option<usize>,
    ) {
        let inner = self.inner;
        for (p, panel) in self.groups.chunks_exact_mut(inner).enumerate() {
            for r in 0..PANEL {
                if let Some(row) = source(p, r) {
                    let row = &matrix[row * inner..][..inner];
                    for (group, weight) in panel.iter_mut().zip(row) {
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
        for (p, panel) in self.groups.chunks_exact_mut(self.inner).enumerate() {
            let first = p * PANEL;
            let width = PANEL.min(columns - first);
            for (k, group) in panel.iter_mut().enumerate() {
                group[..width].copy_from_slice(&matrix[source(k) * columns + first..][..width]);
            }
        }
    }

    /// The number of panels.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.panels
    }

    /// Panels `p` to `p + P`.
    #[inline(always)]
    pub(crate) fn get<const P: usize>(&self, p: usize) -> [&[[f32; PANEL]]; P] {
        std::array::from_fn(|i| &self.groups[(p + i) * self.inner..][..self.inner])
    }
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

/// `output = start + weights · column`: one row of output a row of the weights.
#[inline(always)]
pub(crate) fn product<S: Isa, const C: usize>(
    isa: S,
    weights: &Panels,
    column: &[Row<S, C>],
    start: Start<'_>,
    output: &mut [Row<S, C>],
) {
    let mut p = 0;
    if two_panels_fit::<S, C>() {
        while p + 2 <= weights.len() {
            product_block::<S, 2, C>(isa, weights, p, column, start, output);
            p += 2;
        }
    }
    while p < weights.len() {
        product_block::<S, 1, C>(isa, weights, p, column, start, output);
        p += 1;
    }
}

#[inline(always)]
fn product_block<S: Isa, const P: usize, const C: usize>(
    isa: S,
    weights: &Panels,
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
    let results = accumulate(isa, results, weights.get::<P>(p), column);
    for (i, row) in output.iter_mut().enumerate() {
        *row = results[i / PANEL][i % PANEL];
    }
}

//! The kinds of cells, and the sizes of a layer.

use super::cell::Cell;
use serde::{Deserialize, Serialize};

/// Which formulas a layer computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellKind {
    /// One tanh: PyTorch's `nn.RNN`.
    SimpleRnn,
    /// Gates r, z, n: PyTorch's `nn.GRU`.
    #[default]
    Gru,
    /// Gates i, f, g, o, and a cell state: PyTorch's `nn.LSTM`.
    Lstm,
}

/// `$body`, in which `$K` is the type with the formulas of a kind of cell.
macro_rules! with_cell {
    ($kind: expr, $K: ident => $body: expr) => {
        match $kind {
            $crate::shape::CellKind::SimpleRnn => {
                type $K = $crate::simple_rnn::SimpleRnn;
                $body
            }
            $crate::shape::CellKind::Gru => {
                type $K = $crate::gru::Gru;
                $body
            }
            $crate::shape::CellKind::Lstm => {
                type $K = $crate::lstm::Lstm;
                $body
            }
        }
    };
}
pub(crate) use with_cell;

impl CellKind {
    /// Groups of H rows in each weight matrix, G: the gates, the candidate included.
    pub const fn gates(self) -> usize {
        with_cell!(self, K => K::GATES)
    }
}

/// The sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its cell.
    pub(crate) cell: CellKind,
    /// Features of the input, D.
    pub(crate) input: usize,
    /// Units, H.
    pub(crate) hidden: usize,
}

impl Shape {
    /// Groups of H rows in each weight matrix.
    pub(crate) fn groups(self) -> usize {
        self.cell.gates()
    }

    /// Weights in the flat order `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    pub(crate) fn weights(self) -> usize {
        self.groups() * self.hidden * (self.input + self.hidden + 2)
    }

    /// Rows of one step's saved gates.
    pub(crate) fn gates(self) -> usize {
        with_cell!(self.cell, K => K::SAVED) * self.hidden
    }

    /// Rows that a series carries from step to step beside its output.
    pub(crate) fn carried(self) -> usize {
        with_cell!(self.cell, K => K::CARRIED) * self.hidden
    }
}

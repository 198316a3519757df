//! One layer of every kind of cell, at every instruction set, against the same layer in dfdx's own
//! operations in `f64`.

use crate::reference::{Numbers, assert_close, wide};
use seq2seq::dfdx;
use seq2seq::kernels::level::Level;
use seq2seq::kernels::recurrent::{
    CellKind, Gradients, Input, Outputs, RecurrentStack, Saved, States, Upstream,
};
use seq2seq::layers::{GruCell, LstmCell, LstmState, RecurrentWeights, SimpleRnnCell, reference};
use seq2seq::prelude::*;

const SIZES: [usize; 13] = [1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 100];

/// B, T, D and H, with rows of weights so long that they are read in parts (from 257 on).
const LARGE: [[usize; 4]; 2] = [[9, 2, 300, 260], [7, 3, 2, 300]];

const KINDS: [CellKind; 3] = [CellKind::SimpleRnn, CellKind::Gru, CellKind::Lstm];

/// What goes into a layer, and the gradients of what comes out.
struct Given {
    kind: CellKind,
    batch: usize,
    steps: usize,
    input: usize,
    hidden: usize,
    weights: Vec<f32>,
    x: Vec<f32>,
    /// The hidden state and, in an LSTM, the cell state; none for zeros.
    first: Vec<Vec<f32>>,
    of_outputs: Vec<f32>,
    of_cell: Vec<f32>,
}

/// What comes out, and the gradients of what went in.
struct Expected {
    output: Vec<f64>,
    cell: Vec<f64>,
    d_x: Vec<f64>,
    d_hidden: Vec<f64>,
    d_cell: Vec<f64>,
    d_weights: Vec<f64>,
}

fn gates(kind: CellKind) -> usize {
    match kind {
        CellKind::SimpleRnn => 1,
        CellKind::Gru => 3,
        CellKind::Lstm => 4,
    }
}

impl Given {
    fn random(kind: CellKind, numbers: &mut Numbers, sizes: [usize; 4], first: bool) -> Self {
        let [batch, steps, input, hidden] = sizes;
        // Weights that saturate few units: 1 - h² of an h near 1 has few digits left in f32, in any
        // implementation, and a product of these over time has fewer.
        let scale = 1.0 / (hidden.max(input) as f64).sqrt();
        let states = if kind == CellKind::Lstm { 2 } else { 1 };
        Given {
            kind,
            batch,
            steps,
            input,
            hidden,
            weights: numbers.vec(gates(kind) * hidden * (input + hidden + 2), scale),
            x: numbers.vec(batch * steps * input, 1.0),
            first: (0..if first { states } else { 0 })
                .map(|_| numbers.vec(batch * hidden, 0.9))
                .collect(),
            of_outputs: numbers.vec(batch * steps * hidden, 1.0),
            of_cell: numbers.vec((states - 1) * batch * hidden, 1.0),
        }
    }

    fn stack(&self, level: Level) -> RecurrentStack {
        RecurrentStack::new(self.kind, self.input, &[self.hidden], level)
    }

    fn forward(&self, stack: &RecurrentStack) -> (Outputs, Saved) {
        let initial = States {
            hidden: self.first.first().map(|v| &v[..]),
            cell: self.first.get(1).map(|v| &v[..]),
        };
        stack.forward(&self.weights, Input::Sequence(&self.x), &[initial], self.batch, true)
    }

    /// Of the input, and of the rest.
    fn backward(
        &self,
        stack: &RecurrentStack,
        saved: Saved,
        of_cell: Option<&[f32]>,
    ) -> (Vec<f32>, Gradients) {
        let mut of_x = vec![0.0; self.x.len()];
        let last = [States { hidden: None, cell: of_cell }];
        let upstream = Upstream { every_step: Some(&self.of_outputs), last: &last };
        let rest = stack.backward(saved, upstream, Some(&mut of_x));
        (of_x, rest)
    }

    fn of_cell(&self) -> Option<&[f32]> {
        (self.kind == CellKind::Lstm).then_some(&self.of_cell[..])
    }

    fn expected(&self) -> Expected {
        let Given { kind, batch, steps, input, hidden, .. } = *self;
        let dev = Cpu::default();
        let rows = gates(kind) * hidden;
        let mut rest = wide(&self.weights);
        let mut take = |length: usize| rest.drain(..length).collect::<Vec<f64>>();
        let weights: RecurrentWeights<f64, Cpu> = RecurrentWeights {
            weight_ih: dev.tensor_from_vec(take(rows * input), (rows, input)),
            weight_hh: dev.tensor_from_vec(take(rows * hidden), (rows, hidden)),
            bias_ih: dev.tensor_from_vec(take(rows), (rows,)),
            bias_hh: dev.tensor_from_vec(take(rows), (rows,)),
        };
        let state = |values: Option<&Vec<f32>>| -> State<f64> {
            let values = values.map_or_else(|| vec![0.0; batch * hidden], |v| wide(v));
            dev.tensor_from_vec(values, (batch, hidden))
        };
        let x: Sequence<f64> = dev.tensor_from_vec(wide(&self.x), (batch, steps, input));
        let (h, c) = (state(self.first.first()), state(self.first.get(1)));
        let of_outputs: Sequence<f64> =
            dev.tensor_from_vec(wide(&self.of_outputs), (batch, steps, hidden));

        let traced = x.leaky_trace();
        let (outputs, cell) = match kind {
            CellKind::SimpleRnn => {
                (reference::layer::<SimpleRnnCell, _, _, _>(&weights, traced, h.clone()).0, None)
            }
            CellKind::Gru => {
                (reference::layer::<GruCell, _, _, _>(&weights, traced, h.clone()).0, None)
            }
            CellKind::Lstm => {
                let first = LstmState { hidden: h.clone(), cell: c.clone() };
                let (outputs, last) =
                    reference::layer::<LstmCell, _, _, _>(&weights, traced, first);
                (outputs, Some(last.cell))
            }
        };
        let output = outputs.as_vec();
        let mut loss = (outputs * of_outputs).sum::<(), _>();
        if let Some(cell) = &cell {
            let of_cell: State<f64> = dev.tensor_from_vec(wide(&self.of_cell), (batch, hidden));
            loss = loss + (cell.leaky_trace() * of_cell).sum::<(), _>();
        }
        let gradients: dfdx::tensor::Gradients<f64, Cpu> = loss.backward();
        let d_weights = [
            gradients.get(&weights.weight_ih).as_vec(),
            gradients.get(&weights.weight_hh).as_vec(),
            gradients.get(&weights.bias_ih).as_vec(),
            gradients.get(&weights.bias_hh).as_vec(),
        ];
        Expected {
            output,
            d_x: gradients.get(&x).as_vec(),
            d_hidden: gradients.get(&h).as_vec(),
            d_cell: cell.as_ref().map_or_else(Vec::new, |_| gradients.get(&c).as_vec()),
            cell: cell.map_or_else(Vec::new, |cell| cell.as_vec()),
            d_weights: d_weights.concat(),
        }
    }
}

#[test]
fn outputs_and_gradients_equal_the_reference() {
    for kind in KINDS {
        for seed in 0..80 + LARGE.len() as u64 {
            let mut numbers = Numbers(seed);
            let large = seed.checked_sub(80).map(|i| LARGE[i as usize]);
            let [batch, steps, input, hidden] = large.unwrap_or_else(|| {
                let (input, hidden) = (numbers.pick(&SIZES), numbers.pick(&SIZES));
                [numbers.pick(&SIZES), numbers.pick(&SIZES[..9]), input, hidden]
            });
            if batch * steps * hidden * (input + hidden) > 4_000_000 {
                continue;
            }
            let sizes = [batch, steps, input, hidden];
            let given = Given::random(kind, &mut numbers, sizes, seed % 3 > 0);
            let expected = given.expected();
            for level in Level::available() {
                let name = format!(
                    "{kind:?}, seed {seed}, {level:?}, D {input} H {hidden} B {batch} T {steps}"
                );
                let check = |what: &str, actual: &[f32], expected: &[f64]| {
                    assert_close(&format!("{name}, {what}"), actual, expected, 1e-5);
                };
                let stack = given.stack(level);
                let (outputs, saved) = given.forward(&stack);
                check("output", &outputs.every_step, &expected.output);
                check("cell", &outputs.last[0].cell, &expected.cell);
                let (of_x, actual) = given.backward(&stack, saved, given.of_cell());
                check("weights", &actual.weights, &expected.d_weights);
                check("initial hidden state", &actual.initial[0].hidden, &expected.d_hidden);
                check("initial cell state", &actual.initial[0].cell, &expected.d_cell);
                check("input", &of_x, &expected.d_x);
                // What is not asked for is not missed.
                let (_, saved) = given.forward(&stack);
                let last = [States { hidden: None, cell: given.of_cell() }];
                let upstream = Upstream { every_step: Some(&given.of_outputs), last: &last };
                assert_eq!(stack.backward(saved, upstream, None), actual);
            }
        }
    }
}

#[test]
fn a_cell_state_that_nothing_used_has_no_gradient_of_its_own() {
    let given = Given::random(CellKind::Lstm, &mut Numbers(5), [9, 4, 2, 5], true);
    let zeros = vec![0.0; given.of_cell.len()];
    let stack = given.stack(Level::best());
    let run = |of_cell: Option<&[f32]>| {
        let (_, saved) = given.forward(&stack);
        given.backward(&stack, saved, of_cell)
    };
    assert_eq!(run(None), run(Some(&zeros)));
    assert_ne!(run(None), run(Some(&given.of_cell)));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for kind in KINDS {
        let given = Given::random(kind, &mut Numbers(7), [100, 30, 3, 17], true);
        for level in Level::available() {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let stack = given.stack(level);
                    let (outputs, saved) = given.forward(&stack);
                    (outputs, given.backward(&stack, saved, given.of_cell()))
                })
            };
            assert_eq!(run(1), run(2));
        }
    }
}

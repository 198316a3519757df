//! A training step of a network that is too large for one kernel, as a list: matrix products, and the
//! kernels of `operations.cu` between them.
//!
//! A list is data, so the tests run it on the CPU, and `graph.rs` records it once and replays it at each
//! step. All matrices lie row by row in one array, the arena:
//!
//! ```text
//! weights, momentum, square, gradient      as `Layout` says, with pads of zeros
//! past (P, B, D)   future (F, B, O)   predictions (F, B, O)   squares (F, B, O)   ones
//! of each layer: hidden (P + F + 1, B, H)  row 0 is zeros, row P where the decoder starts
//!                gates (P + F, B, 4H)      n, r, z, u, then their gradients
//!                carry (B, H)              the gradient of the states, from the last to the first
//! recurrent, constant (B, 3H)   streams: two of (max(P, F), B, max(H))
//! ```
//! `weight_ih` and `bias_ih` have their rows in the order n, r, z: so the first three gates are one
//! block of columns that meets the input's weights, and the last three one that meets `weight_hh`.

use seq2seq_kernels::DecoderInput;
use seq2seq_kernels::seq2seq::NetworkShape;

/// Floats that a matrix begins at a multiple of, as products of matrices like it.
const ALIGNMENT: usize = 32;

/// Sums of the first stage, and of the second; the third is one.
const STAGES: [usize; 2] = [16384, 64];

/// Doubles for the sums of all stages.
pub(crate) const SUMS: usize = STAGES[0] + STAGES[1] + 2;
/// Where the squared errors end up among them, and the squared length of the gradient.
const SQUARED_ERRORS: usize = SUMS - 2;
const SQUARED_LENGTH: usize = SUMS - 1;

/// The kernels of `operations.cu`.
pub(crate) const KERNELS: [&str; 10] = [
    "gather",
    "clear",
    "gates_forward",
    "gates_backward",
    "sum_over_time",
    "errors",
    "partial_sums",
    "sums_of_sums",
    "report_loss",
    "descend",
];

/// A matrix in the arena, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    /// Where it begins.
    pub(crate) at: usize,
    /// From a row to the next.
    pub(crate) stride: usize,
    /// Whether what is meant is its transpose.
    pub(crate) transposed: bool,
}

/// The matrix at `at` with rows of so many numbers.
fn matrix(at: usize, stride: usize) -> Matrix {
    Matrix { at, stride, transposed: false }
}

impl Matrix {
    fn transposed(self) -> Matrix {
        Matrix { transposed: !self.transposed, ..self }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// A product of matrices.
    Product(Gemm),
    /// A kernel of `operations.cu` in so many threads, with its numbers.
    Kernel { name: &'static str, threads: usize, numbers: [i64; 12] },
}

/// c ← a·b, or c + a·b: the arguments of BLAS' `sgemm`, which reads matrices column by column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemm {
    /// Rows of c.
    pub(crate) m: usize,
    /// Columns of c.
    pub(crate) n: usize,
    /// Columns of a.
    pub(crate) k: usize,
    /// The stride is from a column to the next.
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: Matrix,
    pub(crate) add: bool,
}

/// Where the parts of a layer's weights are, counted from the first weight.
#[derive(Clone, Copy, Debug)]
struct LayerWeights {
    input: usize,
    hidden: usize,
    weight_ih: usize,
    weight_hh: usize,
    bias_ih: usize,
    bias_hh: usize,
}

/// What a layer keeps.
#[derive(Clone, Copy, Debug)]
struct LayerArrays {
    hidden: usize,
    gates: usize,
    carry: usize,
}

/// Where everything is.
pub(crate) struct Layout {
    shape: NetworkShape,
    past_steps: usize,
    future_steps: usize,
    encoder: Vec<LayerWeights>,
    decoder: Vec<LayerWeights>,
    dense_weight: usize,
    dense_bias: usize,
    /// Weights, with pads.
    pub(crate) elements: usize,
    past: usize,
    future: usize,
    predictions: usize,
    squares: usize,
    ones: usize,
    /// How many ones there are.
    pub(crate) num_ones: usize,
    layers: Vec<LayerArrays>,
    recurrent: usize,
    constant: usize,
    streams: [usize; 2],
    /// Floats of the arena.
    pub(crate) floats: usize,
}

/// Hands out the arena.
struct Space(usize);

impl Space {
    fn take(&mut self, floats: usize) -> usize {
        let at = self.0;
        self.0 = (at + floats).next_multiple_of(ALIGNMENT);
        at
    }
}

impl Layout {
    /// For batches of up to `batch` series.
    pub(crate) fn new(
        shape: &NetworkShape,
        past_steps: usize,
        future_steps: usize,
        batch: usize,
    ) -> Layout {
        let (hidden, outputs) = (&shape.hidden, shape.outputs);
        let top = hidden[hidden.len() - 1];
        let mut space = Space(0);
        let mut layers = |first_input: usize| -> Vec<LayerWeights> {
            let inputs = std::iter::once(first_input).chain(hidden.iter().copied());
            let weights = inputs.zip(hidden).map(|(input, &hidden)| LayerWeights {
                input,
                hidden,
                weight_ih: space.take(3 * hidden * input),
                weight_hh: space.take(3 * hidden * hidden),
                bias_ih: space.take(3 * hidden),
                bias_hh: space.take(3 * hidden),
            });
            weights.collect()
        };
        let encoder = layers(shape.features);
        let decoder = layers(match shape.decoder_input {
            DecoderInput::RepeatLast => top,
            DecoderInput::Zeros => shape.features,
        });
        let (dense_weight, dense_bias) = (space.take(outputs * top), space.take(outputs));
        let elements = space.0;
        space.take(3 * elements); // momentum, square, gradient

        let (steps, longest) = (past_steps + future_steps, past_steps.max(future_steps));
        let widest = hidden.iter().copied().max().unwrap_or(0);
        let past = space.take(past_steps * batch * shape.features);
        let [future, predictions, squares] =
            [(); 3].map(|()| space.take(future_steps * batch * outputs));
        let num_ones = longest * batch;
        let ones = space.take(num_ones);
        let layers = hidden.iter().map(|&hidden| LayerArrays {
            hidden: space.take((steps + 1) * batch * hidden),
            gates: space.take(steps * batch * 4 * hidden),
            carry: space.take(batch * hidden),
        });
        let layers = layers.collect();
        let [recurrent, constant] = [(); 2].map(|()| space.take(batch * 3 * widest));
        let streams = [(); 2].map(|()| space.take(longest * batch * widest));
        Layout {
            shape: shape.clone(),
            past_steps,
            future_steps,
            encoder,
            decoder,
            dense_weight,
            dense_bias,
            elements,
            past,
            future,
            predictions,
            squares,
            ones,
            num_ones,
            layers,
            recurrent,
            constant,
            streams,
            floats: space.0,
        }
    }

    /// Where each of the flat weights is among the elements.
    pub(crate) fn places(&self) -> Vec<usize> {
        let mut places = Vec::new();
        for layer in self.encoder.iter().chain(&self.decoder) {
            let LayerWeights { input, hidden, weight_ih, weight_hh, bias_ih, bias_hh } = *layer;
            // Rows r, z, n to rows n, r, z.
            let row = |row: usize| (row + hidden) % (3 * hidden);
            let matrix = |(row, column)| weight_ih + row * input + column;
            let rows = (0..3 * hidden).map(row);
            places.extend(rows.flat_map(|r| (0..input).map(move |c| (r, c))).map(matrix));
            places.extend(weight_hh..weight_hh + 3 * hidden * hidden);
            places.extend((0..3 * hidden).map(|r| bias_ih + row(r)));
            places.extend(bias_hh..bias_hh + 3 * hidden);
        }
        let outputs = self.shape.outputs;
        places.extend(self.dense_weight..self.dense_weight + outputs * self.top());
        places.extend(self.dense_bias..self.dense_bias + outputs);
        places
    }

    /// Where the optimiser's m and v begin, and the gradient.
    pub(crate) fn momentum(&self) -> usize {
        self.elements
    }

    pub(crate) fn square(&self) -> usize {
        2 * self.elements
    }

    pub(crate) fn gradient(&self) -> usize {
        3 * self.elements
    }

    /// Where the ones are, which nothing changes. All else but the weights starts as zeros.
    pub(crate) fn ones(&self) -> usize {
        self.ones
    }

    fn top(&self) -> usize {
        self.shape.hidden[self.shape.hidden.len() - 1]
    }

    /// The operations of a step on `batch` series, with or without the length of the gradient.
    pub(crate) fn step(&self, batch: usize, clip: bool) -> Vec<Operation> {
        let mut list = List { layout: self, batch, operations: Vec::new() };
        list.gather();
        list.forward();
        list.errors();
        list.backward();
        list.update(clip);
        list.operations
    }
}

/// One of the two halves of the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Encoder,
    Decoder,
}

struct List<'a> {
    layout: &'a Layout,
    batch: usize,
    operations: Vec<Operation>,
}

impl<'a> List<'a> {
    fn kernel<const N: usize>(&mut self, name: &'static str, threads: usize, given: [i64; N]) {
        let mut numbers = [0; 12];
        numbers[..N].copy_from_slice(&given);
        self.operations.push(Operation::Kernel { name, threads, numbers });
    }

    /// a (rows, depth) · b (depth, columns). Read by columns, a matrix of rows is its transpose: so this is
    /// toᵀ = bᵀ·aᵀ.
    fn product(
        &mut self,
        [rows, depth, columns]: [usize; 3],
        a: Matrix,
        b: Matrix,
        to: Matrix,
        add: bool,
    ) {
        let (m, n, k) = (columns, rows, depth);
        self.operations.push(Operation::Product(Gemm { m, n, k, a: b, b: a, c: to, add }));
    }

    fn side(&self, side: Side) -> (&'a [LayerWeights], usize, usize) {
        let Layout { encoder, decoder, past_steps, future_steps, .. } = self.layout;
        match side {
            Side::Encoder => (encoder, 0, *past_steps),
            Side::Decoder => (decoder, *past_steps, *future_steps),
        }
    }

    /// The states of a layer before step `row` of both sides, and the gates of that step.
    fn hidden(&self, l: usize, row: usize) -> usize {
        self.layout.layers[l].hidden + row * self.batch * self.layout.shape.hidden[l]
    }

    fn gates(&self, l: usize, row: usize) -> usize {
        self.layout.layers[l].gates + row * self.batch * 4 * self.layout.shape.hidden[l]
    }

    /// The last states of the encoder's last layer.
    fn context(&self) -> usize {
        self.hidden(self.layout.layers.len() - 1, self.layout.past_steps)
    }

    /// What the layer reads at all steps, (T·B, D), if it reads another row at each.
    fn input(&self, side: Side, l: usize) -> Option<Matrix> {
        let (_, first, _) = self.side(side);
        match (l.checked_sub(1), side) {
            (Some(below), _) => {
                Some(matrix(self.hidden(below, first + 1), self.layout.shape.hidden[below]))
            }
            (None, Side::Encoder) => Some(matrix(self.layout.past, self.layout.shape.features)),
            (None, Side::Decoder) => None,
        }
    }

    fn gather(&mut self) {
        let Layout { shape, past_steps, future_steps, past, future, .. } = self.layout;
        let numbers =
            [self.batch, *past_steps, shape.features, *future_steps, shape.outputs, *past, *future];
        let values = past_steps * shape.features + future_steps * shape.outputs;
        self.kernel("gather", self.batch * values, numbers.map(number));
        for l in 0..shape.hidden.len() {
            let count = self.batch * shape.hidden[l];
            let numbers = [count, self.hidden(l, 0), self.layout.layers[l].carry];
            self.kernel("clear", count, numbers.map(number));
        }
    }

    fn forward(&mut self) {
        for side in [Side::Encoder, Side::Decoder] {
            for l in 0..self.layout.shape.hidden.len() {
                self.forward_layer(side, l);
            }
        }
    }

    fn forward_layer(&mut self, side: Side, l: usize) {
        let (weights, first, steps) = self.side(side);
        let LayerWeights { input: features, hidden: h, weight_ih, weight_hh, bias_ih, bias_hh } =
            weights[l];
        let (batch, recurrent) = (self.batch, self.layout.recurrent);
        let weight_ih = matrix(weight_ih, features).transposed();
        let weight_hh = matrix(weight_hh, h).transposed();
        // Where the input's part of the gates is at step t, and its stride.
        let (of_input, stride, from_step_to_step) = match self.input(side, l) {
            Some(x) => {
                let gates = matrix(self.gates(l, first), 4 * h);
                self.product([steps * batch, features, 3 * h], x, weight_ih, gates, false);
                (number(gates.at), 4 * h, batch * 4 * h)
            }
            None if self.layout.shape.decoder_input == DecoderInput::RepeatLast => {
                let (x, to) = (matrix(self.context(), features), self.layout.constant);
                self.product([batch, features, 3 * h], x, weight_ih, matrix(to, 3 * h), false);
                (number(to), 3 * h, 0)
            }
            None => (-1, 0, 0),
        };
        for t in 0..steps {
            let before = self.hidden(l, first + t);
            let product = matrix(recurrent, 3 * h);
            self.product([batch, h, 3 * h], matrix(before, h), weight_hh, product, false);
            let input = if of_input < 0 { -1 } else { of_input + number(t * from_step_to_step) };
            let (gates, after) = (self.gates(l, first + t), self.hidden(l, first + t + 1));
            let [stride, recurrent, bias_ih, bias_hh, before, gates, after] =
                [stride, recurrent, bias_ih, bias_hh, before, gates, after].map(number);
            let [b, units] = [batch, h].map(number);
            let numbers =
                [b, units, input, stride, recurrent, bias_ih, bias_hh, before, gates, after];
            self.kernel("gates_forward", batch * h, numbers);
        }
    }

    fn errors(&mut self) {
        let Layout { ref shape, future_steps, predictions, future, squares, .. } = *self.layout;
        let (outputs, top) = (shape.outputs, self.layout.top());
        let rows = future_steps * self.batch;
        let states = self.hidden(self.layout.layers.len() - 1, self.layout.past_steps + 1);
        let weight = matrix(self.layout.dense_weight, top).transposed();
        let to = matrix(predictions, outputs);
        self.product([rows, top, outputs], matrix(states, top), weight, to, false);
        let bias = self.layout.dense_bias;
        let numbers = [rows * outputs, outputs, predictions, future, bias, squares].map(number);
        self.kernel("errors", rows * outputs, numbers);
        self.sum(squares, rows * outputs, false, SQUARED_ERRORS);
        self.kernel("report_loss", 1, [number(SQUARED_ERRORS)]);
    }

    /// The sum of so many floats, or of their squares.
    fn sum(&mut self, at: usize, count: usize, squared: bool, to: usize) {
        let [many, few] = STAGES;
        let numbers = [many, at, count, 0, usize::from(squared)].map(number);
        self.kernel("partial_sums", many, numbers);
        self.kernel("sums_of_sums", few, [few, 0, many, many].map(number));
        self.kernel("sums_of_sums", 1, [1, many, few, to].map(number));
    }

    fn backward(&mut self) {
        let Layout { ref shape, future_steps, predictions, dense_weight, dense_bias, .. } =
            *self.layout;
        let (outputs, top, rows) = (shape.outputs, self.layout.top(), future_steps * self.batch);
        let last = shape.hidden.len() - 1;
        let states = matrix(self.hidden(last, self.layout.past_steps + 1), top);
        let (errors, weight) = (matrix(predictions, outputs), matrix(dense_weight, top));
        let [mut upstream, mut downstream] = self.layout.streams;
        self.product([rows, outputs, top], errors, weight, matrix(upstream, top), false);
        let to = self.of_weight(dense_weight, top);
        self.product([outputs, rows, top], errors.transposed(), states, to, false);
        self.sum_of_rows(errors, rows, outputs, dense_bias);
        for side in [Side::Decoder, Side::Encoder] {
            for l in (0..=last).rev() {
                // Of the encoder's last layer nothing but the last state was used.
                let given = (side == Side::Decoder || l < last).then_some(upstream);
                self.backward_layer(side, l, given, downstream);
                std::mem::swap(&mut upstream, &mut downstream);
            }
        }
    }

    fn backward_layer(&mut self, side: Side, l: usize, upstream: Option<usize>, to: usize) {
        let (weights, first, steps) = self.side(side);
        let LayerWeights { input: features, hidden: h, weight_ih, weight_hh, bias_ih, bias_hh } =
            weights[l];
        let (batch, carry) = (self.batch, self.layout.layers[l].carry);
        for t in (0..steps).rev() {
            let (gates, before) = (self.gates(l, first + t), self.hidden(l, first + t));
            let upstream = upstream.map_or(-1, |upstream| number(upstream + t * batch * h));
            let [b, units, at, before, carried] = [batch, h, gates, before, carry].map(number);
            self.kernel("gates_backward", batch * h, [b, units, at, before, upstream, carried]);
            let gates = matrix(gates + h, 4 * h);
            let shape = [batch, 3 * h, h];
            self.product(shape, gates, matrix(weight_hh, h), matrix(carry, h), true);
        }

        let rows = steps * batch;
        let gates = matrix(self.gates(l, first), 4 * h);
        let of_hidden = matrix(gates.at + h, 4 * h);
        let before = matrix(self.hidden(l, first), h);
        let to_hh = self.of_weight(weight_hh, h);
        self.product([3 * h, rows, h], of_hidden.transposed(), before, to_hh, false);
        self.sum_of_rows(of_hidden, rows, 3 * h, bias_hh);
        self.sum_of_rows(gates, rows, 3 * h, bias_ih);
        let (weight, to_ih) = (matrix(weight_ih, features), self.of_weight(weight_ih, features));
        if let Some(x) = self.input(side, l) {
            self.product([3 * h, rows, features], gates.transposed(), x, to_ih, false);
            if l > 0 {
                self.product([rows, 3 * h, features], gates, weight, matrix(to, features), false);
            }
        } else if self.layout.shape.decoder_input == DecoderInput::RepeatLast {
            let (summed, context) = (self.layout.constant, self.context());
            let numbers = [batch, h, steps, gates.at, summed].map(number);
            self.kernel("sum_over_time", batch * 3 * h, numbers);
            let (summed, context) = (matrix(summed, 3 * h), matrix(context, features));
            self.product([3 * h, batch, features], summed.transposed(), context, to_ih, false);
            // The input is the last state of the encoder's last layer, whose gradient waits there.
            let carry = self.layout.layers[self.layout.layers.len() - 1].carry;
            self.product([batch, 3 * h, features], summed, weight, matrix(carry, features), true);
        }
    }

    /// The gradient of a matrix of weights.
    fn of_weight(&self, at: usize, stride: usize) -> Matrix {
        matrix(self.layout.gradient() + at, stride)
    }

    /// The gradient of a bias, from that of what it was added to.
    fn sum_of_rows(&mut self, of: Matrix, rows: usize, columns: usize, bias: usize) {
        let ones = matrix(self.layout.ones, rows);
        let to = self.of_weight(bias, columns);
        self.product([1, rows, columns], ones, of, to, false);
    }

    fn update(&mut self, clip: bool) {
        let layout = self.layout;
        let elements = layout.elements;
        if clip {
            self.sum(layout.gradient(), elements, true, SQUARED_LENGTH);
        }
        let places = [elements, 0, layout.momentum(), layout.square(), layout.gradient()];
        let [count, weights, momentum, square, gradient] = places.map(number);
        let length = if clip { number(SQUARED_LENGTH) } else { -1 };
        let numbers = [count, weights, momentum, square, gradient, length];
        self.kernel("descend", elements, numbers);
    }
}

/// As the kernels read it.
fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

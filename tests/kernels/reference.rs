//! The same computations in `f64`, as plainly as they can be written: one series, one step, one
//! unit at a time, every value kept.

/// A generator of test numbers (SplitMix64), so that a failure names a seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in −scale to scale.
    pub(crate) fn uniform(&mut self, scale: f64) -> f64 {
        scale * ((self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }
    /// Uniform, rounded to `f32`, so that both precisions start from the same numbers.
    pub(crate) fn vec(&mut self, len: usize, scale: f64) -> Vec<f32> {
        (0..len).map(|_| self.uniform(scale) as f32).collect()
    }
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.bits() % from.len() as u64) as usize]
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A GRU layer of one series: weights flat in PyTorch's order and shapes.
#[derive(Clone, Copy)]
pub(crate) struct Gru<'a> {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) weights: &'a [f64],
}

/// The gates of one step, and the state before it.
pub(crate) struct Saved {
    h: Vec<f64>,
    r: Vec<f64>,
    z: Vec<f64>,
    n: Vec<f64>,
    u: Vec<f64>,
}

impl Gru<'_> {
    pub(crate) fn num_weights(input: usize, hidden: usize) -> usize {
        3 * hidden * (input + hidden + 2)
    }
    fn ih(&self, row: usize, d: usize) -> usize {
        row * self.input + d
    }
    fn hh(&self, row: usize, k: usize) -> usize {
        3 * self.hidden * self.input + row * self.hidden + k
    }
    fn b_ih(&self, row: usize) -> usize {
        3 * self.hidden * (self.input + self.hidden) + row
    }
    fn b_hh(&self, row: usize) -> usize {
        self.b_ih(row) + 3 * self.hidden
    }

    /// States h(1) … h(T).
    pub(crate) fn forward(&self, x: &[Vec<f64>], h0: &[f64]) -> (Vec<Vec<f64>>, Vec<Saved>) {
        let size = self.hidden;
        let w = self.weights;
        let mut h = h0.to_vec();
        let (mut states, mut saved) = (vec![], vec![]);
        for x in x {
            let xw = |row: usize| {
                (0..self.input).map(|d| w[self.ih(row, d)] * x[d]).sum::<f64>() + w[self.b_ih(row)]
            };
            let hw = |row: usize| {
                (0..size).map(|k| w[self.hh(row, k)] * h[k]).sum::<f64>() + w[self.b_hh(row)]
            };
            let r: Vec<f64> = (0..size).map(|j| sigmoid(xw(j) + hw(j))).collect();
            let z: Vec<f64> = (0..size).map(|j| sigmoid(xw(size + j) + hw(size + j))).collect();
            let u: Vec<f64> = (0..size).map(|j| hw(2 * size + j)).collect();
            let n: Vec<f64> = (0..size).map(|j| (xw(2 * size + j) + r[j] * u[j]).tanh()).collect();
            let after: Vec<f64> = (0..size).map(|j| (1.0 - z[j]) * n[j] + z[j] * h[j]).collect();
            saved.push(Saved { h, r, z, n, u });
            h = after.clone();
            states.push(after);
        }
        (states, saved)
    }

    /// From the gradient of every state: that of the input, that of h0; adds that of the weights.
    pub(crate) fn backward(
        &self,
        x: &[Vec<f64>],
        saved: &[Saved],
        upstream: &[Vec<f64>],
        gradient: &mut [f64],
    ) -> (Vec<Vec<f64>>, Vec<f64>) {
        let size = self.hidden;
        let w = self.weights;
        let mut dh = vec![0.0; size];
        let mut dx = vec![vec![0.0; self.input]; x.len()];
        for t in (0..x.len()).rev() {
            let Saved { h, r, z, n, u } = &saved[t];
            let mut before = vec![0.0; size];
            for j in 0..size {
                let g = dh[j] + upstream[t][j];
                let dn = g * (1.0 - z[j]) * (1.0 - n[j] * n[j]);
                let dz = g * (h[j] - n[j]) * z[j] * (1.0 - z[j]);
                let dr = dn * u[j] * r[j] * (1.0 - r[j]);
                before[j] += g * z[j];
                for (row, of_x, of_h) in
                    [(j, dr, dr), (size + j, dz, dz), (2 * size + j, dn, dn * r[j])]
                {
                    for d in 0..self.input {
                        gradient[self.ih(row, d)] += of_x * x[t][d];
                        dx[t][d] += of_x * w[self.ih(row, d)];
                    }
                    for k in 0..size {
                        gradient[self.hh(row, k)] += of_h * h[k];
                        before[k] += of_h * w[self.hh(row, k)];
                    }
                    gradient[self.b_ih(row)] += of_x;
                    gradient[self.b_hh(row)] += of_h;
                }
            }
            dh = before;
        }
        (dx, dh)
    }
}

/// Layers, each with the place of its weights in the flat ones.
type Stack<'w> = Vec<(usize, Gru<'w>)>;

/// A stock encoder-decoder.
pub(crate) struct Seq2Seq<'a> {
    pub(crate) features: usize,
    pub(crate) outputs: usize,
    pub(crate) hidden: &'a [usize],
    pub(crate) repeat_last: bool,
}

impl Seq2Seq<'_> {
    fn top(&self) -> usize {
        self.hidden[self.hidden.len() - 1]
    }
    fn inputs(&self, first: usize) -> Vec<usize> {
        std::iter::once(first).chain(self.hidden.iter().copied()).take(self.hidden.len()).collect()
    }
    fn layers<'w>(&self, weights: &'w [f64]) -> (Stack<'w>, Stack<'w>, usize) {
        let mut at = 0;
        let mut stack = |first: usize| {
            self.inputs(first)
                .into_iter()
                .zip(self.hidden)
                .map(|(input, &hidden)| {
                    let start = at;
                    at += Gru::num_weights(input, hidden);
                    (start, Gru { input, hidden, weights: &weights[start..at] })
                })
                .collect::<Vec<_>>()
        };
        let encoder = stack(self.features);
        let decoder = stack(if self.repeat_last { self.top() } else { self.features });
        (encoder, decoder, at)
    }
    pub(crate) fn num_weights(&self) -> usize {
        let first = if self.repeat_last { self.top() } else { self.features };
        let stack = |first| -> usize {
            let layers = self.inputs(first).into_iter().zip(self.hidden);
            layers.map(|(input, &hidden)| Gru::num_weights(input, hidden)).sum()
        };
        stack(self.features) + stack(first) + self.outputs * (self.top() + 1)
    }

    /// Predictions of one series, (F, O); with `weight`, the sum of squared errors against
    /// `future` and, added to `gradient`, `weight` times its gradient.
    pub(crate) fn series(
        &self,
        weights: &[f64],
        past: &[f64],
        future: &[f64],
        steps: usize,
        scale: f64,
        gradient: Option<&mut [f64]>,
    ) -> (Vec<f64>, f64) {
        let (encoder, decoder, dense) = self.layers(weights);
        let past: Vec<Vec<f64>> = past.chunks(self.features).map(<[f64]>::to_vec).collect();
        let mut run = vec![];
        let mut x = past;
        for (_, layer) in &encoder {
            let (states, saved) = layer.forward(&x, &vec![0.0; layer.hidden]);
            run.push((x, saved));
            x = states;
        }
        let past_steps = x.len();
        let finals: Vec<Vec<f64>> = (0..encoder.len())
            .map(|l| {
                if l + 1 < run.len() { run[l + 1].0.last() } else { x.last() }.unwrap().clone()
            })
            .collect();
        let mut y = if self.repeat_last {
            vec![x.last().unwrap().clone(); steps]
        } else {
            vec![vec![0.0; self.features]; steps]
        };
        for ((_, layer), h0) in decoder.iter().zip(&finals) {
            let (states, saved) = layer.forward(&y, h0);
            run.push((y, saved));
            y = states;
        }
        let (top, outputs) = (self.top(), self.outputs);
        let head = &weights[dense..];
        let mut predictions = vec![];
        for y in &y {
            for o in 0..outputs {
                let product: f64 = (0..top).map(|k| head[o * top + k] * y[k]).sum();
                predictions.push(product + head[outputs * top + o]);
            }
        }
        let errors: Vec<f64> = predictions.iter().zip(future).map(|(a, b)| a - b).collect();
        let squares = errors.iter().map(|e| e * e).sum();
        let Some(gradient) = gradient else {
            return (predictions, squares);
        };

        let mut upstream = vec![vec![0.0; top]; steps];
        for t in 0..steps {
            for o in 0..outputs {
                let e = 2.0 * scale * errors[t * outputs + o];
                for k in 0..top {
                    gradient[dense + o * top + k] += e * y[t][k];
                    upstream[t][k] += e * head[o * top + k];
                }
                gradient[dense + outputs * top + o] += e;
            }
        }
        let layers = encoder.len();
        let mut last_gradient = vec![vec![]; layers];
        for l in (0..layers).rev() {
            let (start, layer) = &decoder[l];
            let (x, saved) = &run[layers + l];
            let part = &mut gradient[*start..*start + layer.weights.len()];
            let (dx, dh) = layer.backward(x, saved, &upstream, part);
            last_gradient[l] = dh;
            upstream = dx;
        }
        if self.repeat_last {
            for dx in &upstream {
                for (to, from) in last_gradient[layers - 1].iter_mut().zip(dx) {
                    *to += from;
                }
            }
        }
        let mut upstream = vec![vec![0.0; top]; past_steps];
        for l in (0..layers).rev() {
            for (to, from) in upstream[past_steps - 1].iter_mut().zip(&last_gradient[l]) {
                *to += from;
            }
            let (start, layer) = &encoder[l];
            let (x, saved) = &run[l];
            let part = &mut gradient[*start..*start + layer.weights.len()];
            upstream = layer.backward(x, saved, &upstream, part).0;
        }
        (predictions, squares)
    }
}

/// Asserts that the two agree to `tolerance` times the largest expected value.
pub(crate) fn assert_close(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - e).abs();
        assert!(
            error <= tolerance * largest,
            "{name}[{i}]: {a} for {e}, an error of {:e} of the largest, {largest}",
            error / largest
        );
    }
}

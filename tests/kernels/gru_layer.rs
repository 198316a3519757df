//! One GRU layer against the plain reference in `f64`, and against PyTorch.

use crate::reference::{Gru, Numbers, assert_close, wide};
use seq2seq::kernels::level::Level;
use seq2seq::kernels::recurrent::{CellKind, Input, RecurrentStack, States, Upstream};

const SIZES: [usize; 13] = [1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 100];

#[test]
fn outputs_and_gradients_equal_the_reference() {
    for seed in 0..120 {
        let mut numbers = Numbers(seed);
        let (input, hidden) = (numbers.pick(&SIZES), numbers.pick(&SIZES));
        let (batch, steps) = (numbers.pick(&SIZES), numbers.pick(&SIZES[..11]));
        if batch * steps * hidden * (input + hidden) > 4_000_000 {
            continue;
        }
        let scale = 1.5 / (hidden as f64).sqrt();
        let weights = numbers.vec(Gru::num_weights(input, hidden), scale);
        let x = numbers.vec(batch * steps * input, 1.0);
        let initial = (seed % 3 > 0).then(|| numbers.vec(batch * hidden, 0.9));
        let upstream = numbers.vec(batch * steps * hidden, 1.0);

        let wide_weights = wide(&weights);
        let layer = Gru { input, hidden, weights: &wide_weights };
        let rows = |values: &[f32], b: usize, size: usize| -> Vec<Vec<f64>> {
            let series = &values[b * steps * size..][..steps * size];
            series.chunks(size).map(wide).collect()
        };
        let (mut output, mut dx, mut dh) = (vec![], vec![], vec![]);
        let mut gradient = vec![0.0; weights.len()];
        for b in 0..batch {
            let x = rows(&x, b, input);
            let h0 = match &initial {
                Some(initial) => wide(&initial[b * hidden..][..hidden]),
                None => vec![0.0; hidden],
            };
            let (states, saved) = layer.forward(&x, &h0);
            output.extend(states.concat());
            let upstream = rows(&upstream, b, hidden);
            let (of_x, of_h) = layer.backward(&x, &saved, &upstream, &mut gradient);
            dx.extend(of_x.concat());
            dh.extend(of_h);
        }

        for level in Level::available() {
            let name = format!("seed {seed}, {level:?}, D {input} H {hidden} B {batch} T {steps}");
            let stack = RecurrentStack::new(CellKind::Gru, input, &[hidden], level);
            let first = States { hidden: initial.as_deref(), cell: None };
            let (actual, saved) =
                stack.forward(&weights, Input::Sequence(&x), &[first], batch, true);
            assert_close(&format!("{name}, output"), &actual.every_step, &output, 1e-5);
            let upstream = Upstream { every_step: Some(&upstream), last: &[] };
            let mut of_x = (seed % 2 == 0).then(|| vec![0.0; x.len()]);
            let actual = stack.backward(saved, upstream, of_x.as_deref_mut());
            assert_close(&format!("{name}, weights"), &actual.weights, &gradient, 1e-5);
            assert_close(&format!("{name}, initial"), &actual.initial[0].hidden, &dh, 1e-5);
            if let Some(of_x) = of_x {
                assert_close(&format!("{name}, input"), &of_x, &dx, 1e-5);
            }
        }
    }
}

/// Numbers from `tests/golden/gru.py`.
#[test]
fn outputs_and_gradients_equal_pytorch() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/gru.json")).expect("golden numbers");
    for case in golden.as_array().expect("a list of cases") {
        let size = |name: &str| case[name].as_u64().expect("a size") as usize;
        let wide = |name: &str| -> Vec<f64> {
            let values = case[name].as_array().expect("a list");
            values.iter().map(|v| v.as_f64().expect("a number")).collect()
        };
        let vec = |name: &str| -> Vec<f32> { wide(name).iter().map(|&v| v as f32).collect() };
        for level in Level::available() {
            let stack = RecurrentStack::new(CellKind::Gru, size("input"), &[size("hidden")], level);
            let (initial, x) = (vec("h0"), vec("x"));
            let initial = [States { hidden: Some(&initial), cell: None }];
            let (outputs, saved) =
                stack.forward(&vec("weights"), Input::Sequence(&x), &initial, size("batch"), true);
            assert_close("output", &outputs.every_step, &wide("output"), 1e-5);
            let upstream = vec("upstream");
            let upstream = Upstream { every_step: Some(&upstream), last: &[] };
            let mut of_x = vec![0.0; x.len()];
            let actual = stack.backward(saved, upstream, Some(&mut of_x));
            assert_close("weights", &actual.weights, &wide("d_weights"), 1e-5);
            assert_close("input", &of_x, &wide("d_x"), 1e-5);
            assert_close("initial", &actual.initial[0].hidden, &wide("d_h0"), 1e-5);
        }
    }
}

//! The fused training step against the plain reference in `f64`.

use crate::reference::{Numbers, Seq2Seq, assert_close, wide};
use seq2seq::kernels::DecoderInput;
use seq2seq::kernels::level::Level;
use seq2seq::kernels::optimizer::{Optimizer, Settings};
use seq2seq::kernels::recurrent::CellKind;
use seq2seq::kernels::seq2seq::{Loss, Network, NetworkShape, TrainStep, Windows};

const SIZES: [usize; 10] = [1, 2, 3, 5, 7, 8, 13, 16, 17, 33];

struct Case {
    shape: NetworkShape,
    weights: Vec<f32>,
    past: Vec<f32>,
    future: Vec<f32>,
    past_steps: usize,
    future_steps: usize,
    batch: Vec<usize>,
    loss: Loss,
}

fn case(seed: u64) -> Case {
    let mut numbers = Numbers(seed);
    let layers = numbers.pick(&[1, 1, 2, 3]);
    let shape = NetworkShape {
        cell: CellKind::Gru,
        features: numbers.pick(&[1, 2, 3, 8]),
        outputs: numbers.pick(&[1, 2, 7]),
        hidden: (0..layers).map(|_| numbers.pick(&SIZES)).collect(),
        decoder_input: numbers.pick(&[DecoderInput::RepeatLast, DecoderInput::Zeros]),
    };
    let (past_steps, future_steps) = (numbers.pick(&SIZES[..7]), numbers.pick(&SIZES[..7]));
    let series = numbers.pick(&[1, 2, 3, 7, 8, 9, 16, 17, 31, 33, 100]);
    let rows = 40;
    Case {
        weights: numbers.vec(shape.num_weights(), 0.7),
        past: numbers.vec(rows * past_steps * shape.features, 1.5),
        future: numbers.vec(rows * future_steps * shape.outputs, 1.5),
        batch: (0..series).map(|_| (numbers.bits() % rows as u64) as usize).collect(),
        loss: numbers.pick(&[Loss::HalfSum, Loss::Mean]),
        shape,
        past_steps,
        future_steps,
    }
}

impl Case {
    fn step(&self, level: Level) -> TrainStep {
        TrainStep::new(
            self.shape.clone(),
            self.weights.clone(),
            self.past_steps,
            self.future_steps,
            self.loss,
            Settings { weight_decay: 0.01, ..Settings::default() },
            level,
        )
    }
    fn windows(&self) -> Windows<'_> {
        Windows { past: &self.past, future: &self.future }
    }
}

/// Loss, gradient and the predictions of the batch.
fn expected(case: &Case, weights: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
    let model = Seq2Seq {
        features: case.shape.features,
        outputs: case.shape.outputs,
        hidden: &case.shape.hidden,
        repeat_last: case.shape.decoder_input == DecoderInput::RepeatLast,
    };
    assert_eq!(model.num_weights(), weights.len());
    let (past, future) = (wide(&case.past), wide(&case.future));
    let p = case.past_steps * case.shape.features;
    let f = case.future_steps * case.shape.outputs;
    let scale = match case.loss {
        Loss::HalfSum => 0.5 / case.batch.len() as f64,
        Loss::Mean => 1.0 / (case.batch.len() * f) as f64,
    };
    let mut gradient = vec![0.0; weights.len()];
    let (mut loss, mut outputs) = (0.0, vec![Vec::new(); past.len() / p]);
    for (i, output) in outputs.iter_mut().enumerate() {
        // A series that is in the batch several times counts as often.
        let scale = scale * case.batch.iter().filter(|&&series| series == i).count() as f64;
        if scale > 0.0 {
            let (past, future) = (&past[i * p..][..p], &future[i * f..][..f]);
            let (steps, gradient) = (case.future_steps, Some(&mut gradient[..]));
            let (out, squares) = model.series(weights, past, future, steps, scale, gradient);
            loss += scale * squares;
            *output = out;
        }
    }
    let predictions = case.batch.iter().flat_map(|&i| outputs[i].iter().copied()).collect();
    (loss, gradient, predictions)
}

/// A layer so large that its gates are computed one after the other (from 171 units on), that a gate is
/// cut into parts (from 513 on), and a batch of more tiles than there are gradients (600), on threads
/// that share tiles.
fn large(hidden: usize, batch: usize) -> Case {
    let mut numbers = Numbers((hidden * batch) as u64);
    let shape = NetworkShape {
        cell: CellKind::Gru,
        features: 2,
        outputs: 3,
        hidden: vec![hidden],
        decoder_input: DecoderInput::RepeatLast,
    };
    let rows = 12;
    Case {
        weights: numbers.vec(shape.num_weights(), 2.0 / (hidden as f64).sqrt()),
        past: numbers.vec(rows * 2 * shape.features, 1.5),
        future: numbers.vec(rows * 2 * shape.outputs, 1.5),
        batch: (0..batch).map(|i| (i * i + i / 7) % rows).collect(),
        loss: Loss::HalfSum,
        shape,
        past_steps: 2,
        future_steps: 2,
    }
}

#[test]
fn large_layers_equal_the_reference_on_any_number_of_threads() {
    for hidden in [171, 180, 513] {
        for batch in [33, 100, 600] {
            let case = large(hidden, batch);
            let (loss, gradient, predictions) = expected(&case, &wide(&case.weights));
            let p = case.past_steps * case.shape.features;
            let past: Vec<f32> =
                case.batch.iter().flat_map(|&i| case.past[i * p..][..p].to_vec()).collect();
            for level in Level::available() {
                let mut on_one_thread = None;
                for threads in [1, 2, 5] {
                    let name = format!("H {hidden}, B {batch}, {level}, {threads} threads");
                    let (actual, found, predicted) = pool(threads).install(|| {
                        let mut step = case.step(level);
                        let loss = step.compute_gradient(case.windows(), &case.batch);
                        let network = Network::new(case.shape.clone(), &case.weights, level);
                        let predicted = network.predict(&past, case.past_steps, case.future_steps);
                        (loss, step.gradient().to_vec(), predicted)
                    });
                    assert_close(&format!("{name}, loss"), &[actual as f32], &[loss], 2e-6);
                    assert_close(&format!("{name}, gradient"), &found, &gradient, 1e-5);
                    assert_close(&format!("{name}, predictions"), &predicted, &predictions, 1e-5);
                    let bits = (actual, found, predicted);
                    assert!(*on_one_thread.get_or_insert_with(|| bits.clone()) == bits, "{name}");
                }
            }
        }
    }
}

pub(crate) fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn loss_gradient_and_predictions_equal_the_reference() {
    for seed in 0..150 {
        let case = case(seed);
        let (loss, gradient, predictions) = expected(&case, &wide(&case.weights));
        let p = case.past_steps * case.shape.features;
        let past: Vec<f32> =
            case.batch.iter().flat_map(|&i| case.past[i * p..][..p].to_vec()).collect();
        for level in Level::available() {
            let name = format!("seed {seed}, {level:?}, {:?}", case.shape);
            let mut step = case.step(level);
            let actual = step.compute_gradient(case.windows(), &case.batch);
            assert_close(&format!("{name}, loss"), &[actual as f32], &[loss], 2e-6);
            assert_close(&format!("{name}, gradient"), step.gradient(), &gradient, 1e-5);
            let network = Network::new(case.shape.clone(), &case.weights, level);
            let actual = network.predict(&past, case.past_steps, case.future_steps);
            assert_close(&format!("{name}, predictions"), &actual, &predictions, 1e-5);
        }
    }
}

/// The reference itself: its gradient is the slope of its loss.
#[test]
fn reference_gradient_is_the_central_difference() {
    for seed in 1000..1012 {
        let mut case = case(seed);
        case.batch.truncate(3);
        let mut weights = wide(&case.weights);
        let (_, gradient, _) = expected(&case, &weights);
        let largest = gradient.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let mut numbers = Numbers(seed);
        for _ in 0..40 {
            let i = (numbers.bits() % weights.len() as u64) as usize;
            let (w, e) = (weights[i], 1e-5);
            weights[i] = w + e;
            let above = expected(&case, &weights).0;
            weights[i] = w - e;
            let below = expected(&case, &weights).0;
            weights[i] = w;
            let slope = (above - below) / (2.0 * e);
            let error = (slope - gradient[i]).abs();
            assert!(
                error < 1e-7 * largest.max(1.0),
                "seed {seed}, weight {i}: {slope} {}",
                gradient[i]
            );
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for level in Level::available() {
        for seed in [3, 14, 15, 92] {
            let mut case = case(seed);
            case.batch = (0..100).map(|i| i % 40).collect();
            let train = |threads| {
                pool(threads).install(|| {
                    let mut step = case.step(level);
                    step.settings.clip_norm = Some(0.3);
                    let losses: Vec<f64> =
                        (0..20).map(|i| step.train(case.windows(), &case.batch[i..])).collect();
                    (losses, step.weights().to_vec())
                })
            };
            let one = train(1);
            assert_eq!(one, train(2));
            assert_eq!(one, train(3));
        }
    }
}

/// Adam in `f64`, PyTorch's formula, for a few steps on the reference's gradients.
#[test]
fn training_follows_the_reference() {
    for seed in 200..206 {
        let case = case(seed);
        let mut weights = wide(&case.weights);
        let (mut m, mut v) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        let mut step = case.step(Level::best());
        for t in 1..=10 {
            let (loss, gradient, _) = expected(&case, &weights);
            for (i, w) in weights.iter_mut().enumerate() {
                let g = gradient[i] + f64::from(0.01_f32) * *w;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (c1, c2) = (1.0 - 0.9_f64.powi(t), 1.0 - 0.999_f64.powi(t));
                *w -= 1e-3 / c1 * m[i] / ((v[i] / c2).sqrt() + 1e-7);
            }
            let actual = step.train(case.windows(), &case.batch);
            assert_close(&format!("seed {seed}, loss {t}"), &[actual as f32], &[loss], 1e-4);
        }
        assert_close("weights", step.weights(), &weights, 2e-3);
    }
}

/// Numbers from `tests/golden/seq2seq.py`.
#[test]
fn predictions_gradient_and_training_equal_pytorch() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/seq2seq.json")).expect("golden numbers");
    for case in golden.as_array().expect("a list of cases") {
        let size = |name: &str| case[name].as_u64().expect("a size") as usize;
        let flag = |name: &str| case[name].as_bool().expect("a flag");
        let wide = |name: &str| -> Vec<f64> {
            let values = case[name].as_array().expect("a list");
            values.iter().map(|v| v.as_f64().expect("a number")).collect()
        };
        let vec = |name: &str| -> Vec<f32> { wide(name).iter().map(|&v| v as f32).collect() };
        let shape = NetworkShape {
            cell: CellKind::Gru,
            features: size("features"),
            outputs: size("outputs"),
            hidden: wide("hidden").iter().map(|&h| h as usize).collect(),
            decoder_input: if flag("repeat_last") {
                DecoderInput::RepeatLast
            } else {
                DecoderInput::Zeros
            },
        };
        let optimizer = match case["optimizer"].as_str().expect("a name") {
            "Adam" => Optimizer::Adam,
            "RmsProp" => Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
            "Sgd" => Optimizer::Sgd { momentum: 0.9 },
            other => panic!("{other}"),
        };
        let settings = Settings {
            optimizer,
            learning_rate: 0.01,
            weight_decay: case["weight_decay"].as_f64().expect("a factor") as f32,
            clip_norm: case["clip_norm"].as_f64(),
        };
        let loss = if flag("half_sum") { Loss::HalfSum } else { Loss::Mean };
        let (past, future) = (vec("x"), vec("y"));
        let windows = Windows { past: &past, future: &future };
        let batch: Vec<usize> = (0..size("batch")).collect();
        let (p, f) = (size("past_steps"), size("future_steps"));
        for level in Level::available() {
            let network = Network::new(shape.clone(), &vec("weights"), level);
            let output = network.predict(&past, p, f);
            assert_close("output", &output, &wide("output"), 1e-5);
            let weights = vec("weights");
            let mut step = TrainStep::new(shape.clone(), weights, p, f, loss, settings, level);
            step.compute_gradient(windows, &batch);
            assert_close("gradient", step.gradient(), &wide("gradient"), 1e-5);
            for (t, expected) in wide("losses").into_iter().enumerate() {
                let actual = step.train(windows, &batch) as f32;
                assert_close(&format!("loss {t}"), &[actual], &[expected], 2e-5);
            }
            assert_close("trained", step.weights(), &wide("trained"), 1e-4);
        }
    }
}

//! Encoder-decoders of every kind of cell against their two stacks one after the other, and dropout.

use crate::reference::{Numbers, assert_close, wide};
use crate::seq2seq_step::pool;
use seq2seq::kernels::DecoderInput;
use seq2seq::kernels::level::Level;
use seq2seq::kernels::optimizer::Settings;
use seq2seq::kernels::recurrent::{CellKind, Input, RecurrentStack, States, Upstream};
use seq2seq::kernels::seq2seq::{Dropout, Loss, Network, NetworkShape, TrainStep, Windows};

const KINDS: [CellKind; 3] = [CellKind::SimpleRnn, CellKind::Gru, CellKind::Lstm];

struct Case {
    shape: NetworkShape,
    weights: Vec<f32>,
    /// Steps of past and future.
    steps: [usize; 2],
    series: usize,
    past: Vec<f32>,
    future: Vec<f32>,
}

impl Case {
    fn random(seed: u64, cell: CellKind, hidden: &[usize]) -> Self {
        let mut numbers = Numbers(seed);
        let [features, outputs, past, future] = [(); 4].map(|()| numbers.pick(&[1, 2, 3, 5]));
        let decoder_input = numbers.pick(&[DecoderInput::RepeatLast, DecoderInput::Zeros]);
        let hidden = hidden.to_vec();
        let shape = NetworkShape { cell, features, outputs, hidden, decoder_input };
        let series = numbers.pick(&[1, 7, 16, 33, 100]);
        Case {
            weights: numbers.vec(shape.num_weights(), 0.6),
            steps: [past, future],
            series,
            past: numbers.vec(series * past * features, 1.0),
            future: numbers.vec(series * future * outputs, 1.0),
            shape,
        }
    }

    fn step(&self, weights: &[f32], level: Level) -> TrainStep {
        let [past, future] = self.steps;
        let settings = Settings::default();
        let (shape, weights) = (self.shape.clone(), weights.to_vec());
        TrainStep::new(shape, weights, past, future, Loss::HalfSum, settings, level)
    }

    /// The loss, the predictions and the gradient, from two stacks.
    fn expected(&self, level: Level) -> (f64, Vec<f32>, Vec<f32>) {
        let NetworkShape { cell, features, outputs, ref hidden, decoder_input } = self.shape;
        let (top, series, [_, steps]) = (hidden[hidden.len() - 1], self.series, self.steps);
        let repeat = decoder_input == DecoderInput::RepeatLast;
        let encoder = RecurrentStack::new(cell, features, hidden, level);
        let read = if repeat { top } else { features };
        let decoder = RecurrentStack::new(cell, read, hidden, level).with_head(outputs);
        let (of_encoder, of_decoder) = self.weights.split_at(encoder.num_weights());

        let past = Input::Sequence(&self.past);
        let (states, saved_encoder) = encoder.forward(of_encoder, past, &[], series, false);
        let carried = |cell: &[f32]| (!cell.is_empty()).then(|| cell.to_vec());
        let last: Vec<_> =
            states.last.iter().map(|s| (s.hidden.clone(), carried(&s.cell))).collect();
        let initial: Vec<_> = last
            .iter()
            .map(|(hidden, cell)| States { hidden: Some(hidden), cell: cell.as_deref() })
            .collect();
        let zeros = vec![0.0; series * steps * features];
        let input = match repeat {
            true => Input::Repeated(&last[last.len() - 1].0, steps),
            false => Input::Sequence(&zeros),
        };
        let (predictions, saved) = decoder.forward(of_decoder, input, &initial, series, true);
        let predictions = predictions.every_step;

        let errors = predictions.iter().zip(&self.future).map(|(p, f)| p - f);
        let of_predictions: Vec<f32> = errors.clone().map(|e| e / series as f32).collect();
        let loss = errors.map(|e| 0.5 * f64::from(e).powi(2)).sum::<f64>() / series as f64;
        let mut of_context = vec![0.0; series * top];
        let upstream = Upstream { every_step: Some(&of_predictions), last: &[] };
        let of_input = repeat.then_some(&mut of_context[..]);
        let of_decoder = decoder.backward(saved, upstream, of_input);
        let mut of_states: Vec<_> =
            of_decoder.initial.iter().map(|s| (s.hidden.clone(), carried(&s.cell))).collect();
        let of_top = &mut of_states.last_mut().unwrap().0;
        of_top.iter_mut().zip(&of_context).for_each(|(to, from)| *to += from);
        let of_states: Vec<_> = of_states
            .iter()
            .map(|(hidden, cell)| States { hidden: Some(hidden), cell: cell.as_deref() })
            .collect();
        let upstream = Upstream { every_step: None, last: &of_states };
        let of_encoder = encoder.backward(saved_encoder, upstream, None);
        (loss, predictions, [of_encoder.weights, of_decoder.weights].concat())
    }
}

#[test]
fn a_network_is_two_stacks_of_any_kind() {
    for seed in 0..30 {
        for cell in KINDS {
            // Rows of the last one's weights are read in parts.
            let large: &[&[usize]] = if seed < 2 { &[&[260, 300]] } else { &[] };
            for hidden in [&[3][..], &[8, 8], &[5, 17, 2]].into_iter().chain(large.iter().copied())
            {
                let case = Case::random(seed, cell, hidden);
                let order: Vec<usize> = (0..case.series).collect();
                for level in Level::available() {
                    let name = format!("seed {seed}, {level}, {:?}", case.shape);
                    let (loss, predictions, gradient) = case.expected(level);
                    let mut step = case.step(&case.weights, level);
                    let windows = Windows { past: &case.past, future: &case.future };
                    let found = step.compute_gradient(windows, &order);
                    assert_close(&format!("{name}, loss"), &[found as f32], &[loss], 1e-6);
                    let what = format!("{name}, gradient");
                    assert_close(&what, step.gradient(), &wide(&gradient), 1e-5);
                    let network = Network::new(case.shape.clone(), &case.weights, level);
                    let [past, future] = case.steps;
                    assert_eq!(network.predict(&case.past, past, future), predictions, "{name}");
                }
            }
        }
    }
}

/// The derivative of the loss along a random direction, by central differences: the draws are those of the
/// step, whatever the weights.
#[test]
fn with_dropout_the_gradient_is_the_slope_of_the_loss() {
    for cell in KINDS {
        for seed in 0..8 {
            let case = Case::random(seed, cell, &[6, 9, 4]);
            let order: Vec<usize> = (0..case.series).collect();
            let windows = Windows { past: &case.past, future: &case.future };
            let dropout = Dropout { rate: 0.4, seed };
            let step = |weights: &[f32]| case.step(weights, Level::best()).with_dropout(dropout);
            let mut exact = step(&case.weights);
            exact.compute_gradient(windows, &order);
            let direction = Numbers(seed + 100).vec(case.weights.len(), 1.0);
            let pairs = exact.gradient().iter().zip(&direction);
            let slope: f64 = pairs.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let at = |e: f32| {
                let moved: Vec<f32> =
                    case.weights.iter().zip(&direction).map(|(w, d)| w + e * d).collect();
                step(&moved).compute_gradient(windows, &order)
            };
            let e = 2e-3;
            let found = (at(e) - at(-e)) / (2.0 * f64::from(e));
            let allowed = 2e-3 * slope.abs().max(1.0);
            assert!((found - slope).abs() < allowed, "{cell:?}, seed {seed}: {found}, not {slope}");
        }
    }
}

#[test]
fn dropout_depends_on_seed_and_step_alone() {
    let case = Case { series: 100, ..Case::random(3, CellKind::Gru, &[8, 8]) };
    let mut numbers = Numbers(9);
    let [past, future] = case.steps;
    let past = numbers.vec(100 * past * case.shape.features, 1.0);
    let future = numbers.vec(100 * future * case.shape.outputs, 1.0);
    let windows = Windows { past: &past, future: &future };
    let order: Vec<usize> = (0..100).collect();
    let losses = |level, dropout: Option<Dropout>| {
        let step = case.step(&case.weights, level);
        let mut step = match dropout {
            Some(dropout) => step.with_dropout(dropout),
            None => step,
        };
        [(); 2].map(|()| step.train(windows, &order))
    };
    let dropout = Dropout { rate: 0.5, seed: 1 };
    let expected = losses(Level::best(), Some(dropout));
    for level in Level::available() {
        let found = losses(level, Some(dropout)).map(|loss| loss as f32);
        assert_close(&format!("{level}"), &found, &expected, 1e-5);
    }
    for threads in [1, 2, 5] {
        let found = pool(threads).install(|| losses(Level::best(), Some(dropout)));
        assert_eq!(found, expected, "{threads} threads");
    }
    assert_ne!(losses(Level::best(), Some(Dropout { seed: 2, ..dropout })), expected);
    assert_ne!(losses(Level::best(), None), expected);
    let none = losses(Level::best(), Some(Dropout { rate: 0.0, ..dropout }));
    assert_eq!(none, losses(Level::best(), None));

    // Other steps drop others: with a learning rate of zero nothing else changes.
    let mut still = case.step(&case.weights, Level::best()).with_dropout(dropout);
    still.settings.learning_rate = 0.0;
    let [first, second] = [(); 2].map(|()| still.train(windows, &order));
    assert_ne!(first, second);
}

/// A layer whose outputs are all alike tells how many were dropped: its weights are zero but for a bias, and
/// the layer above is linear where it works.
#[test]
fn as_many_are_dropped_as_the_rate_says_and_the_mean_stays() {
    let (hidden, series) = (64, 400);
    let shape = NetworkShape {
        cell: CellKind::SimpleRnn,
        features: 1,
        outputs: 1,
        hidden: vec![hidden, 1],
        decoder_input: DecoderInput::Zeros,
    };
    // The encoder computes nothing. The decoder's first layer is tanh(b), the second one a small multiple
    // of the mean of what is left of it.
    let first = |bias: f32| {
        let rest = vec![0.0; hidden + hidden * hidden];
        [rest, vec![bias; hidden], vec![0.0; hidden]].concat()
    };
    let second = |weight: f32| [vec![weight; hidden], vec![0.0; 3]].concat();
    let decoder = [first(0.5), second(1e-3 / hidden as f32), vec![1e3, 0.0]];
    let weights = [&[first(0.0), second(0.0)][..], &decoder].concat().concat();
    assert_eq!(weights.len(), shape.num_weights());
    let full = 0.5_f64.tanh();
    for rate in [0.1_f32, 0.5, 0.9] {
        let step = |future: &[f32]| {
            let settings = Settings::default();
            let (shape, weights) = (shape.clone(), weights.clone());
            let step = TrainStep::new(shape, weights, 1, 1, Loss::HalfSum, settings, Level::best());
            let mut step = step.with_dropout(Dropout { rate, seed: 5 });
            let windows = Windows { past: &vec![0.0; series], future };
            let order: Vec<usize> = (0..series).collect();
            2.0 * step.compute_gradient(windows, &order)
        };
        // The mean and the variance of the predictions, from the errors to two futures.
        let [to_zero, to_one] = [0.0, 1.0].map(|future| step(&vec![future; series]));
        let mean = (to_zero - to_one + 1.0) / 2.0;
        let deviation = (to_zero - mean * mean).max(0.0).sqrt();
        let odds = f64::from(rate / (1.0 - rate));
        let expected = full * (odds / hidden as f64).sqrt();
        let error = 4.0 * expected / (series as f64).sqrt();
        assert!((mean - full).abs() < error, "rate {rate}: mean {mean}, not {full}");
        let of_deviation = expected * 4.0 / (2.0 * series as f64).sqrt();
        assert!(
            (deviation - expected).abs() < of_deviation,
            "rate {rate}: deviation {deviation}, not {expected}"
        );
    }
}

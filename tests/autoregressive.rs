//! The encoder-decoder that reads its own output: gradients against central differences in double
//! precision, and what each way of feeding it means.

mod central_differences;

use seq2seq::layers::{ParameterMut, Parameters};
use seq2seq::model::{Autoregressive, AutoregressiveSettings, Feeding};
use seq2seq::prelude::*;
use seq2seq::train::loss;

/// Every part in use: unequal sizes, context and attention.
fn model(dropout: f64) -> Autoregressive<f64> {
    let settings = AutoregressiveSettings {
        features: 2,
        encoder_sizes: vec![3, 4],
        decoder_sizes: vec![4, 5],
        context: true,
        attention: true,
        dropout,
        seed: 7,
    };
    let mut model = Autoregressive::of_dtype(settings, &Cpu::default()).unwrap();
    for (i, (_, parameter)) in model.parameters_mut().into_iter().enumerate() {
        if let ParameterMut::Vector(bias) = parameter {
            let values: Vec<f64> = (0..bias.shape().0).map(|j| ((i + j) as f64).sin()).collect();
            bias.copy_from(&values);
        }
    }
    model
}

fn data() -> (Sequence<f64>, Sequence<f64>) {
    let wave = |n: usize| (0..n).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    let data = Dataset::new(wave(2 * 3 * 2), wave(2 * 4 * 2), 3, 4, 2).unwrap();
    let dev = Cpu::default();
    (data.past_tensor_on(&dev), data.future_tensor_on(&dev))
}

fn check_gradients(mut model: Autoregressive<f64>, feeding: Feeding<'_, f64>) {
    let (past, future) = data();
    central_differences::check(&mut model, |model| {
        let prediction = model.forward(past.leaky_trace(), 4, feeding).unwrap();
        loss(prediction, future.clone()).unwrap()
    });
}

#[test]
fn gradients_match_central_differences_when_it_reads_its_own_output() {
    check_gradients(model(0.0), Feeding::Own);
}

#[test]
fn gradients_match_central_differences_when_it_reads_the_truth() {
    let (_, future) = data();
    check_gradients(model(0.0), Feeding::Truth(&future));
}

#[test]
fn gradients_match_central_differences_when_it_reads_a_mixture() {
    let (_, future) = data();
    check_gradients(model(0.0), Feeding::Sampled { future: &future, truth: 0.5, seed: 3 });
}

fn predict(feeding: Feeding<'_, f64>) -> Vec<f64> {
    model(0.0).forward(data().0, 4, feeding).unwrap().as_vec()
}

#[test]
fn sampling_lies_between_the_truth_and_its_own_output() {
    let (_, future) = data();
    let sampled = |truth, seed| predict(Feeding::Sampled { future: &future, truth, seed });
    assert_eq!(sampled(1.0, 1), predict(Feeding::Truth(&future)));
    assert_eq!(sampled(0.0, 1), predict(Feeding::Own));
    assert_eq!(sampled(0.5, 1), sampled(0.5, 1));
    assert_ne!(sampled(0.5, 1), sampled(0.5, 2));
    assert_ne!(predict(Feeding::Own), predict(Feeding::Truth(&future)));
}

/// With the truth as input, its own output never comes back: a step depends on the true steps before
/// it, and on none that come later.
#[test]
fn a_step_sees_the_truth_before_it_and_no_later_one() {
    let (_, future) = data();
    let mut values = future.as_vec();
    let changed = 2; // step 2 of 4, feature 0, series 0
    values[changed * 2] += 1.0;
    let other = future.device().tensor_from_vec(values, (2, 4, 2));
    let (a, b) = (predict(Feeding::Truth(&future)), predict(Feeding::Truth(&other)));
    assert_eq!(a[..(changed + 1) * 2], b[..(changed + 1) * 2]);
    assert_ne!(a[(changed + 1) * 2..8], b[(changed + 1) * 2..8]);
    assert_eq!(a[8..], b[8..], "another series");
}

#[test]
fn a_longer_forecast_begins_like_a_shorter_one() {
    let of = |steps| model(0.0).forward(data().0, steps, Feeding::Own).unwrap().as_vec();
    let (short, long) = (of(3), of(9));
    assert_eq!(short[..6], long[..6]);
    assert_eq!(long.len(), 2 * 9 * 2);
}

#[test]
fn dropout_is_at_work_only_while_training() {
    let (past, _) = data();
    let forward = |model: &Autoregressive<f64>| {
        (
            model.forward(past.clone(), 4, Feeding::Own).unwrap().as_vec(),
            model.forward(past.leaky_trace(), 4, Feeding::Own).unwrap().as_vec(),
        )
    };
    let (predicted, trained) = forward(&model(0.0));
    assert_eq!(predicted, trained);
    let (with_dropout, trained) = forward(&model(0.5));
    assert_eq!(with_dropout, predicted);
    assert_ne!(trained, predicted);
}

/// A network that learns a little, on a device of its own.
fn fitted() -> (Autoregressive, History, Dataset) {
    let settings = TwoSines { series: 60, past_steps: 6, future_steps: 4, seed: 1 };
    let (train, validation) = two_sines(settings).unwrap().split(0.3).unwrap();
    let settings = AutoregressiveSettings {
        encoder_sizes: vec![5],
        decoder_sizes: vec![5],
        dropout: 0.5,
        ..Default::default()
    };
    let mut model = Autoregressive::new(settings).unwrap();
    let hyperparameters = Hyperparameters { epochs: 3, batch_size: 16, ..Default::default() };
    let forward = |model: &Autoregressive, past| model.forward(past, 4, Feeding::Own);
    let history = fit_on_tape(&mut model, &train, &validation, &hyperparameters, forward).unwrap();
    (model, history, validation)
}

#[test]
fn errors_are_measured_and_series_predicted_without_dropout() {
    let (model, history, data) = fitted();
    let predict =
        || predict_with(&model, &data, |model, past| model.forward(past, 4, Feeding::Own));
    let prediction = predict().unwrap();
    assert_eq!(prediction, predict().unwrap());
    let plain = model.forward(data.past_tensor(), 4, Feeding::Own).unwrap();
    assert_eq!(prediction, Forecast::try_from(plain).unwrap());
    assert_eq!(history.last().validation_mse, mse(&prediction, &data).unwrap());
}

#[test]
fn equal_seeds_drop_the_same_whatever_the_device_has_drawn() {
    let errors = || {
        let (_, history, _) = fitted();
        history.epochs().iter().map(|epoch| (epoch.loss, epoch.train_mse)).collect::<Vec<_>>()
    };
    let first = errors();
    // dfdx numbers the draws of a device, and a clone shares them.
    let _: Sequence = Cpu::default().sample_normal_like(&(3, 3, 3));
    assert_eq!(first, errors());
}

#[test]
fn dropout_keeps_the_mean_and_draws_anew() {
    let dropout = Dropout::new(0.25, 7).unwrap();
    let ones: Sequence = Cpu::default().ones_like(&(10, 100, 10));
    let drop = || dropout.forward(ones.leaky_trace()).as_vec();
    let (first, second) = (drop(), drop());
    assert_ne!(first, second);
    let dropped = first.iter().filter(|&&v| v == 0.0).count();
    assert!((2300..2700).contains(&dropped), "{dropped} of 10000");
    let kept = 1.0 / 0.75;
    assert!(first.iter().all(|&v| v == 0.0 || (v - kept).abs() < 1e-6));
    let again = Dropout::new(0.25, 7).unwrap().forward(ones.leaky_trace()).as_vec();
    assert_eq!(first, again);
}

#[test]
fn equal_sizes_need_no_bridge() {
    let names = |settings: AutoregressiveSettings| -> Vec<String> {
        let model = Autoregressive::new(settings).unwrap();
        model.parameters().into_iter().map(|(name, _)| name).collect()
    };
    let equal = names(AutoregressiveSettings::default());
    assert!(!equal.iter().any(|name| name.starts_with("bridge")), "{equal:?}");
    let unequal =
        names(AutoregressiveSettings { decoder_sizes: vec![20, 35], ..Default::default() });
    assert!(unequal.contains(&"bridge.1.weight".to_owned()), "{unequal:?}");
}

#[test]
fn impossible_settings_are_refused() {
    let message = |settings: AutoregressiveSettings| {
        Autoregressive::new(settings).map(|_| ()).unwrap_err().to_string()
    };
    let default = AutoregressiveSettings::default;
    let layers = message(AutoregressiveSettings { decoder_sizes: vec![35], ..default() });
    assert!(layers.contains("decoder_sizes") && layers.contains("as many layers"), "{layers}");
    let dropout = message(AutoregressiveSettings { dropout: 1.0, ..default() });
    assert!(dropout.contains("dropout is 1"), "{dropout}");
    let size = message(AutoregressiveSettings { encoder_sizes: vec![0, 35], ..default() });
    assert!(size.contains("[0, 35]"), "{size}");
    let features = message(AutoregressiveSettings { features: 0, ..default() });
    assert!(features.contains('0'), "{features}");

    let (past, future) = data();
    let refused = |steps, feeding: Feeding<'_, f64>| {
        model(0.0).forward(past.clone(), steps, feeding).unwrap_err().to_string()
    };
    assert!(refused(0, Feeding::Own).contains("future_steps is 0"));
    assert!(refused(5, Feeding::Truth(&future)).contains("time axis of the future is 4, but 5"));
    let truth = refused(4, Feeding::Sampled { future: &future, truth: 1.5, seed: 0 });
    assert!(truth.contains("truth is 1.5"), "{truth}");
}

#[test]
fn attention_weights_add_up_to_one_and_follow_the_best_match() {
    let dev = Cpu::default();
    let mut attention = Attention::of_dtype(2, 2, &mut Initializer::new(1), &dev).unwrap();
    // score(s) = 100 q . m(s)
    attention.weight = dev.tensor_from_vec(vec![100.0, 0.0, 0.0, 100.0], (2, 2));
    let memory: Sequence<f64> = dev.tensor_from_vec(vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.5], (1, 3, 2));
    let queries: Sequence<f64> = dev.tensor_from_vec(vec![1.0, 0.0, 0.0, 1.0], (1, 2, 2));
    let (outputs, weights) = attention.forward(queries, &memory).unwrap();
    assert_eq!(outputs.shape(), &(1, 2, 2));
    let weights = weights.as_vec();
    for query in weights.chunks(3) {
        assert!((query.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    assert!(weights[0] > 0.999 && weights[4] > 0.999, "{weights:?}");
}

#[test]
fn attention_refuses_what_does_not_fit() {
    let dev = Cpu::default();
    let attention = Attention::new(3, 2, &mut Initializer::new(1), &dev).unwrap();
    let refused = |queries, memory| {
        let (queries, memory): (Sequence, Sequence) =
            (dev.zeros_like(&queries), dev.zeros_like(&memory));
        attention.forward(queries, &memory).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused((1, 4, 5), (1, 4, 2)).contains("features axis of the queries is 5, but 3"));
    assert!(refused((1, 4, 3), (1, 4, 5)).contains("features axis of the memory is 5, but 2"));
    assert!(refused((1, 4, 3), (2, 4, 2)).contains("batch axis of the memory is 2, but 1"));
}

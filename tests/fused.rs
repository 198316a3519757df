//! The fused kernels against the readable reference: on the tape, in any composition, and over a
//! whole training.

use dfdx::tensor::Gradients;
use proptest::prelude::*;
use seq2seq::layers::{Parameter, ParameterMut, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;

/// Relative to the largest value of a tensor; the reference runs in f64.
const TOLERANCE: f64 = 1e-5;

/// A wave that does not repeat, as a stand-in for data and weights of any length.
fn wave(length: usize, phase: f64) -> Vec<f64> {
    (0..length).map(|i| ((i * i) as f64 * 0.37 + i as f64 + phase).sin()).collect()
}

fn to_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Values that f32 holds exactly, so that both precisions start from the same.
fn exact(length: usize, phase: f64) -> Vec<f64> {
    to_f32(&wave(length, phase)).into_iter().map(f64::from).collect()
}

#[derive(Clone, Debug)]
struct Sizes {
    batch: usize,
    time: usize,
    features: usize,
    hidden: Vec<usize>,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let hidden = prop::collection::vec(1..40usize, 1..4);
    (1..40usize, 1..12usize, 1..20usize, hidden).prop_map(|(batch, time, features, hidden)| Sizes {
        batch,
        time,
        features,
        hidden,
    })
}

/// Everything that a stack gives, flattened: outputs, last states, and the gradients of the input,
/// of the first states and of all weights, under a loss that uses outputs and states alike.
macro_rules! everything {
    ($float:ty, $sizes:expr, $forward:ident) => {{
        let Sizes { batch, time, features, hidden } = $sizes.clone();
        let dev = Cpu::default();
        let mut init = Initializer::new(3);
        let cast = |values: Vec<f64>| values.into_iter().map(|v| v as $float).collect::<Vec<_>>();
        let mut gru = Gru::<$float, Cpu>::of_dtype(features, &hidden, &mut init, &dev).unwrap();
        for (i, (_, mut parameter)) in gru.parameters_mut().into_iter().enumerate() {
            // Weights of a size that leaves the gates between their extremes, biases not zero.
            let count: usize = parameter.shape().iter().product();
            let scale = 1.0 / (parameter.shape().last().copied().unwrap_or(1) as f64).sqrt();
            let values = exact(count, i as f64).into_iter().map(|v| f64::from((v * scale) as f32));
            parameter.copy_from(&cast(values.collect()));
        }
        let x: Sequence<$float> =
            dev.tensor_from_vec(cast(exact(batch * time * features, 0.5)), (batch, time, features));
        let first: Vec<State<$float>> = hidden
            .iter()
            .map(|&h| dev.tensor_from_vec(cast(exact(batch * h, 0.25)), (batch, h)))
            .collect();
        let (outputs, last) = gru.$forward(x.clone().leaky_traced(), Some(&first)).unwrap();
        let mut found: Vec<(String, Vec<f64>)> = vec![];
        let mut note = |name: String, values: Vec<$float>| {
            found.push((name, values.into_iter().map(f64::from).collect()))
        };
        note("outputs".into(), outputs.as_vec());
        let top = *hidden.last().unwrap();
        let weights = cast(wave(batch * time * top, 0.75));
        let weights: Sequence<$float> = dev.tensor_from_vec(weights, (batch, time, top));
        // Outputs and last states both reach the loss, and the states by another path than the
        // outputs.
        let mut total = (outputs * weights).sum::<(), _>();
        for (l, state) in last.iter().enumerate() {
            note(format!("state {l}"), state.as_vec());
            total = total + (state.clone().leaky_traced() * 0.5).square().sum::<(), _>();
        }
        let gradients: Gradients<$float, Cpu> = total.backward();
        note("gradient of x".into(), gradients.get(&x).as_vec());
        for (l, state) in first.iter().enumerate() {
            note(format!("gradient of first state {l}"), gradients.get(state).as_vec());
        }
        for (name, parameter) in gru.parameters() {
            let values = match parameter {
                Parameter::Vector(weight) => gradients.get(weight).as_vec(),
                Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
            };
            note(format!("gradient of {name}"), values);
        }
        found
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_stack_on_the_tape_equals_the_reference(sizes in sizes()) {
        let fused = everything!(f32, sizes, forward);
        let reference = everything!(f64, sizes, forward_reference);
        prop_assert_eq!(fused.len(), reference.len());
        for ((name, found), (_, expected)) in fused.iter().zip(&reference) {
            let largest = expected.iter().fold(f64::MIN_POSITIVE, |most, v| most.max(v.abs()));
            prop_assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(expected) {
                let error = (f - e).abs() / largest;
                prop_assert!(error <= TOLERANCE, "{}: {} is not {}, off by {}", name, f, e, error);
            }
        }
    }
}

fn scaled() -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).1;
    (scale(&train), scale(&validation))
}

#[test]
fn a_permuted_input_is_read_by_its_shape() {
    let dev = Cpu::default();
    let gru = Gru::new(3, &[4], &mut Initializer::new(1), &dev).unwrap();
    let values = to_f32(&wave(2 * 5 * 3, 0.0));
    let time_first: Sequence = dev.tensor_from_vec(values, (5, 2, 3));
    let batch_first = time_first.permute::<(usize, usize, usize), dfdx::shapes::Axes3<1, 0, 2>>();
    let (fused, _) = gru.forward(batch_first.clone(), None).unwrap();
    let (reference, _) = gru.forward_reference(batch_first, None).unwrap();
    for (f, r) in fused.as_vec().iter().zip(reference.as_vec()) {
        assert!((f - r).abs() < 1e-6, "{f} {r}");
    }
}

#[test]
fn a_whole_training_follows_the_reference() {
    let hyperparameters = Hyperparameters::default();
    let (train, validation) = scaled();
    let mut fused = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let mut reference = fused.clone();
    let history = fit(&mut fused, &train, &validation, &hyperparameters).unwrap();

    let dev = Cpu::default();
    let mut adam = Adam::new(hyperparameters.learning_rate, hyperparameters.weight_decay);
    for (i, epoch) in history.epochs().iter().enumerate() {
        let batches = train.batches(hyperparameters.batch_size, hyperparameters.seed, i + 1);
        for batch in batches.unwrap() {
            let past: Sequence = batch.past_tensor(&dev);
            let prediction = reference.forward_reference(past.leaky_traced(), 10).unwrap();
            let loss = loss(prediction, batch.future_tensor(&dev)).unwrap();
            adam.update(&mut reference, loss.backward()).unwrap();
        }
        let past: Sequence = validation.past_tensor(&dev);
        let prediction = reference.forward_reference(past, 10).unwrap().as_vec();
        let expected = mse_of_feature(&prediction, &validation, 0).unwrap();
        let error = (epoch.validation_mse - expected).abs();
        assert!(error < 1e-3 * expected, "epoch {i}: {} not {expected}", epoch.validation_mse);
    }
}

/// A schedule, clipped gradients and another optimiser, written out on the tape.
#[test]
fn a_training_with_all_settings_follows_the_reference() {
    let most = 0.85; // longer than some gradients, shorter than others
    let hyperparameters = Hyperparameters {
        optimizer: Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
        schedule: Schedule::Cosine { warmup_fraction: 0.2 },
        clip_norm: Some(most),
        epochs: 3,
        ..Default::default()
    };
    let Hyperparameters { learning_rate, weight_decay, schedule, .. } = hyperparameters;
    let (train, validation) = scaled();
    let mut fused = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let mut tape = fused.clone();
    let history = fit(&mut fused, &train, &validation, &hyperparameters).unwrap();

    let dev = Cpu::default();
    let mut rms_prop = RmsProp::new(learning_rate, weight_decay, 0.92, 0.5);
    let (mut step, mut clipped) = (0, 0);
    for epoch in 1..=3 {
        let batches = train.batches(hyperparameters.batch_size, hyperparameters.seed, epoch);
        for batch in batches.unwrap() {
            let past: Sequence = batch.past_tensor(&dev);
            let prediction = tape.forward(past.leaky_traced(), 10).unwrap();
            let loss = loss(prediction, batch.future_tensor(&dev)).unwrap();
            let mut gradients = loss.backward();
            let norm = clip_gradients(&tape, &mut gradients, most).unwrap();
            clipped += usize::from(norm > most);
            rms_prop.set_learning_rate(schedule.rate(learning_rate, step, 27));
            rms_prop.update(&mut tape, gradients).unwrap();
            step += 1;
        }
    }
    assert_eq!(step, 27);
    assert!((1..27).contains(&clipped), "{clipped} of 27 gradients are clipped");
    let expected = mse_of_feature(&tape.predict(&validation).unwrap(), &validation, 0).unwrap();
    let reached = history.last().validation_mse;
    assert!((reached - expected).abs() < 1e-3 * expected, "{reached} {expected}");
}

#[test]
fn one_thread_and_two_train_the_same_model_bit_for_bit() {
    let (train, validation) = scaled();
    let standard = Hyperparameters { epochs: 3, batch_size: 70, ..Default::default() };
    let all_settings = Hyperparameters {
        hidden_size: 40,
        optimizer: Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
        schedule: Schedule::Cosine { warmup_fraction: 0.1 },
        clip_norm: Some(0.5),
        ..standard
    };
    let trained = |threads, hyperparameters: &Hyperparameters| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = Seq2Seq::stacked(2, hyperparameters).unwrap();
            fit(&mut model, &train, &validation, hyperparameters).unwrap();
            let weights = model.parameters().into_iter().flat_map(|(_, p)| p.to_vec());
            (weights.collect::<Vec<f32>>(), model.predict(&validation).unwrap())
        })
    };
    for hyperparameters in [standard, all_settings] {
        let one = trained(1, &hyperparameters);
        assert_eq!(one, trained(2, &hyperparameters));
        assert_eq!(one, trained(5, &hyperparameters));
    }
}

#[test]
fn one_series_and_thousands_are_predicted_alike() {
    let model = Seq2Seq::stacked(2, &Hyperparameters::default()).unwrap();
    let data = sine_cosine(SineCosine { series: 3000, ..Default::default() }).unwrap();
    let all = model.predict(&data).unwrap();
    for series in [0, 1, 7, 8, 1499, 2999] {
        let alone = model.predict(&data.select([series]).unwrap()).unwrap();
        assert_eq!(alone, all[series * 20..][..20], "series {series}");
    }
}

#[test]
fn biases_that_differ_are_not_mixed_up() {
    // b_ih and b_hh of the candidate gate stand on different sides of the reset gate.
    let dev = Cpu::default();
    let mut gru = Gru::new(1, &[1], &mut Initializer::new(1), &dev).unwrap();
    let outputs = |gru: &Gru| {
        let x: Sequence = dev.ones_like(&(1, 2, 1));
        gru.forward(x, None).unwrap().0.as_vec()
    };
    let mut with = |name: &str| {
        for (n, parameter) in gru.parameters_mut() {
            if let ParameterMut::Vector(bias) = parameter {
                bias.copy_from(if n.starts_with(name) { &[0.0, 0.0, 1.0] } else { &[0.0; 3] });
            }
        }
        outputs(&gru)
    };
    assert_ne!(with("bias_ih"), with("bias_hh"));
}

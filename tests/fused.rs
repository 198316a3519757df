//! The fused kernels against the readable reference over a whole training. (`layers` holds a single
//! stack against it.)

use seq2seq::layers::{
    GruCell, LstmCell, Parameter, ParameterMut, Parameters, RecurrentCell, SimpleRnnCell,
};
use seq2seq::prelude::*;
use seq2seq::train::loss;

fn scaled() -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).unwrap().1;
    (scale(&train), scale(&validation))
}

#[test]
fn a_whole_training_follows_the_reference() {
    let hyperparameters = Hyperparameters::default();
    let (train, validation) = scaled();
    let mut fused = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let mut reference = fused.clone();
    let history = fit(&mut fused, &train, &validation, &hyperparameters).unwrap();

    let Hyperparameters { learning_rate, weight_decay, .. } = hyperparameters;
    let mut adam = Descent { learning_rate, weight_decay, ..Default::default() };
    for (i, epoch) in history.epochs().iter().enumerate() {
        let batches = train.batches(hyperparameters.batch_size, hyperparameters.seed, i + 1);
        for batch in batches.unwrap() {
            let past = batch.past_tensor();
            let prediction = reference.forward_reference(past.leaky_traced(), 10).unwrap();
            let loss = loss(prediction, batch.future_tensor()).unwrap();
            adam.update(&mut reference, loss.backward()).unwrap();
        }
        let prediction = reference.forward_reference(validation.past_tensor(), 10).unwrap();
        let prediction = Forecast::try_from(prediction).unwrap();
        let expected = mse_of_feature(&prediction, &validation, 0).unwrap();
        let error = (epoch.validation_mse - expected).abs();
        assert!(error < 1e-3 * expected, "epoch {i}: {} not {expected}", epoch.validation_mse);
    }
}

/// The prediction and all gradients of a model put together on the tape, one after the other.
fn everything(model: &Seq2Seq, past: &Sequence, fused: bool) -> Vec<f32> {
    let traced = past.leaky_trace();
    let prediction =
        if fused { model.forward(traced, 7) } else { model.forward_reference(traced, 7) };
    let prediction = prediction.unwrap();
    let values = prediction.as_vec();
    let gradients = prediction.square().sum::<(), _>().backward();
    let of_weight = |(_, weight): (String, Parameter<'_, f32, Cpu>)| match weight {
        Parameter::Vector(weight) => gradients.get(weight).as_vec(),
        Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
    };
    let of_weights = model.parameters().into_iter().flat_map(of_weight);
    values.into_iter().chain(gradients.get(past).as_vec()).chain(of_weights).collect()
}

#[test]
fn a_model_on_the_tape_equals_the_reference_on_any_number_of_threads() {
    let dev = Cpu::default();
    for decoder_input in [DecoderInput::RepeatLast, DecoderInput::Zeros] {
        let mut init = Initializer::new(4);
        let inputs = if decoder_input == DecoderInput::Zeros { 3 } else { 19 };
        let encoder = Gru::new(3, &[13, 19], &mut init, &dev).unwrap();
        let decoder = Gru::new(inputs, &[13, 19], &mut init, &dev).unwrap();
        let dense = Dense::new(19, 2, &mut init, &dev).unwrap();
        let model = Seq2Seq::new(encoder, decoder, dense, decoder_input).unwrap();
        let values = (0..600 * 9 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
        let past: Sequence = dev.tensor_from_vec(values, (600, 9, 3));

        let reference = everything(&model, &past, false);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| everything(&model, &past, true))
        };
        let fused = run(1);
        assert_eq!(fused, run(2));
        assert_eq!(fused, everything(&model, &past, true)); // the caller outside of the pool
        assert_eq!(fused.len(), reference.len());
        for (f, r) in fused.iter().zip(&reference) {
            assert!((f - r).abs() < 1e-4 * r.abs().max(1.0), "{f} is not {r}");
        }
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

    let optimizer = hyperparameters.optimizer;
    let clip_norm = Some(most);
    let mut rms_prop = Descent { optimizer, weight_decay, clip_norm, ..Default::default() };
    let (mut step, mut clipped) = (0, 0);
    for epoch in 1..=3 {
        let batches = train.batches(hyperparameters.batch_size, hyperparameters.seed, epoch);
        for batch in batches.unwrap() {
            let past = batch.past_tensor();
            let prediction = tape.forward(past.leaky_traced(), 10).unwrap();
            let loss = loss(prediction, batch.future_tensor()).unwrap();
            rms_prop.learning_rate = schedule.rate(learning_rate, step, 27);
            let norm = rms_prop.update(&mut tape, loss.backward()).unwrap();
            clipped += usize::from(norm > most);
            step += 1;
        }
    }
    assert_eq!(step, 27);
    assert!((1..27).contains(&clipped), "{clipped} of 27 gradients are clipped");
    let expected = mse_of_feature(&tape.predict(&validation).unwrap(), &validation, 0).unwrap();
    let reached = history.last().validation_mse;
    assert!((reached - expected).abs() < 1e-3 * expected, "{reached} {expected}");
}

/// λ, the longest gradient and the loss mean the same on both.
#[test]
fn a_training_on_the_tape_equals_the_fused_one_to_rounding() {
    let (train, validation) = scaled();
    for (optimizer, learning_rate) in [
        (Optimizer::Adam, 0.001),
        (Optimizer::RmsProp { decay: 0.92, momentum: 0.5 }, 0.001),
        (Optimizer::Sgd { momentum: 0.9 }, 0.02),
    ] {
        let hyperparameters = Hyperparameters {
            optimizer,
            learning_rate,
            weight_decay: 0.05,
            clip_norm: Some(0.85), // longer than some gradients, shorter than others
            schedule: Schedule::Cosine { warmup_fraction: 0.2 },
            epochs: 2,
            ..Default::default()
        };
        trained_on_the_tape_and_fused::<GruCell>(&hyperparameters, &train, &validation);
        trained_on_the_tape_and_fused::<LstmCell>(&hyperparameters, &train, &validation);
        trained_on_the_tape_and_fused::<SimpleRnnCell>(&hyperparameters, &train, &validation);
    }
}

fn trained_on_the_tape_and_fused<C: RecurrentCell>(
    hyperparameters: &Hyperparameters,
    train: &Dataset,
    validation: &Dataset,
) {
    let name = format!("{}, {}", C::NAME, hyperparameters.optimizer);
    let mut fused = Seq2Seq::<C>::stacked_of_cell(2, hyperparameters).unwrap();
    let mut tape = fused.clone();
    let trainer = || Trainer::new(hyperparameters).validation(validation).quiet();
    let expected = trainer().fit(&mut fused, train).unwrap();
    let forward = |model: &Seq2Seq<C>, past: Traced| model.forward(past, 10);
    let found = trainer().fit_on_tape(&mut tape, train, forward).unwrap();
    for (found, expected) in found.epochs().iter().zip(expected.epochs()) {
        let near = |found: f64, expected: f64| {
            let close = (found - expected).abs() < 1e-4 * expected;
            assert!(close, "{name}: {found} is not {expected}");
        };
        near(found.loss, expected.loss);
        near(found.train_mse_all, expected.train_mse_all);
        near(found.validation_mse, expected.validation_mse);
    }
    for ((weight, found), (_, expected)) in tape.parameters().iter().zip(fused.parameters()) {
        for (found, expected) in found.to_vec().iter().zip(expected.to_vec()) {
            let error = (found - expected).abs();
            assert!(error < 1e-4, "{name}, {weight}: {found} is not {expected}");
        }
    }
    let [found, expected] = [&tape, &fused].map(|model| model.predict(validation).unwrap());
    let pairs = found.values().iter().zip(expected.values());
    assert!(pairs.into_iter().all(|(f, e)| (f - e).abs() < 1e-3), "{name}: other predictions");
}

/// In training, and in nothing else.
#[test]
fn dropout_is_drawn_from_the_seed_and_ends_with_the_training() {
    let (train, validation) = scaled();
    let settings = Hyperparameters { dropout: 0.2, epochs: 3, ..Default::default() };
    let trained = |settings: &Hyperparameters| {
        let mut model = Seq2Seq::<LstmCell>::stacked_of_cell(2, settings).unwrap();
        let trainer = Trainer::new(settings).validation(&validation).quiet();
        let history = trainer.fit(&mut model, &train).unwrap();
        (model, history)
    };
    let (model, history) = trained(&settings);
    let predictions = model.predict(&validation).unwrap();
    assert_eq!(predictions, trained(&settings).0.predict(&validation).unwrap());
    assert_eq!(predictions, model.predict(&validation).unwrap());
    let measured = mse(&predictions, &validation).unwrap();
    assert_eq!(measured, history.last().validation_mse_all);
    let without = Hyperparameters { dropout: 0.0, ..settings };
    assert_ne!(predictions, trained(&without).0.predict(&validation).unwrap());
    // One layer has none above it.
    let flat = |dropout| Hyperparameters { dropout, num_layers: 1, ..settings };
    let [with, without] = [0.2, 0.0].map(|dropout| trained(&flat(dropout)).1.last().loss);
    assert_eq!(with, without);

    let mut model = model;
    let forward = |model: &Seq2Seq<LstmCell>, past: Traced| model.forward(past, 10);
    let refused = Trainer::new(&settings).quiet().fit_on_tape(&mut model, &train, forward);
    let message = refused.unwrap_err().to_string();
    assert!(message.starts_with("dropout is 0.2, but it must be 0 on the tape"), "{message}");
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
        assert_eq!(alone.values(), all.series(series).unwrap(), "series {series}");
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

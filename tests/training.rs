//! Exercise 1 as a whole: its published result, repeatability, and what is refused.

use seq2seq::layers::Parameters;
use seq2seq::prelude::*;

fn scaled() -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).unwrap().1;
    (scale(&train), scale(&validation))
}

fn trained(hyperparameters: &Hyperparameters) -> (Seq2Seq, History) {
    let (train, validation) = scaled();
    let mut model = Seq2Seq::stacked(2, hyperparameters).unwrap();
    let history = fit(&mut model, &train, &validation, hyperparameters).unwrap();
    (model, history)
}

fn weights(model: &Seq2Seq) -> Vec<Vec<f32>> {
    model.parameters().into_iter().map(|(_, p)| p.to_vec()).collect()
}

/// S0's notebook publishes 0.00757.
#[test]
fn exercise_1_reaches_the_published_error_on_five_seeds() {
    for seed in 42..=46 {
        let (_, history) = trained(&Hyperparameters { seed, ..Default::default() });
        let reached = history.last().validation_mse;
        assert!(reached <= 0.0076, "seed {seed}: {reached}");
    }
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_does_not() {
    let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
    let (first, _) = trained(&hyperparameters);
    assert_eq!(weights(&first), weights(&trained(&hyperparameters).0));
    let other = Hyperparameters { seed: 43, ..hyperparameters };
    assert_ne!(weights(&first), weights(&trained(&other).0));
}

#[test]
fn the_history_is_what_the_model_does() {
    let (model, history) = trained(&Hyperparameters { epochs: 2, ..Default::default() });
    let (train, validation) = scaled();
    let error = |data: &Dataset| mse_of_feature(&model.predict(data).unwrap(), data, 0).unwrap();
    assert_eq!(history.last().train_mse, error(&train));
    assert_eq!(history.last().validation_mse, error(&validation));
    let best = history.epochs().iter().map(|e| e.validation_mse_all).fold(f64::MAX, f64::min);
    assert_eq!(history.best().validation_mse_all, best);
}

#[test]
fn of_a_large_training_part_the_first_series_are_measured() {
    let two_sines = two_sines(TwoSines { series: 20_100, past_steps: 3, future_steps: 2, seed: 1 });
    let (train, validation) = two_sines.unwrap().split(0.001).unwrap();
    let settings =
        Hyperparameters { hidden_size: 2, num_layers: 1, epochs: 1, ..Default::default() };
    let mut model = Seq2Seq::stacked(1, &settings).unwrap();
    let history = fit(&mut model, &train, &validation, &settings).unwrap();
    let measured = train.select(0..20_000).unwrap();
    let error = mse(&model.predict(&measured).unwrap(), &measured).unwrap();
    assert_eq!(history.last().train_mse, error);
    assert_ne!(mse(&model.predict(&train).unwrap(), &train).unwrap(), error);
}

#[test]
fn weight_decay_keeps_the_weights_small() {
    let norm = |weight_decay| {
        let hyperparameters =
            Hyperparameters { weight_decay, learning_rate: 0.01, epochs: 3, ..Default::default() };
        let squares = weights(&trained(&hyperparameters).0).concat();
        squares.iter().map(|w| w * w).sum::<f32>()
    };
    assert!(norm(1.0) < 0.8 * norm(0.0));
}

#[test]
fn every_optimizer_and_a_schedule_learn_exercise_1() {
    let cosine = Schedule::Cosine { warmup_fraction: 0.05 };
    for (optimizer, learning_rate, schedule) in [
        (Optimizer::Adam, 0.01, cosine),
        (Optimizer::RmsProp { decay: 0.92, momentum: 0.5 }, 0.007, Schedule::Constant),
        (Optimizer::Sgd { momentum: 0.9 }, 0.02, Schedule::Constant),
    ] {
        let hyperparameters =
            Hyperparameters { optimizer, learning_rate, schedule, ..Default::default() };
        let (_, history) = trained(&hyperparameters);
        let reached = history.last().validation_mse;
        println!("{optimizer}, {schedule}: {reached}");
        assert!(reached <= 0.0076, "{optimizer}: {reached}");
    }
}

#[test]
fn a_gradient_that_would_throw_the_weights_away_is_clipped() {
    let (train, validation) = scaled();
    // One series in a hundred is blown up, as a window that is nearly constant would be.
    let blown_up = |(i, v): (usize, &f32)| if i / 20 % 100 == 0 { v * 1e4 } else { *v };
    let future = train.future().iter().enumerate().map(blown_up).collect();
    let train = Dataset::new(train.past().to_vec(), future, 10, 10, 2).unwrap();
    let reached = |clip_norm| {
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let hyperparameters =
            Hyperparameters { optimizer, learning_rate: 0.02, clip_norm, ..Default::default() };
        let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
        let history = fit_with(&mut model, &train, &validation, &hyperparameters, |_, _| {});
        history.map_or(f64::INFINITY, |history| history.last().validation_mse)
    };
    assert!(reached(Some(1.0)) < 0.3 * reached(None).min(10.0));
}

#[test]
fn a_schedule_rises_in_a_line_and_falls_along_half_a_cosine() {
    let rates = |warmup_fraction| {
        let schedule = Schedule::Cosine { warmup_fraction };
        move |step| schedule.rate(0.8, step, 50)
    };
    let with = rates(0.2);
    for (step, expected) in
        [(0, 0.08), (4, 0.4), (9, 0.8), (10, 0.8), (30, 0.4), (20, 0.4 + 0.4 * 0.5_f64.sqrt())]
    {
        assert!((with(step) - expected).abs() < 1e-12, "step {step}: {}", with(step));
    }
    assert!((0.0..0.01).contains(&with(49)));
    assert_eq!(rates(0.0)(0), 0.8);
    // It does not rise again after the last step.
    assert!([50, 51, 99, 1000].iter().all(|&step| with(step) == 0.0));
    assert_eq!(Schedule::Cosine { warmup_fraction: 0.9 }.rate(1.0, 1, 1), 0.0);
    // So few steps that all of them warm up.
    assert_eq!(Schedule::Cosine { warmup_fraction: 0.9 }.rate(1.0, 0, 1), 1.0);
    assert_eq!(Schedule::Constant.rate(0.3, 7, 10), 0.3);
}

#[test]
fn settings_survive_being_written_down() {
    let hyperparameters = Hyperparameters {
        optimizer: Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
        schedule: Schedule::Cosine { warmup_fraction: 0.05 },
        clip_norm: Some(1.0),
        ..Default::default()
    };
    let text = serde_json::to_string(&hyperparameters).unwrap();
    assert_eq!(serde_json::from_str::<Hyperparameters>(&text).unwrap(), hyperparameters);
    // What was written before there was a choice still means what it meant.
    let old: Hyperparameters = serde_json::from_str(r#"{ "learning_rate": 0.006 }"#).unwrap();
    assert_eq!(old, Hyperparameters { learning_rate: 0.006, ..Default::default() });
}

#[test]
fn any_horizon_can_be_predicted() {
    let (model, _) = trained(&Hyperparameters { epochs: 1, ..Default::default() });
    let longer = SineCosine { series: 3, future_steps: 25, ..Default::default() };
    let data = sine_cosine(longer).unwrap();
    let long = model.predict(&data).unwrap();
    assert_eq!((long.len(), long.steps(), long.targets()), (3, 25, 2));
    // The first steps do not depend on how many follow.
    let shorter = SineCosine { series: 3, future_steps: 1, ..Default::default() };
    let data_1 = Dataset::new(data.past().to_vec(), vec![0.0; 6], 10, 1, 2).unwrap();
    assert_eq!(data_1.future_steps(), shorter.future_steps);
    let short = model.predict(&data_1).unwrap();
    for series in 0..3 {
        let (long, short) = (long.series(series).unwrap(), short.series(series).unwrap());
        for (long, short) in long[..2].iter().zip(short) {
            assert!((long - short).abs() < 1e-6, "{long} {short}");
        }
    }
}

#[test]
fn impossible_hyperparameters_are_refused_by_name_value_and_range() {
    let standard = Hyperparameters::default();
    for (bad, name, value) in [
        (Hyperparameters { hidden_size: 0, ..standard }, "hidden_size", "0"),
        (Hyperparameters { hidden_size: 1 << 40, ..standard }, "hidden_size", "1099511627776"),
        (Hyperparameters { num_layers: 0, ..standard }, "num_layers", "0"),
        (Hyperparameters { batch_size: 0, ..standard }, "batch_size", "0"),
        (Hyperparameters { dropout: 1.0, ..standard }, "dropout", "1"),
        (Hyperparameters { dropout: 0.99999999, ..standard }, "dropout", "0.99999999"),
        (Hyperparameters { dropout: f64::NAN, ..standard }, "dropout", "NaN"),
        (Hyperparameters { epochs: 0, ..standard }, "epochs", "0"),
        (Hyperparameters { learning_rate: f64::NAN, ..standard }, "learning_rate", "NaN"),
        (Hyperparameters { learning_rate: -0.1, ..standard }, "learning_rate", "-0.1"),
        (Hyperparameters { weight_decay: f64::INFINITY, ..standard }, "weight_decay", "inf"),
        (
            Hyperparameters {
                optimizer: Optimizer::RmsProp { decay: 1.0, momentum: 0.0 },
                ..standard
            },
            "decay",
            "1",
        ),
        (
            Hyperparameters {
                optimizer: Optimizer::RmsProp { decay: 0.9, momentum: -0.5 },
                ..standard
            },
            "momentum",
            "-0.5",
        ),
        (
            Hyperparameters { optimizer: Optimizer::Sgd { momentum: f64::NAN }, ..standard },
            "momentum",
            "NaN",
        ),
        (
            Hyperparameters { schedule: Schedule::Cosine { warmup_fraction: 1.5 }, ..standard },
            "warmup_fraction",
            "1.5",
        ),
        (Hyperparameters { clip_norm: Some(0.0), ..standard }, "clip_norm", "0"),
        (Hyperparameters { clip_norm: Some(f64::NAN), ..standard }, "clip_norm", "NaN"),
        (Hyperparameters { patience: Some(0), ..standard }, "patience", "0"),
        (Hyperparameters { max_seconds: Some(0.0), ..standard }, "max_seconds", "0"),
        (Hyperparameters { max_seconds: Some(f64::NAN), ..standard }, "max_seconds", "NaN"),
        (Hyperparameters { validation_fraction: 1.0, ..standard }, "validation_fraction", "1"),
    ] {
        let message = Seq2Seq::stacked(2, &bad).unwrap_err().to_string();
        let expected = format!("{name} is {value}, but it must be ");
        assert!(message.starts_with(&expected), "{message}");
        let (train, validation) = scaled();
        let mut model = Seq2Seq::stacked(2, &standard).unwrap();
        let message = fit(&mut model, &train, &validation, &bad).unwrap_err().to_string();
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let dev = Cpu::default();
    let mut init = Initializer::new(1);
    let mut gru = |inputs, sizes: &[usize]| Gru::new(inputs, sizes, &mut init, &dev);
    let message = gru(2, &[]).unwrap_err().to_string();
    assert!(message.contains("hidden_sizes is []"), "{message}");
    let (encoder, decoder) = (gru(2, &[12]).unwrap(), gru(11, &[12]).unwrap());
    let other = gru(12, &[12, 12]).unwrap();
    let mut init = Initializer::new(1);
    let dense = Dense::new(12, 2, &mut init, &dev).unwrap();
    let join = |decoder: &Gru, dense: &Dense| {
        let parts = (encoder.clone(), decoder.clone(), dense.clone());
        let joined = Seq2Seq::new(parts.0, parts.1, parts.2, DecoderInput::RepeatLast);
        joined.unwrap_err().to_string()
    };
    let message = join(&decoder, &dense);
    assert!(message.contains("decoder") && message.contains("is 11, but 12"), "{message}");
    let message = join(&other, &dense);
    assert!(message.contains("[12, 12]") && message.contains("[12]"), "{message}");
    let narrow = Dense::new(7, 2, &mut init, &dev).unwrap();
    let fitting = Gru::new(12, &[12], &mut init, &dev).unwrap();
    assert!(join(&fitting, &narrow).contains("is 7, but 12"));

    let three: Sequence = dev.zeros_like(&(4, 10, 3));
    let message = encoder.forward(three, None).unwrap_err().to_string();
    assert!(message.contains("features axis") && message.contains("is 3, but 2"), "{message}");
    let none: Sequence = dev.zeros_like(&(4, 0, 2));
    assert!(encoder.forward(none, None).unwrap_err().to_string().contains("time steps is 0"));
    let state: State = dev.zeros_like(&(5, 12));
    let past: Sequence = dev.zeros_like(&(4, 10, 2));
    let message = encoder.forward(past, Some(&[state])).unwrap_err().to_string();
    assert!(message.contains("batch axis") && message.contains("is 5, but 4"), "{message}");
}

/// What is minimised, written out: half the sum of squares over all steps and features, and the penalty on the
/// weights after the epoch.
#[test]
fn the_loss_is_half_the_sum_of_squares_and_the_penalty() {
    let (train, _) = scaled();
    let hyperparameters = Hyperparameters {
        learning_rate: 1e-12, // so that no step changes the model
        weight_decay: 0.5,
        batch_size: train.len(),
        epochs: 1,
        ..Default::default()
    };
    let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let history = Trainer::new(&hyperparameters).quiet().fit(&mut model, &train).unwrap();
    let values = train.future_steps() * train.targets();
    let squares = weights(&model).concat().iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    let epoch = history.last();
    let expected = 0.5 * values as f64 * epoch.train_mse_all + 0.5 * 0.5 * squares;
    assert!((epoch.loss - expected).abs() < 1e-5 * expected, "{} {expected}", epoch.loss);
}

#[test]
fn a_validation_part_changes_nothing_but_what_is_measured() {
    let (train, validation) = scaled();
    let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
    let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let mut epochs = 0;
    let trainer = Trainer::new(&hyperparameters).quiet().after_epoch(|number, epoch| {
        epochs += 1;
        assert!(number == epochs && epoch.validation_mse.is_nan());
    });
    let history = trainer.fit(&mut model, &train).unwrap();
    assert_eq!(epochs, 2);
    assert!(history.last().validation_mse_all.is_nan());
    let text = history.to_string();
    assert!(text.contains("best train MSE") && !text.contains("validation"), "{text}");
    let alt = plot::losses(&history).unwrap().alt().to_owned();
    assert!(alt.contains("Training MSE") && !alt.contains("alidation"), "{alt}");
    // Where nothing is validated, the training error decides.
    let lowest = history.epochs().iter().map(|e| e.train_mse_all).fold(f64::MAX, f64::min);
    assert_eq!(history.best().train_mse_all, lowest);
    let (other, measured) = trained(&hyperparameters);
    assert_eq!(weights(&model), weights(&other));
    assert_eq!(history.last().loss, measured.last().loss);

    let patient = Hyperparameters { patience: Some(3), ..hyperparameters };
    let message = Trainer::new(&patient).fit(&mut model, &train).unwrap_err().to_string();
    let expected = "patience is 3, but it must be None without a validation part";
    assert_eq!(message, expected);
    let every_step = Trainer::new(&hyperparameters).validation(&validation).at_every_step();
    let message = every_step.fit(&mut model, &train).unwrap_err().to_string();
    assert!(message.starts_with("at_every_step is true, but it must be false"), "{message}");
}

#[test]
fn a_diverging_training_leaves_the_model_as_it_was() {
    let (train, validation) = scaled();
    let huge: Vec<f32> = train.future().iter().map(|v| v * 1e25).collect();
    let train = Dataset::new(train.past().to_vec(), huge, 10, 10, 2).unwrap();
    let hyperparameters = Hyperparameters { epochs: 3, ..Default::default() };
    let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let before = weights(&model);
    let error = fit(&mut model, &train, &validation, &hyperparameters).unwrap_err();
    assert!(error.is_diverged() && !error.is_interrupted(), "{error}");
    assert!(matches!(error, Error::Diverged { epoch: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("diverged"), "{error}");
    assert_eq!(weights(&model), before);
}

/// With or without a patience, which would keep another one.
#[test]
fn after_a_divergence_the_model_has_the_weights_of_the_epoch_before() {
    let (train, validation) = scaled();
    // The penalty makes the weights grow with every step, until they are no numbers.
    let wild = Hyperparameters {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rate: 0.001,
        weight_decay: 2200.0,
        epochs: 5000,
        ..Default::default()
    };
    for patience in [None, Some(5000)] {
        let wild = Hyperparameters { patience, ..wild };
        let trainer = |epochs| {
            let hyperparameters = Hyperparameters { epochs, patience: None, ..wild };
            let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
            let trainer = Trainer::new(&hyperparameters).validation(&validation).quiet();
            trainer.fit(&mut model, &train).unwrap();
            weights(&model)
        };
        let mut model = Seq2Seq::stacked(2, &wild).unwrap();
        let error = fit_with(&mut model, &train, &validation, &wild, |_, _| {}).unwrap_err();
        let Error::Diverged { epoch, .. } = error else { panic!("{error}") };
        assert!(epoch > 2, "{error}");
        assert_eq!(weights(&model), trainer(epoch - 1));

        let mut model = Seq2Seq::stacked(2, &wild).unwrap();
        let forward = |model: &Seq2Seq, past: Traced| model.forward(past, 10);
        let mut done = Vec::new();
        let trainer = Trainer::new(&wild).validation(&validation).quiet();
        let trainer = trainer.after_epoch(|number, epoch| done.push((number, *epoch)));
        let error = trainer.fit_on_tape(&mut model, &train, forward).unwrap_err();
        let Error::Diverged { epoch, .. } = error else { panic!("{error}") };
        let (number, last) = done.pop().unwrap();
        assert_eq!(epoch, number + 1);
        let prediction = predict_with(&model, &validation, forward).unwrap();
        assert_eq!(mse(&prediction, &validation).unwrap(), last.validation_mse_all);
    }
}

/// The model reads sine and cosine and predicts the sine alone.
#[test]
fn features_that_are_only_inputs_are_learnt_from() {
    let (train, validation) = scaled();
    let part = |data: &Dataset| data.with_targets(1).unwrap();
    let hyperparameters = Hyperparameters::default();
    let dev = Cpu::default();
    let mut init = Initializer::new(42);
    let encoder = Gru::new(2, &[12, 12], &mut init, &dev).unwrap();
    let decoder = Gru::new(12, &[12, 12], &mut init, &dev).unwrap();
    let dense = Dense::new(12, 1, &mut init, &dev).unwrap();
    let mut model = Seq2Seq::new(encoder, decoder, dense, DecoderInput::RepeatLast).unwrap();
    let message = fit(&mut model, &train, &validation, &hyperparameters).unwrap_err().to_string();
    assert!(message.contains("dense layer") && message.contains("is 1, but 2"), "{message}");

    let (train, validation) = (part(&train), part(&validation));
    let history = fit(&mut model, &train, &validation, &hyperparameters).unwrap();
    let reached = mse(&model.predict(&validation).unwrap(), &validation).unwrap();
    assert_eq!(history.last().validation_mse, reached);
    assert_eq!(history.last().validation_mse_all, reached);
    let naive = mse(&repeat_last(&validation), &validation).unwrap();
    assert!(reached < 0.05 * naive, "{reached}, and repeating the last value {naive}");
}

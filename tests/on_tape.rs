//! Networks put together in a cell and trained on the tape.

use seq2seq::layers::Parameters;
use seq2seq::prelude::*;
use std::cell::Cell as Counter;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn waves(series: usize, past_steps: usize, future_steps: usize) -> (Dataset, Dataset) {
    let settings = NoisyWaves { series, past_steps, future_steps, seed: 42 };
    noisy_waves(settings).unwrap().split(0.2).unwrap()
}

fn hyperparameters() -> Hyperparameters {
    Hyperparameters {
        weight_decay: 0.0,
        learning_rate: 0.01,
        batch_size: 32,
        epochs: 3,
        ..Default::default()
    }
}

/// Flattened past to flattened future.
fn linear(dense: &Dense, past: Traced) -> Result<Traced> {
    let (series, steps, _) = *past.shape();
    let y = dense.forward(past.reshape_like(&(series, 1, steps)))?;
    Ok(y.reshape_like(&(series, dense.outputs(), 1)))
}

fn dense(inputs: usize, outputs: usize) -> Dense {
    Dense::new(inputs, outputs, &mut Initializer::new(1), &Cpu::default()).unwrap()
}

#[test]
fn a_linear_model_nears_least_squares() {
    let (train, validation) = waves(1000, 20, 3);
    let mut model = dense(20, 3);
    let hyperparameters = Hyperparameters { epochs: 40, ..hyperparameters() };
    let history = fit_on_tape(&mut model, &train, &validation, &hyperparameters, linear).unwrap();
    let exact = LeastSquares::fit(&train).unwrap().predict(&train).unwrap();
    let (exact, reached) = (mse(&exact, &train).unwrap(), history.last().train_mse);
    assert!(reached >= exact * 0.9999, "below the least squares: {reached} < {exact}");
    assert!(reached <= exact * 1.1, "{reached} > {exact}");
}

#[test]
fn the_history_is_what_the_model_does() {
    let (train, validation) = waves(200, 20, 3);
    let mut model = dense(20, 3);
    let history = fit_on_tape(&mut model, &train, &validation, &hyperparameters(), linear).unwrap();
    let prediction = predict_with(&model, &validation, linear).unwrap();
    assert_eq!(history.last().validation_mse, mse(&prediction, &validation).unwrap());
    assert_eq!(history.epochs().len(), 3);
}

/// As after an error: what the epoch that it was in has done to the weights is gone.
#[test]
fn a_panic_of_the_forward_pass_leaves_the_weights_of_the_last_epoch() {
    let (train, validation) = waves(200, 20, 3);
    let (mut model, mut short) = (dense(20, 3), dense(20, 3));
    let hyperparameters = hyperparameters();
    let calls = Counter::new(0);
    // Five steps an epoch, then both parts are measured.
    let fails = |dense: &Dense, past: Traced| {
        calls.set(calls.get() + 1);
        assert!(calls.get() < 2 * 7 + 3, "a bug in a cell");
        linear(dense, past)
    };
    let training = || fit_on_tape(&mut model, &train, &validation, &hyperparameters, fails);
    assert!(catch_unwind(AssertUnwindSafe(training)).is_err());
    let two = Hyperparameters { epochs: 2, ..hyperparameters };
    fit_on_tape(&mut short, &train, &validation, &two, linear).unwrap();
    assert_eq!(model.weight.as_vec(), short.weight.as_vec());
}

/// What a network at every step learns is what the series does next, step by step.
#[test]
fn a_forecast_at_every_step_ends_with_the_future() {
    let (train, validation) = waves(300, 20, 3);
    let dev = Cpu::default();
    let mut init = Initializer::new(1);
    let gru = Gru::new(1, &[8], &mut init, &dev).unwrap();
    let mut model = (gru, Dense::new(8, 3, &mut init, &dev).unwrap());
    let forward = |(gru, dense): &(Gru, Dense), past: Traced| {
        let (outputs, _) = gru.forward(past, None)?;
        dense.forward(outputs)
    };
    let hyperparameters = Hyperparameters { epochs: 12, ..hyperparameters() };
    let history =
        fit_at_every_step(&mut model, &train, &validation, &hyperparameters, forward).unwrap();
    let prediction = predict_with(&model, &validation, forward).unwrap();
    assert_eq!(
        (prediction.len(), prediction.steps()),
        (validation.len(), validation.future_steps())
    );
    let reached = mse(&prediction, &validation).unwrap();
    assert_eq!(history.last().validation_mse, reached);
    let naive = mse(&repeat_last(&validation), &validation).unwrap();
    assert!(reached < 0.7 * naive, "{reached}, and repeating the last value {naive}");
}

/// A network that knows the truth: its loss is 0 when it is compared with the right steps.
#[test]
fn at_every_step_the_targets_alone_are_asked_for() {
    let series: Vec<f32> = (0..27).map(|i| (i * i % 17) as f32).collect(); // 9 steps of 3 features
    let data = Dataset::windows(&series, 6, 3, 3).unwrap().with_targets(2).unwrap();
    let (steps, dev) = (6, Cpu::default());
    let next = |step: usize| (step + 1..step + 4).flat_map(|next| &series[next * 3..][..2]);
    let truth: Vec<f32> = (0..steps).flat_map(next).copied().collect();
    let mut model = dense(3, 6);
    let hyperparameters = Hyperparameters { epochs: 1, ..hyperparameters() };
    let forward = |dense: &Dense, past: Traced| {
        let truth = dev.tensor_from_vec(truth.clone(), (1, steps, 6));
        Ok(dense.forward(past)? * 0.0 + truth)
    };
    let history = fit_at_every_step(&mut model, &data, &data, &hyperparameters, forward).unwrap();
    assert_eq!((history.last().loss, history.last().validation_mse_all), (0.0, 0.0));
    let message = fit_at_every_step(
        &mut model,
        &data,
        &data.with_targets(1).unwrap(),
        &hyperparameters,
        forward,
    );
    let message = message.unwrap_err().to_string();
    assert!(message.contains("future's features of the validation part is 1, but 2"), "{message}");
}

/// The network predicts zeros: the loss is half the sum of squares of the truth, (F steps, O targets), as the mean
/// over the series and, at every step, over the P steps. The penalty is added.
#[test]
fn the_loss_on_the_tape_is_the_one_of_fit() {
    let series: Vec<f32> = (0..27).map(|i| (i * i % 17) as f32).collect(); // 9 steps of 3 features
    let data = Dataset::windows(&series, 6, 3, 3).unwrap().with_targets(2).unwrap();
    let hyperparameters = Hyperparameters {
        weight_decay: 0.4,
        learning_rate: 1e-12, // so that no step changes the model
        epochs: 1,
        ..hyperparameters()
    };
    let half_of_squares = |steps: std::ops::Range<usize>| {
        let targets = steps.flat_map(|step| &series[step * 3..][..2]);
        0.5 * targets.map(|&x| f64::from(x).powi(2)).sum::<f64>()
    };
    let mut model = dense(3, 6);
    let squares = |model: &Dense| {
        let weights = model.parameters().into_iter().flat_map(|(_, weight)| weight.to_vec());
        weights.map(|w| f64::from(w).powi(2)).sum::<f64>()
    };
    let penalty = 0.4 * 0.5 * squares(&model);
    let trainer = || Trainer::new(&hyperparameters).quiet();
    let zeros = |dense: &Dense, past: Traced| Ok(dense.forward(past)? * 0.0);
    let history = trainer().at_every_step().fit_on_tape(&mut model, &data, zeros).unwrap();
    let of_steps = (0..6).map(|step| half_of_squares(step + 1..step + 4));
    let expected = of_steps.sum::<f64>() / 6.0 + penalty;
    let found = history.last().loss;
    assert!((found - expected).abs() < 1e-5 * expected, "{found} is not {expected}");

    let zeros = |dense: &Dense, past: Traced| {
        let flat = dense.forward(past.reshape_like(&(1, 1, 18)))? * 0.0;
        Ok(flat.reshape_like(&(1, 3, 2)))
    };
    let mut model = dense(18, 6);
    let penalty = 0.4 * 0.5 * squares(&model);
    let history = trainer().fit_on_tape(&mut model, &data, zeros).unwrap();
    let expected = half_of_squares(6..9) + penalty;
    let found = history.last().loss;
    assert!((found - expected).abs() < 1e-5 * expected, "{found} is not {expected}");
}

#[test]
fn an_error_in_the_middle_of_an_epoch_leaves_the_weights_of_the_epoch_before() {
    let (train, validation) = waves(100, 20, 3); // 80 series: 3 steps an epoch, and 2 predictions
    let weights_after = |calls: usize, epochs: usize| {
        let (mut model, count) = (dense(20, 3), Counter::new(0));
        let hyperparameters = Hyperparameters { epochs, ..hyperparameters() };
        let forward = |model: &Dense, past: Traced| {
            count.set(count.get() + 1);
            match count.get() > calls {
                true => Err(Error::Training("enough".to_owned())),
                false => linear(model, past),
            }
        };
        let trainer = Trainer::new(&hyperparameters).validation(&validation).quiet();
        let outcome = trainer.fit_on_tape(&mut model, &train, forward);
        assert_eq!(
            outcome.map_err(|e| e.to_string()).err().as_deref(),
            match calls {
                usize::MAX => None,
                _ => Some("enough"),
            }
        );
        model.weight.as_vec()
    };
    assert_eq!(weights_after(2, 3), dense(20, 3).weight.as_vec());
    for calls in [5, 7, 9] {
        assert_eq!(weights_after(calls, 3), weights_after(usize::MAX, 1), "{calls} calls");
    }
}

#[test]
fn a_training_in_the_background_comes_to_the_same() {
    let (train, validation) = waves(200, 20, 3);
    let mut model = dense(20, 3);
    let settings = hyperparameters();
    let trainer = || Trainer::new(&settings).validation(&validation).quiet();
    let training = trainer().spawn_on_tape(model.clone(), &train, linear).unwrap();
    let history = trainer().fit_on_tape(&mut model, &train, linear).unwrap();
    let (trained, beside) = training.finish().unwrap();
    assert_eq!(trained.weight.as_vec(), model.weight.as_vec());
    assert_eq!(beside.last().loss, history.last().loss);

    // It is stopped like any other, and refuses what the others refuse.
    let endless = Hyperparameters { epochs: usize::MAX, ..settings };
    let training = Trainer::new(&endless).spawn_on_tape(model, &train, linear).unwrap();
    while training.history().is_err() {
        std::thread::yield_now();
    }
    training.stop();
    assert_eq!(training.finish().unwrap().1.end(), End::Stopped);
    let watched = trainer().after_epoch(|_, _| {});
    let message = watched.spawn_on_tape(dense(20, 3), &train, linear).unwrap_err().to_string();
    assert!(message.starts_with("after_epoch cannot be told"), "{message}");
}

#[test]
fn every_setting_of_the_steps_is_heard() {
    let (train, validation) = waves(200, 20, 3);
    let trained = |hyperparameters: Hyperparameters| {
        let mut model = dense(20, 3);
        fit_on_tape(&mut model, &train, &validation, &hyperparameters, linear).unwrap();
        model.weight.as_vec()
    };
    let plain = trained(hyperparameters());
    for other in [
        Hyperparameters { optimizer: Optimizer::Sgd { momentum: 0.5 }, ..hyperparameters() },
        Hyperparameters {
            optimizer: Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
            ..hyperparameters()
        },
        Hyperparameters {
            schedule: Schedule::Cosine { warmup_fraction: 0.1 },
            ..hyperparameters()
        },
        Hyperparameters { clip_norm: Some(1e-9), ..hyperparameters() },
        Hyperparameters { weight_decay: 0.1, ..hyperparameters() },
    ] {
        assert_ne!(trained(other), plain, "{other}");
    }
}

#[test]
fn a_prediction_of_another_shape_is_refused_by_axis() {
    let (train, validation) = waves(100, 20, 3);
    let refused = |forward: fn(&Dense, Traced) -> Result<Traced>| {
        let mut model = dense(20, 2);
        let result = fit_on_tape(&mut model, &train, &validation, &hyperparameters(), forward);
        result.unwrap_err().to_string()
    };
    let steps = refused(linear);
    assert!(steps.contains("time axis of the prediction is 2, but 3"), "{steps}");
    let features = refused(|dense, past| {
        let series = past.shape().0;
        dense.forward(past.reshape_like(&(series, 1, 20)))
    });
    assert!(features.contains("axis of the prediction"), "{features}");
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused() {
    let ((train, _), (_, validation)) = (waves(100, 20, 3), waves(100, 19, 3));
    let mut model = dense(20, 3);
    let refused = fit_on_tape(&mut model, &train, &validation, &hyperparameters(), linear);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("past steps of the validation part is 19, but 20"), "{message}");
}

#[test]
fn a_diverging_training_leaves_the_weights_of_the_epoch_before() {
    let (train, _) = waves(100, 20, 3);
    let huge = |values: &[f32]| values.iter().map(|v| v * 1e30).collect::<Vec<_>>();
    let train = Dataset::new(huge(train.past()), huge(train.future()), 20, 3, 1).unwrap();
    let mut model = dense(20, 3);
    let values = |model: &Dense| -> Vec<Vec<f32>> {
        model.parameters().iter().map(|(_, parameter)| parameter.to_vec()).collect()
    };
    let before = values(&model);
    let refused = fit_on_tape(&mut model, &train, &train, &hyperparameters(), linear);
    assert!(refused.unwrap_err().is_diverged());
    assert_eq!(values(&model), before);
}

#[test]
fn a_validation_error_that_is_no_number_is_told() {
    let (train, _) = waves(100, 20, 3);
    let huge = |values: &[f32]| vec![3e38; values.len()];
    let validation = Dataset::new(huge(train.past()), huge(train.future()), 20, 3, 1).unwrap();
    let mut model = dense(20, 3);
    model.weight = Cpu::default().ones_like(&(3, 20)); // of the past, the sum: above all of f32
    let refused = fit_on_tape(&mut model, &train, &validation, &hyperparameters(), linear);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("the validation MSE is inf after epoch 1"), "{message}");
    assert_eq!(model.weight.as_vec(), vec![1.0; 60]);
}

#[test]
fn the_two_halves_are_the_whole() {
    let model = Seq2Seq::stacked(1, &Hyperparameters::default()).unwrap();
    let (data, _) = waves(5, 20, 6);
    let past = data.past_tensor();
    let whole = model.forward(past.clone(), 6).unwrap();
    let (last, mut states) = model.encode(past).unwrap();
    for t in 0..6 {
        let (step, after) = model.step(last.clone(), &states).unwrap();
        states = after;
        for series in 0..data.len() {
            let (a, b) = (step[[series, 0]], whole[[series, t, 0]]);
            assert!((a - b).abs() < 1e-6, "series {series}, step {t}: {a} and {b}");
        }
    }
    let message = model.step(states[0].clone(), &states[..1]).unwrap_err().to_string();
    assert!(message.contains("number of states (one a layer) is 1, but 2"), "{message}");
}

#[test]
fn a_stack_that_is_chosen_by_its_cell_is_that_stack() {
    let dev = Cpu::default();
    let (data, _) = waves(5, 20, 1);
    let x = data.past_tensor();
    let chosen = |cell| Recurrent::new(cell, 1, &[3, 4], &mut Initializer::new(9), &dev).unwrap();
    macro_rules! check {
        ($cell:ident) => {
            let own = $cell::new(1, &[3, 4], &mut Initializer::new(9), &dev).unwrap();
            let stack = chosen(Cell::$cell);
            assert_eq!(stack.to_string(), own.to_string());
            assert_eq!(stack.parameter_count(), own.parameter_count());
            let (outputs, _) = own.forward(x.clone(), None).unwrap();
            assert_eq!(stack.forward(x.clone()).unwrap().as_vec(), outputs.as_vec());
            let (last, _) = own.forward_last(x.clone(), None).unwrap();
            assert_eq!(stack.forward_last(x.clone()).unwrap().as_vec(), last.as_vec());
        };
    }
    check!(SimpleRnn);
    check!(Lstm);
    check!(Gru);
    assert!(Recurrent::new(Cell::Gru, 1, &[], &mut Initializer::new(9), &dev).is_err());
}

//! A training that ends before its last epoch: by patience, by the clock, by hand.

use seq2seq::prelude::*;
use seq2seq::train::{End, Epoch};
use std::thread::sleep;
use std::time::Duration;

/// So few series, and so noisy, that a network soon learns them by heart.
fn few() -> (Dataset, Dataset) {
    let settings = NoisyTwoSines { series: 60, ..Default::default() };
    let data = noisy_two_sines(settings).unwrap();
    WindowScaler::fit_transform(&data).unwrap().1.split(0.5).unwrap()
}

fn eager() -> Hyperparameters {
    Hyperparameters {
        hidden_size: 24,
        num_layers: 1,
        weight_decay: 0.0,
        learning_rate: 0.02,
        epochs: 10_000,
        ..Default::default()
    }
}

fn error(model: &Seq2Seq, data: &Dataset) -> f64 {
    mse(&model.predict(data).unwrap(), data).unwrap()
}

/// The index of the epoch with the lowest validation error.
fn best(history: &History) -> usize {
    let errors: Vec<_> = history.epochs().iter().map(|e| e.validation_mse_all).collect();
    (0..errors.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap()
}

#[test]
fn patience_ends_the_training_and_the_best_weights_come_back() {
    let (train, validation) = few();
    let patient = Hyperparameters { patience: Some(7), ..eager() };
    let mut model = Seq2Seq::stacked(1, &patient).unwrap();
    let history = fit(&mut model, &train, &validation, &patient).unwrap();

    assert_eq!(history.end(), End::Patience);
    let kept = best(&history);
    assert_eq!(history.epochs().len(), kept + 1 + 7);
    assert_eq!(history.kept(), history.epochs()[kept]);
    assert_eq!(error(&model, &validation), history.kept().validation_mse_all);
    let text = history.to_string();
    assert!(text.contains("no better validation for 7 epochs"), "{text}");
    assert!(text.contains(&format!("the weights of epoch {}", kept + 1)), "{text}");

    // The epochs are those of a training without patience that is as long.
    let epochs = history.epochs().len();
    let mut other = Seq2Seq::stacked(1, &patient).unwrap();
    let short = Hyperparameters { epochs, ..eager() };
    let whole = fit_with(&mut other, &train, &validation, &short, |_, _| {}).unwrap();
    assert_eq!((whole.end(), whole.kept()), (End::Epochs, whole.last()));
    assert_eq!(whole.last().validation_mse_all, history.last().validation_mse_all);
    assert_eq!(error(&other, &validation), whole.last().validation_mse_all);
    assert!(!whole.to_string().contains("ended"));
}

#[test]
fn patience_gives_the_best_weights_back_after_the_last_epoch_too() {
    let (train, validation) = few();
    let mut model = Seq2Seq::stacked(1, &eager()).unwrap();
    let patient = Hyperparameters { patience: Some(7), ..eager() };
    let kept = best(&fit_with(&mut model, &train, &validation, &patient, |_, _| {}).unwrap());

    let short = Hyperparameters { epochs: kept + 4, ..patient };
    let mut model = Seq2Seq::stacked(1, &eager()).unwrap();
    let history = fit_with(&mut model, &train, &validation, &short, |_, _| {}).unwrap();
    assert_eq!((history.end(), history.epochs().len()), (End::Epochs, kept + 4));
    assert_eq!(history.kept(), history.epochs()[kept]);
    assert_eq!(error(&model, &validation), history.kept().validation_mse_all);
}

#[test]
fn the_clock_ends_a_training_and_what_is_learnt_stays() {
    let (train, validation) = few();
    for max_seconds in [1e-9, 0.2] {
        let hurried = Hyperparameters {
            epochs: usize::MAX,
            max_seconds: Some(max_seconds),
            batch_size: 10,
            ..eager()
        };
        let mut model = Seq2Seq::stacked(1, &hurried).unwrap();
        let untrained = error(&model, &validation);
        let history = fit(&mut model, &train, &validation, &hurried).unwrap();
        assert_eq!(history.end(), End::Seconds);
        assert_ne!(error(&model, &validation), untrained, "not one step was made");
        assert_eq!(error(&model, &validation), history.last().validation_mse_all);
        assert!(history.to_string().contains("max_seconds were over"));
    }
}

#[test]
fn both_limits_hold_on_the_tape() {
    let (train, validation) = few();
    let train_with = |settings: &Hyperparameters| {
        let (dev, mut init) = (Cpu::default(), Initializer::new(1));
        let gru = Gru::new(1, &[8], &mut init, &dev).unwrap();
        let dense = Dense::new(8, validation.future_steps(), &mut init, &dev).unwrap();
        let mut model = (gru, dense);
        let forward = |(gru, dense): &(Gru, Dense), past: Traced| {
            let (last, _) = gru.forward_last(past, None)?;
            let output = dense.forward_step(last)?;
            let (batch, steps) = *output.shape();
            Ok(output.reshape_like(&(batch, steps, 1)))
        };
        let history = fit_on_tape(&mut model, &train, &validation, settings, forward).unwrap();
        let prediction = predict_with(&model, &validation, forward).unwrap();
        (history, mse(&prediction, &validation).unwrap())
    };
    let (history, error) = train_with(&Hyperparameters { patience: Some(2), ..eager() });
    assert_eq!(history.end(), End::Patience);
    assert_eq!(history.epochs().len(), best(&history) + 3);
    assert_eq!(error, history.kept().validation_mse_all);

    let hurried = Hyperparameters { max_seconds: Some(1e-9), batch_size: 10, ..eager() };
    let (history, error) = train_with(&hurried);
    assert_eq!((history.end(), history.epochs().len()), (End::Seconds, 1));
    assert_eq!(error, history.last().validation_mse_all);
}

#[test]
fn a_training_in_the_background_comes_to_the_same() {
    let (train, validation) = few();
    let settings = Hyperparameters { epochs: 5, ..eager() };
    let mut model = Seq2Seq::stacked(1, &settings).unwrap();
    let training = Training::spawn(&model, &train, &validation, &settings).unwrap();
    let history = fit_with(&mut model, &train, &validation, &settings, |_, _| {}).unwrap();
    let (trained, beside) = training.finish().unwrap();
    assert_eq!(trained.predict(&validation).unwrap(), model.predict(&validation).unwrap());
    let errors = |h: &History| h.epochs().iter().map(|e| e.validation_mse).collect::<Vec<_>>();
    assert_eq!(errors(&beside), errors(&history));
}

#[test]
fn a_training_in_the_background_is_watched_and_stopped() {
    let (train, validation) = few();
    let endless = Hyperparameters { epochs: usize::MAX, ..eager() };
    let model = Seq2Seq::stacked(1, &endless).unwrap();
    let training = Training::spawn(&model, &train, &validation, &endless).unwrap();
    while training.history().map_or(0, |history| history.epochs().len()) < 3 {
        sleep(Duration::from_millis(1));
    }
    assert!(training.is_running());
    let text = training.to_string();
    assert!(text.contains("validation MSE") && text.contains("to go"), "{text}");
    let seen = training.history().unwrap();

    training.stop();
    let (trained, history) = training.finish().unwrap();
    assert_eq!(history.end(), End::Stopped);
    assert_eq!(history.epochs()[..3], seen.epochs()[..3]);
    assert_eq!(error(&trained, &validation), history.last().validation_mse_all);
    assert!(history.to_string().contains("it was stopped"));
}

#[test]
fn the_background_refuses_what_fit_refuses() {
    let (train, validation) = few();
    let model = Seq2Seq::stacked(2, &eager()).unwrap();
    let refused = Training::spawn(&model, &train, &validation, &eager()).unwrap_err().to_string();
    let mut model = model;
    let expected = fit(&mut model, &train, &validation, &eager()).unwrap_err().to_string();
    assert_eq!(refused, expected);

    let mut model = Seq2Seq::stacked(1, &eager()).unwrap();
    let diverging = Hyperparameters {
        optimizer: Optimizer::Sgd { momentum: 0.99 },
        learning_rate: 1.0,
        ..eager()
    };
    let training = Training::spawn(&model, &train, &validation, &diverging).unwrap();
    let message = training.finish().unwrap_err().to_string();
    let expected = fit(&mut model, &train, &validation, &diverging).unwrap_err().to_string();
    assert_eq!(message, expected);
    assert!(message.contains("diverged"), "{message}");
}

/// Two features: the first is best in the first epoch, both together in the second.
#[test]
fn every_best_epoch_is_the_one_with_the_lowest_error_over_all_features() {
    let epoch = |of_first, of_all| Epoch {
        loss: of_all,
        train_mse: of_first,
        validation_mse: of_first,
        train_mse_all: of_all,
        validation_mse_all: of_all,
        seconds: 1.0,
    };
    let history = [epoch(0.1, 0.5), epoch(0.2, 0.3), epoch(0.15, f64::NAN), epoch(0.3, 0.3)];
    let history = History::new(history.to_vec()).unwrap();
    assert_eq!(history.best(), epoch(0.2, 0.3));
    let text = history.to_string();
    assert!(text.contains("best validation MSE  0.200000 (epoch 2)"), "{text}");
    let alt = plot::losses(&history).unwrap().alt().to_owned();
    assert!(alt.contains("best validation MSE 0.2 at epoch 2"), "{alt}");
}

/// The clock is over at once, so that the first step is the last one, and its rate is 0.
#[test]
fn a_cosine_falls_to_zero_by_the_end_of_max_seconds() {
    let (train, validation) = few();
    let of = |max_seconds| Hyperparameters {
        schedule: Schedule::Cosine { warmup_fraction: 0.0 },
        max_seconds: Some(max_seconds),
        ..eager()
    };
    let trained = |hyperparameters: &Hyperparameters| {
        let mut model = Seq2Seq::stacked(1, hyperparameters).unwrap();
        let before = model.predict(&validation).unwrap();
        let history = fit_with(&mut model, &train, &validation, hyperparameters, |_, _| {});
        assert_eq!(history.unwrap().end(), End::Seconds);
        (before, model.predict(&validation).unwrap())
    };
    let (before, after) = trained(&of(1e-9));
    assert_eq!(before, after);
    let constant = Hyperparameters { schedule: Schedule::Constant, ..of(1e-9) };
    let (before, after) = trained(&constant);
    assert_ne!(before, after);
}

/// A limit that is never reached leaves the schedule to the steps.
#[test]
fn a_far_limit_changes_no_learning_rate() {
    let (train, validation) = few();
    let of = |max_seconds| Hyperparameters {
        schedule: Schedule::Cosine { warmup_fraction: 0.1 },
        max_seconds,
        epochs: 5,
        ..eager()
    };
    let trained = |hyperparameters: &Hyperparameters| {
        let mut model = Seq2Seq::stacked(1, hyperparameters).unwrap();
        fit_with(&mut model, &train, &validation, hyperparameters, |_, _| {}).unwrap();
        model.predict(&validation).unwrap()
    };
    assert_eq!(trained(&of(None)), trained(&of(Some(1e9))));
}

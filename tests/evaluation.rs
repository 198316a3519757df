//! Errors of predictions by hand, and the folds of a back-test.

use proptest::prelude::*;
use seq2seq::prelude::*;

/// Two series, P = 3, F = 2, D = 2.
fn data() -> Dataset {
    let past = vec![0.0, 10.0, 1.0, 20.0, 3.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let future = vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
    Dataset::new(past, future, 3, 2, 2).unwrap()
}

/// Off by 1 in feature 0 and by 2 in feature 1; in the second step by twice as much.
fn prediction() -> Vec<f32> {
    vec![2.0, 3.0, 4.0, 6.0, 4.0, 5.0, 6.0, 8.0]
}

#[test]
fn errors_are_split_by_step_feature_and_series() {
    let (prediction, data) = (prediction(), data());
    assert_eq!(mse(&prediction, &data).unwrap(), 6.25);
    assert_eq!(mse_by_feature(&prediction, &data).unwrap(), [2.5, 10.0]);
    assert_eq!(mse_of_feature(&prediction, &data, 1).unwrap(), 10.0);
    assert_eq!(mse_by_step(&prediction, &data).unwrap(), [2.5, 10.0]);
    assert_eq!(mse_by_series(&prediction, &data).unwrap(), [6.25, 6.25]);
}

#[test]
fn scores_follow_their_formulas() {
    let scores = Scores::of(&prediction(), &data()).unwrap();
    assert_eq!((scores.mse, scores.rmse, scores.mae), (6.25, 2.5, 2.25));
    // Pasts move by 1, 2 and 10, 10 in the first series and not at all in the second.
    assert!((scores.mase - 2.25 / (23.0 / 8.0)).abs() < 1e-12);
    let terms = [2. / 3., 1., 2. / 3., 1., 2. / 7., 1. / 2., 2. / 5., 2. / 3.];
    assert!((scores.smape - terms.iter().sum::<f64>() / 8.0).abs() < 1e-12);
}

#[test]
fn a_perfect_forecast_scores_zero_even_at_zero() {
    let data = Dataset::new(vec![1.0, 2.0], vec![0.0, 5.0], 2, 2, 1).unwrap();
    let scores = Scores::of(&[0.0, 5.0], &data).unwrap();
    assert_eq!((scores.mse, scores.smape, scores.mase), (0.0, 0.0, 0.0));
}

#[test]
fn a_prediction_of_another_size_is_refused() {
    let message = Scores::of(&[0.0; 7], &data()).unwrap_err().to_string();
    assert!(message.contains("predicted values is 7, but 8"), "{message}");
    assert!(mse_by_step(&[0.0; 9], &data()).is_err());
}

#[test]
fn every_window_is_there_the_last_one_too() {
    let series = [0., 1., 2., 3., 4., 5., 6.];
    let data = Dataset::windows(&series, 3, 2, 1).unwrap();
    assert_eq!(data.len(), 7 - 3 - 2 + 1);
    let last = Window { past: vec![2., 3., 4.], future: vec![5., 6.] };
    assert_eq!(data.window(2).unwrap(), last);
}

#[test]
fn impossible_windows_are_refused() {
    let message =
        |series: &[f32], p, f, d| Dataset::windows(series, p, f, d).unwrap_err().to_string();
    assert!(message(&[0.0; 4], 3, 2, 1).contains("4 steps are less than P + F = 3 + 2"));
    assert!(message(&[0.0; 5], 1, 1, 2).contains("is 5, but 4"));
    assert!(message(&[0.0; 5], 1, 1, 0).contains("features is 0"));
    assert!(message(&[0.0; 5], 0, 1, 1).contains("past_steps is 0"));
    assert!(message(&[0.0; 5], 1, 0, 1).contains("future_steps is 0"));
    assert!(message(&[0.0, f32::NAN, 0.0], 1, 1, 1).contains("NaN"));
}

/// Wave of i, the same on every machine.
fn wave(i: usize) -> f32 {
    ((i * i) as f32 * 0.37).sin()
}

#[test]
fn a_probe_finds_what_is_there_and_nothing_else() {
    let inputs: Vec<f32> = (0..600).map(wave).collect(); // (200, 3)
    let there: Vec<f32> = inputs.chunks(3).map(|row| 2.0 * row[0] - row[2] + 1.0).collect();
    let absent: Vec<f32> = (0..200).map(|i| wave(i + 7919)).collect();
    assert!(linear_probe(&inputs, &there).unwrap() > 0.9999);
    assert!(linear_probe(&inputs, &absent).unwrap() < 0.2);
    assert!(linear_probe(&inputs, &[0.5; 200]).unwrap_err().to_string().contains("the same"));
    assert!(linear_probe(&inputs[..599], &there).unwrap_err().to_string().contains("is 599"));
    assert!(linear_probe(&[], &[]).is_err());
}

#[test]
fn correlation_has_a_sign_and_no_scale() {
    let a: Vec<f32> = (0..50).map(wave).collect();
    let opposite: Vec<f32> = a.iter().map(|v| 3.0 - 7.0 * v).collect();
    assert!((correlation(&a, &a).unwrap() - 1.0).abs() < 1e-9);
    assert!((correlation(&a, &opposite).unwrap() + 1.0).abs() < 1e-6);
    assert_eq!(correlation(&a, &[2.0; 50]).unwrap(), 0.0);
    assert!(correlation(&a, &a[1..]).is_err());
}

#[test]
fn bands_have_the_means_of_their_points() {
    let x = [0.0, 1.0, 9.0, 10.0];
    assert_eq!(mean_by_band(&x, &[1.0, 3.0, 5.0, 9.0], 2).unwrap(), [(2.5, 2.0), (7.5, 7.0)]);
    assert_eq!(mean_by_band(&x, &[1.0, 3.0, 5.0, 9.0], 5).unwrap().len(), 2, "empty bands");
    assert!(mean_by_band(&x, &[1.0], 2).is_err());
    assert!(mean_by_band(&x, &[1.0; 4], 0).unwrap_err().to_string().contains("bands is 0"));
    assert!(mean_by_band(&[], &[], 2).is_err());
}

proptest! {
    #[test]
    fn windows_follow_each_other(steps in 2..40_usize, p in 1..6_usize, f in 1..6_usize, d in 1..4_usize) {
        prop_assume!(steps >= p + f);
        let series: Vec<f32> = (0..steps * d).map(|i| i as f32).collect();
        let data = Dataset::windows(&series, p, f, d).unwrap();
        prop_assert_eq!(data.len(), steps - p - f + 1);
        for i in 0..data.len() {
            let window = data.window(i).unwrap();
            prop_assert_eq!([window.past, window.future].concat(), &series[i * d..][..(p + f) * d]);
        }
    }

    #[test]
    fn folds_never_train_on_what_they_test(
        first in 1..50_usize,
        test in 1..20_usize,
        window in proptest::option::of(1..50_usize),
        steps in 1..200_usize,
    ) {
        let plan = RollingOrigin { first, test, window };
        let possible = first + test <= steps && window.is_none_or(|size| size <= first);
        let folds = plan.folds(steps);
        prop_assert_eq!(folds.is_ok(), possible);
        let Ok(folds) = folds else { return Ok(()) };
        prop_assert_eq!(folds.len(), (steps - first) / test);
        for (i, fold) in folds.iter().enumerate() {
            prop_assert_eq!(fold.train.end, first + i * test);
            prop_assert_eq!(fold.test.clone(), fold.train.end..fold.train.end + test);
            prop_assert_eq!(fold.train.len(), window.unwrap_or(fold.train.end));
        }
    }
}

//! Errors of predictions by hand, and the folds of a back-test.

use proptest::prelude::*;
use seq2seq::data::Window;
use seq2seq::evaluate::mse_by_feature;
use seq2seq::prelude::*;

/// Two series, P = 3, F = 2, D = 2.
fn data() -> Dataset {
    let past = vec![0.0, 10.0, 1.0, 20.0, 3.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let future = vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
    Dataset::new(past, future, 3, 2, 2).unwrap()
}

/// Off by 1 in feature 0 and by 2 in feature 1; in the second step by twice as much.
fn prediction() -> Forecast {
    data().forecast(vec![2.0, 3.0, 4.0, 6.0, 4.0, 5.0, 6.0, 8.0]).unwrap()
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
    let scores = Scores::of(&data.forecast(vec![0.0, 5.0]).unwrap(), &data).unwrap();
    assert_eq!((scores.mse, scores.smape, scores.mase), (0.0, 0.0, 0.0));
}

#[test]
fn a_prediction_of_another_size_is_refused() {
    let refused = |n: usize, steps: usize, targets: usize| {
        let forecast = Forecast::new(vec![0.0; n * steps * targets], steps, targets).unwrap();
        let message = Scores::of(&forecast, &data()).unwrap_err().to_string();
        assert_eq!(mse_by_step(&forecast, &data()).unwrap_err().to_string(), message);
        message
    };
    assert_eq!(refused(1, 2, 2), "the number of series of the forecast is 1, but 2 is needed here");
    // As many values, and yet another forecast.
    assert!(refused(4, 2, 1).contains("series of the forecast is 4, but 2"));
    assert!(refused(2, 4, 1).contains("steps of the forecast is 4, but 2"));
    assert!(refused(2, 2, 1).contains("targets of the forecast is 1, but 2"));
}

#[test]
fn a_forecast_is_read_by_series_step_and_target() {
    let forecast = prediction();
    assert_eq!((forecast.len(), forecast.steps(), forecast.targets()), (2, 2, 2));
    assert_eq!(forecast.to_string(), "forecast (2, 2, 2)  (series, future steps, targets)");
    assert_eq!(forecast.series(1).unwrap(), [4.0, 5.0, 6.0, 8.0]);
    assert_eq!(forecast.step(1).unwrap(), [4.0, 6.0, 6.0, 8.0]);
    assert_eq!(forecast.target(1).unwrap(), [3.0, 6.0, 5.0, 8.0]);
    let series: Vec<&[f32]> = (&forecast).into_iter().collect();
    assert_eq!(series.concat(), forecast.values());
    let turned = forecast.select([1, 0, 1]).unwrap();
    assert_eq!(turned.step(0).unwrap(), [4.0, 5.0, 2.0, 3.0, 4.0, 5.0]);
    let numbered = forecast.map(|step, target, value| value + (10 * step + 100 * target) as f32);
    assert_eq!(numbered.series(0).unwrap(), [2.0, 103.0, 14.0, 116.0]);
    for (refused, part) in [
        (forecast.series(2).err(), "index is 2, but it must be below 2, the number of series"),
        (forecast.step(2).err(), "below 2, the number of steps"),
        (forecast.target(2).err(), "below 2, the number of targets"),
        (forecast.select([0, 2]).err(), "below 2, the number of series"),
        (forecast.select([]).err(), "no series"),
    ] {
        let message = refused.unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_mean_of_forecasts_is_one_of_their_size() {
    let (forecast, zeros) = (prediction(), data().constant_forecast(0.0));
    let mean = Forecast::mean(&[forecast.clone(), zeros]).unwrap();
    assert_eq!(mean, forecast.map(|_, _, value| value / 2.0));
    assert!(Forecast::mean(&[]).is_err());
    let message = Forecast::mean(&[forecast.clone(), forecast.select([0]).unwrap()]).unwrap_err();
    assert!(message.to_string().contains("series of a forecast is 1, but 2"), "{message}");
}

#[test]
fn values_that_are_no_forecast_are_refused() {
    let message = |values: usize, steps, targets| {
        Forecast::new(vec![0.0; values], steps, targets).unwrap_err().to_string()
    };
    assert!(message(4, 0, 1).contains("steps is 0"));
    assert!(message(4, 1, 0).contains("targets is 0"));
    assert!(message(0, 1, 1).contains("no value"));
    assert!(message(5, 2, 1).contains("(n x F x O, F = 2, O = 1) is 5, but 6"));
    let message = data().forecast(vec![0.0; 7]).unwrap_err().to_string();
    assert!(message.contains("(n x F x O = 2 x 2 x 2) is 7, but 8"), "{message}");
    let tensor: Sequence = Cpu::default().zeros_like(&(2, 0, 3));
    assert!(Forecast::try_from(tensor).is_err());
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

fn golden() -> (serde_json::Value, Dataset) {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/baselines.json")).unwrap();
    let f32s = |name: &str| numbers(&golden[name]).iter().map(|&v| v as f32).collect();
    let sizes: Vec<usize> = numbers(&golden["sizes"]).iter().map(|&v| v as usize).collect();
    let data = Dataset::new(f32s("past"), f32s("future"), sizes[0], sizes[1], sizes[2]).unwrap();
    (golden, data)
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Against numpy and statsmodels, `tests/golden/baselines.py`.
#[test]
fn baselines_have_the_values_of_other_programs() {
    let (golden, data) = golden();
    let season = golden["season"].as_u64().unwrap() as usize;
    let smoothing = ExponentialSmoothing::new(numbers(&golden["alpha"])).unwrap();
    let ridge = LeastSquares::fit_ridge(&data, golden["penalty"].as_f64().unwrap()).unwrap();
    for (name, found) in [
        ("drift", drift(&data)),
        ("seasonal_naive", seasonal_naive(&data, season).unwrap()),
        ("smoothing", smoothing.predict(&data).unwrap()),
        ("ridge", ridge.predict(&data).unwrap()),
    ] {
        let expected = numbers(&golden[name]);
        assert_eq!(found.values().len(), expected.len());
        for (i, (found, expected)) in found.values().iter().zip(expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 2e-6 * expected.abs().max(1.0), "{name} {i}: {found} not {expected}");
        }
    }
    assert_eq!(ExponentialSmoothing::fit(&data).alpha(), numbers(&golden["chosen_alpha"]));
}

/// Against a regression on a constant with HAC errors in statsmodels, `tests/golden/baselines.py`.
#[test]
fn the_diebold_mariano_test_has_the_values_of_other_programs() {
    for case in golden().0["diebold_mariano"].as_array().unwrap() {
        let (first, second) = (numbers(&case["first"]), numbers(&case["second"]));
        let horizon = case["horizon"].as_u64().unwrap() as usize;
        let test = DieboldMariano::test(&first, &second, horizon).unwrap();
        for (name, found) in [
            ("mean_difference", test.mean_difference),
            ("statistic", test.statistic),
            ("p_value", test.p_value),
        ] {
            let expected = case[name].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-9, "{name}: {found} not {expected}");
        }
        let other = DieboldMariano::test(&second, &first, horizon).unwrap();
        assert_eq!((other.statistic, other.p_value), (-test.statistic, test.p_value));
    }
}

#[test]
fn baselines_coincide_with_the_naive_forecast_where_they_should() {
    let (_, data) = golden();
    assert_eq!(seasonal_naive(&data, 1).unwrap(), repeat_last(&data));
    let smoothing = ExponentialSmoothing::new(vec![1.0; 2]).unwrap();
    assert_eq!(smoothing.predict(&data).unwrap(), repeat_last(&data));
    let one_step = Dataset::new(vec![3.0, 4.0], vec![0.0; 4], 1, 2, 2).unwrap();
    assert_eq!(drift(&one_step).values(), [3.0, 4.0, 3.0, 4.0]);
    // Nothing to choose from: the last value is as good as any mean.
    let constant = Dataset::new(vec![2.0; 6], vec![2.0; 2], 3, 1, 1).unwrap();
    assert_eq!(ExponentialSmoothing::fit(&constant).alpha(), [1.0]);
}

#[test]
fn impossible_settings_of_baselines_are_refused() {
    let (_, data) = golden();
    for period in [0, 8] {
        let message = seasonal_naive(&data, period).unwrap_err().to_string();
        assert!(message.contains(&format!("period is {period}")) && message.contains("1 to 7"));
    }
    for alpha in [0.0, 1.5, f64::NAN] {
        let message = ExponentialSmoothing::new(vec![0.5, alpha]).unwrap_err().to_string();
        assert!(message.contains(&format!("alpha is {alpha}")), "{message}");
    }
    assert!(ExponentialSmoothing::new(vec![]).is_err());
    let one = ExponentialSmoothing::new(vec![0.5]).unwrap();
    assert!(one.predict(&data).unwrap_err().to_string().contains("is 2, but 1"));
    for penalty in [-1.0, f64::NAN, f64::INFINITY] {
        let message = LeastSquares::fit_ridge(&data, penalty).unwrap_err().to_string();
        assert!(message.contains(&format!("penalty is {penalty}")), "{message}");
    }
    let message = |a: &[f64], b: &[f64], h| DieboldMariano::test(a, b, h).unwrap_err().to_string();
    assert!(message(&[1.0; 4], &[1.0; 3], 1).contains("is 3, but 4"));
    assert!(message(&[1.0; 9], &[2.0; 9], 5).contains("horizon is 5"));
    assert!(message(&[1.0; 9], &[2.0; 9], 0).contains("from 1 to 4"));
    assert!(message(&[], &[], 1).contains("horizon is 1"));
    assert!(message(&[0.1; 9], &[0.3; 9], 2).contains("same amount"));
    assert!(message(&[1.0, f64::NAN], &[1.0, 2.0], 1).contains("NaN"));
}

/// Two inputs, of sizes a hundred million apart, and an exact law; the future is of a size of its own.
fn of_unequal_scales(scales: [f32; 3]) -> Dataset {
    let [small, large, future] = scales;
    let x = |i: usize| (wave(2 * i), wave(2 * i + 1));
    let past = (0..300).flat_map(|i| [small * x(i).0, large * (x(i).1 + 3.0)]);
    let law = (0..300).map(|i| future * (2.0 * x(i).0 - 0.5 * x(i).1 + 1.0));
    let (past, law): (Vec<f32>, Vec<f32>) = (past.collect(), law.collect());
    let both = law.iter().flat_map(|&y| [y, -y]).collect();
    Dataset::new(past, both, 1, 1, 2).unwrap()
}

#[test]
fn least_squares_find_an_exact_law_whatever_the_scales_of_the_inputs() {
    for scales in [[1e-3, 1e4, 1.0], [1e4, 1e-3, 1.0], [1e-20, 1e20, 1e10], [1.0, 1.0, 1.0]] {
        let data = of_unequal_scales(scales);
        let prediction = LeastSquares::fit(&data).unwrap().predict(&data).unwrap();
        let error = mse(&prediction, &data).unwrap();
        let variance = mse(&data.constant_forecast(0.0), &data).unwrap();
        assert!(error < 1e-10 * variance, "{scales:?}: {error} of {variance}");
    }
}

#[test]
fn a_ridge_penalty_means_the_same_in_every_unit() {
    let forecast = |scales| {
        let data = of_unequal_scales(scales);
        LeastSquares::fit_ridge(&data, 50.0).unwrap().predict(&data).unwrap()
    };
    let (a, b) = (forecast([1.0, 1.0, 1.0]), forecast([1e-3, 1e4, 1.0]));
    for (a, b) in a.values().iter().zip(b.values()) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

/// Prices move by a hundred-thousandth of what they are: the moves are what there is to learn.
#[test]
fn least_squares_see_small_moves_of_large_values() {
    let moves: Vec<f32> = (0..2000).map(wave).collect();
    let past = moves.chunks(2).flat_map(|m| [1e4 + 0.1 * m[0], 1e4 + 0.1 * (m[0] + 0.01 * m[1])]);
    let past: Vec<f32> = past.collect();
    let future: Vec<f32> = past.chunks(2).map(|p| 100.0 * (p[1] - p[0])).collect();
    let data = Dataset::new(past, future, 2, 1, 1).unwrap();
    let prediction = LeastSquares::fit(&data).unwrap().predict(&data).unwrap();
    let variance = mse(&data.constant_forecast(0.0), &data).unwrap();
    assert!(mse(&prediction, &data).unwrap() < 1e-6 * variance);
}

#[test]
fn inputs_that_never_vary_and_twins_are_no_trouble() {
    let past: Vec<f32> = (0..200).flat_map(|i| [0.1, wave(i), wave(i), 1e30]).collect();
    let future: Vec<f32> = (0..200).flat_map(|i| [3.0 * wave(i) + 1.0, 7.0, 0.0, 0.0]).collect();
    let data = Dataset::new(past, future, 1, 1, 4).unwrap();
    for penalty in [0.0, 1e-6] {
        let line = LeastSquares::fit_ridge(&data, penalty).unwrap();
        assert!(mse(&line.predict(&data).unwrap(), &data).unwrap() < 1e-10);
    }
    let one = data.select([0]).unwrap();
    let line = LeastSquares::fit(&one).unwrap();
    assert_eq!(line.predict(&one).unwrap().values(), one.future());
}

#[test]
fn a_larger_penalty_gives_smaller_forecasts() {
    let (_, data) = golden();
    let (_, centred) = WindowScaler::fit_transform(&data).unwrap();
    let spread = |penalty: f64| {
        let line = LeastSquares::fit_ridge(&centred, penalty).unwrap();
        let y = line.predict(&centred).unwrap();
        let first: Vec<f64> = y.values().iter().step_by(10).map(|&v| f64::from(v)).collect();
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        first.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
    };
    assert!(spread(0.1) > spread(1.0) && spread(1.0) > spread(100.0) && spread(1e6) < 1e-6);
}

#[test]
fn inputs_that_are_not_predicted_change_nothing_but_what_is_learnt_from_them() {
    let series: Vec<f32> = (0..120).map(|i| wave(i) + i as f32 * 0.01).collect();
    let all = Dataset::windows(&series, 5, 4, 3).unwrap();
    let data = all.with_targets(2).unwrap();
    let first = |values: &[f32]| -> Vec<f32> {
        values.chunks(3).flat_map(|step| &step[..2]).copied().collect()
    };
    let smoothing = ExponentialSmoothing::fit(&all);
    let (line, of_all) = (LeastSquares::fit(&data).unwrap(), LeastSquares::fit(&all).unwrap());
    for (found, expected) in [
        (repeat_last(&data), repeat_last(&all)),
        (drift(&data), drift(&all)),
        (seasonal_naive(&data, 3).unwrap(), seasonal_naive(&all, 3).unwrap()),
        (smoothing.predict(&data).unwrap(), smoothing.predict(&all).unwrap()),
    ] {
        assert_eq!(found.values(), first(expected.values()));
    }
    let expected = first(of_all.predict(&all).unwrap().values());
    for (found, expected) in line.predict(&data).unwrap().values().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4);
    }
    assert!(line.predict(&all).unwrap_err().to_string().contains("is 3, but 2"));

    let (prediction, of_all) = (drift(&data), drift(&all));
    let expected = mse_by_feature(&of_all, &all).unwrap();
    assert_eq!(mse_by_feature(&prediction, &data).unwrap(), expected[..2]);
    assert_eq!(mse_of_feature(&prediction, &data, 1).unwrap(), expected[1]);
    assert!(mse_of_feature(&prediction, &data, 2).is_err());
    assert_eq!(mse_by_step(&prediction, &data).unwrap().len(), 4);
    assert_eq!(mse_by_series(&prediction, &data).unwrap().len(), data.len());
    // As if the third feature had never been there.
    let two = Dataset::windows(&first(&series), 5, 4, 2).unwrap();
    let (found, expected) = (Scores::of(&prediction, &data), Scores::of(&prediction, &two));
    assert_eq!(found.unwrap(), expected.unwrap());
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

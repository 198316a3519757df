//! Properties of the data: the same from the same seed, the future continues the past, no series
//! is lost or seen twice, and scaling looks at the past alone.

use proptest::prelude::*;
use seq2seq::data::Window;
use seq2seq::prelude::*;
use std::f64::consts::PI;

fn settings() -> impl Strategy<Value = SineCosine> {
    (1..40usize, 1..30usize, 1..30usize, any::<u64>()).prop_map(
        |(series, past_steps, future_steps, seed)| SineCosine {
            series,
            past_steps,
            future_steps,
            seed,
        },
    )
}

/// The series of one window, past and future joined, `(P + F, D)`.
fn joined(window: &Window) -> Vec<f64> {
    let values = window.past.iter().chain(&window.future);
    values.map(|&v| f64::from(v)).collect()
}

/// The true future, as the forecast that is never wrong.
fn future(data: &Dataset) -> Forecast {
    data.forecast(data.future().to_vec()).unwrap()
}

proptest! {
    #[test]
    fn same_seed_same_data(settings in settings()) {
        prop_assert_eq!(sine_cosine(settings).unwrap(), sine_cosine(settings).unwrap());
    }

    #[test]
    fn sine_and_cosine_turn_by_equal_steps_through_three_pi(settings in settings()) {
        let data = sine_cosine(settings).unwrap();
        let step = 3.0 * PI / (settings.past_steps + settings.future_steps - 1) as f64;
        for i in 0..data.len() {
            let values = joined(&data.window(i).unwrap());
            let phase = values[0].atan2(values[1]);
            for (t, point) in values.chunks(2).enumerate() {
                let angle = phase + t as f64 * step;
                // Values are f32, and the phase is read off two of them.
                prop_assert!((point[0] - angle.sin()).abs() < 1e-6);
                prop_assert!((point[1] - angle.cos()).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn two_sines_obey_the_recurrence_of_two_frequencies(
        past_steps in 1..30usize,
        future_steps in 8..30usize,
        seed in any::<u64>(),
    ) {
        let settings = TwoSines { series: 3, past_steps, future_steps, seed };
        let data = two_sines(settings).unwrap();
        prop_assert_eq!(&data, &two_sines(settings).unwrap());
        for i in 0..data.len() {
            let x = joined(&data.window(i).unwrap());
            prop_assert!(x.iter().all(|v| v.abs() <= 2.3));
            // A sum of two sinusoids obeys x[t+2] + x[t-2] = p (x[t+1] + x[t-1]) + q x[t] with the
            // same p and q at every t: fit them on all steps, and nothing may be left.
            let rows: Vec<[f64; 3]> = x
                .windows(5)
                .map(|w| [w[1] + w[3], w[2], w[0] + w[4]])
                .collect();
            let sum = |a: usize, b: usize| rows.iter().map(|r| r[a] * r[b]).sum::<f64>();
            let determinant = sum(0, 0) * sum(1, 1) - sum(0, 1).powi(2);
            if determinant.abs() < 1e-3 {
                continue; // the two frequencies are too close to be told apart in f32
            }
            let p = (sum(0, 2) * sum(1, 1) - sum(1, 2) * sum(0, 1)) / determinant;
            let q = (sum(1, 2) * sum(0, 0) - sum(0, 2) * sum(0, 1)) / determinant;
            for r in &rows {
                prop_assert!((r[2] - p * r[0] - q * r[1]).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_split_loses_nothing_and_keeps_the_order(settings in settings(), fraction in 0.01..0.99) {
        let data = sine_cosine(settings).unwrap();
        let Ok((train, validation)) = data.split(fraction) else {
            // Refused only where one part would be empty.
            let validation = (data.len() as f64 * fraction).round() as usize;
            prop_assert!(validation == 0 || validation == data.len());
            return Ok(());
        };
        prop_assert_eq!([train.past(), validation.past()].concat(), data.past());
        prop_assert_eq!([train.future(), validation.future()].concat(), data.future());
    }

    #[test]
    fn batches_hold_every_series_once(settings in settings(), size in 1..50usize, epoch in 0..9usize) {
        let data = sine_cosine(settings).unwrap();
        let batches = data.batches(size, settings.seed, epoch).unwrap();
        let (last, full) = batches.split_last().unwrap();
        prop_assert!(full.iter().all(|b| b.len() == size) && last.len() <= size);
        let sorted = |data: &[Dataset]| {
            let series = data.iter().flat_map(|b| (0..b.len()).map(|i| b.window(i).unwrap()));
            let mut series: Vec<_> = series.map(|w| [w.past, w.future].concat()).collect();
            series.sort_by(|a, b| a.partial_cmp(b).unwrap());
            series
        };
        prop_assert_eq!(sorted(&batches), sorted(&[data]));
    }

    #[test]
    fn scaling_is_undone_and_sees_only_the_past(settings in settings()) {
        let data = sine_cosine(settings).unwrap();
        let (scaler, scaled) = WindowScaler::fit_transform(&data).unwrap();
        for (values, scaled, steps) in [
            (data.past(), scaled.past(), data.past_steps()),
            (data.future(), scaled.future(), data.future_steps()),
        ] {
            let scaled = Forecast::new(scaled.to_vec(), steps, 2).unwrap();
            let back = scaler.unscale(&scaled).unwrap();
            for (v, b) in values.iter().zip(back.values()) {
                prop_assert!((v - b).abs() < 1e-5);
            }
        }
        // Another future leaves the scaled past as it was.
        let other = vec![0.5; data.future().len()];
        let (p, f) = (data.past_steps(), data.future_steps());
        let other = Dataset::new(data.past().to_vec(), other, p, f, 2).unwrap();
        let (other_scaler, other_scaled) = WindowScaler::fit_transform(&other).unwrap();
        prop_assert_eq!(&other_scaler, &scaler);
        prop_assert_eq!(other_scaled.past(), scaled.past());
    }
}

#[test]
fn the_scaled_past_has_mean_0_and_deviation_one_over_2_5() {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (_, scaled) = WindowScaler::fit_transform(&data).unwrap();
    for i in 0..scaled.len() {
        let past = scaled.window(i).unwrap().past;
        for feature in 0..2 {
            let values: Vec<f64> =
                past.iter().skip(feature).step_by(2).map(|&v| v.into()).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 1e-4, "{mean}");
            assert!((variance.sqrt() - 0.4).abs() < 1e-4, "{variance}");
        }
    }
}

#[test]
fn the_first_values_of_seed_42_are_the_same_on_every_machine() {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let bits: Vec<u32> = data.past()[..4].iter().map(|v| v.to_bits()).collect();
    // As computed on x86-64; ChaCha8 and libm promise the same elsewhere.
    assert_eq!(bits, [3211324155, 3201595093, 3212797939, 1032547639]);
}

#[test]
fn epochs_shuffle_differently_and_repeatably() {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let of_epoch = |epoch| data.batches(100, 42, epoch).unwrap();
    assert_eq!(of_epoch(1), of_epoch(1));
    assert_ne!(of_epoch(1), of_epoch(2));
}

#[test]
fn bad_data_is_refused_with_its_place() {
    let message = |past: Vec<f32>, future: Vec<f32>, p, f, d| {
        Dataset::new(past, future, p, f, d).unwrap_err().to_string()
    };
    let nan = message(vec![0.0, 1.0, f32::NAN, 3.0], vec![0.0; 2], 2, 1, 1);
    assert!(nan.contains("past of series 1") && nan.contains("NaN at step 0"), "{nan}");
    let sizes = message(vec![0.0; 4], vec![0.0; 3], 2, 1, 1);
    assert!(sizes.contains("future") && sizes.contains('3') && sizes.contains('2'), "{sizes}");
    assert!(message(vec![], vec![], 2, 1, 1).contains("no window"));
    assert!(message(vec![0.0], vec![0.0], 1, 0, 1).contains("future_steps is 0"));
    let none = SineCosine { series: 0, ..Default::default() };
    assert!(sine_cosine(none).unwrap_err().to_string().contains("series is 0"));
    let data = sine_cosine(SineCosine::default()).unwrap();
    for fraction in [0.0, 1.0, -0.5, f64::NAN, 0.0001] {
        let message = data.split(fraction).unwrap_err().to_string();
        assert!(message.contains(&format!("validation_fraction is {fraction}")), "{message}");
    }
    assert!(data.batches(0, 1, 1).unwrap_err().to_string().contains("batch_size is 0"));
    assert!(data.window(1000).unwrap_err().to_string().contains("index is 1000"));
}

#[test]
fn least_squares_is_exact_on_sines_and_refuses_other_sizes() {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (train, validation) = data.split(0.2).unwrap();
    let line = LeastSquares::fit(&train).unwrap();
    assert!(mse(&line.predict(&validation).unwrap(), &validation).unwrap() < 1e-10);
    let longer = SineCosine { past_steps: 11, ..Default::default() };
    let message = line.predict(&sine_cosine(longer).unwrap()).unwrap_err().to_string();
    assert!(message.contains("past steps is 11, but 10"), "{message}");
}

/// Against a long numpy run, `tests/golden/signal_moments.py`. Two hundred thousand values or more
/// leave a standard error below 0.003 on each moment; four of them are allowed.
#[test]
fn signals_have_the_moments_of_their_formulas() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/signal_moments.json")).unwrap();
    let series = 50_000;
    let two = TwoSines { series, ..Default::default() };
    let unequal = TwoSines { past_steps: 10, future_steps: 25, ..two };
    let random = RandomSines { series, ..Default::default() };
    let offset = RandomSines { num_signals: 3, offset: true, ..random };
    let waves = NoisyWaves { series, ..Default::default() };
    for (name, data) in [
        ("two_sines", two_sines(two)),
        ("two_sines_unequal", two_sines(unequal)),
        ("random_sines", random_sines(random)),
        ("random_sines_offset", random_sines(offset)),
        ("noisy_waves", noisy_waves(waves)),
    ] {
        let data = data.unwrap();
        let series: Vec<_> = (0..data.len()).map(|i| joined(&data.window(i).unwrap())).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
            sum / count
        };
        let average = mean(&mut series.iter().flatten().copied());
        let variance = mean(&mut series.iter().flatten().map(|v| (v - average).powi(2)));
        let next = mean(&mut series.iter().flat_map(|x| x.windows(2).map(|w| w[0] * w[1])));
        for (moment, found) in [("mean", average), ("variance", variance), ("next", next)] {
            let expected = golden[name][moment].as_f64().unwrap();
            assert!((found - expected).abs() < 0.012, "{name} {moment}: {found} not {expected}");
        }
    }
}

#[test]
fn the_noise_of_exercise_3_is_on_the_past_alone_and_of_one_size() {
    for seed in 0..5 {
        let settings = NoisyTwoSines { series: 2000, seed, ..Default::default() };
        let noisy = noisy_two_sines(settings).unwrap();
        let clean = TwoSines { series: 2000, past_steps: 30, future_steps: 30, seed };
        let clean = two_sines(clean).unwrap();
        assert_eq!(noisy.future(), clean.future());
        let noise = noisy.past().iter().zip(clean.past()).map(|(a, b)| f64::from(a - b));
        let variance = noise.map(|v| v * v).sum::<f64>() / noisy.past().len() as f64;
        let sigma = variance.sqrt();
        assert!((0.098..0.252).contains(&sigma), "seed {seed}: {sigma}");
    }
}

#[test]
fn more_series_leave_the_noise_of_the_others_as_it_is() {
    let of = |series| NoisyTwoSines { series, past_steps: 6, future_steps: 5, seed: 9 };
    let (few, many) = (noisy_two_sines(of(3)).unwrap(), noisy_two_sines(of(50)).unwrap());
    assert_eq!(few, many.select(0..3).unwrap());
    let clean = TwoSines { series: 3, past_steps: 6, future_steps: 5, seed: 9 };
    assert_eq!(few.future(), two_sines(clean).unwrap().future());
}

#[test]
fn a_scaler_lets_no_infinite_value_into_a_data_set() {
    let one =
        |past: [f32; 2], future: f32| Dataset::new(past.to_vec(), vec![future], 2, 1, 1).unwrap();
    let refused = |data: &Dataset| -> String {
        let of_windows = WindowScaler::fit_transform(data).unwrap_err().to_string();
        let small = SetScaler::fit(&one([1.0, 1.0], 1.0));
        let of_set = SetScaler::fit(data).transform(data).or_else(|_| small.transform(data));
        assert!(of_set.unwrap_err().to_string().contains("larger unit"));
        of_windows
    };
    // A future that has no place in f32 once it is divided by the deviation of the past.
    let message = refused(&one([0.0, 1e-6], 3e38));
    assert!(message.contains("future of series 0 has the value inf at step 0"), "{message}");
    // A deviation that has none itself.
    let message = refused(&one([-3e38, 3e38], 0.0));
    assert!(message.contains("deviation of the values"), "{message}");
}

#[test]
fn a_log_ratio_is_finite_at_any_two_prices() {
    let data = Dataset::new(vec![3e38, 1e-38], vec![2e38], 2, 1, 1).unwrap();
    let (scaler, scaled) = LastValueScaler::fit_transform(&data).unwrap();
    let expected = (2e38_f64 / f64::from(1e-38_f32)).ln() as f32;
    assert!((scaled.future()[0] - expected).abs() < 1e-4, "{scaled:?}");
    let last = scaler.unscale(&scaled.constant_forecast(0.0)).unwrap();
    assert!((last.values()[0] - 1e-38).abs() < 1e-44);
}

#[test]
fn a_set_is_scaled_by_the_part_that_was_fitted() {
    let data = noisy_two_sines(NoisyTwoSines { series: 500, ..Default::default() }).unwrap();
    let (train, validation) = data.split(0.3).unwrap();
    let scaler = SetScaler::fit(&train);
    let scaled = scaler.transform(&train).unwrap();
    let n = scaled.past().len() as f64;
    let mean = scaled.past().iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = scaled.past().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    assert!(mean.abs() < 1e-5 && (variance.sqrt() - 0.4).abs() < 1e-3, "{mean} {variance}");
    let validation_scaled = scaler.transform(&validation).unwrap();
    let back = scaler.unscale(&future(&validation_scaled)).unwrap();
    for (b, v) in back.values().iter().zip(validation.future()) {
        assert!((b - v).abs() < 1e-5);
    }
    // What the validation part holds does not matter.
    assert_eq!(scaler, SetScaler::fit(&data.select(0..train.len()).unwrap()));
    let two = sine_cosine(SineCosine::default()).unwrap();
    assert!(scaler.transform(&two).unwrap_err().to_string().contains("is 2, but 1"));
}

#[test]
fn known_sines_are_what_they_say() {
    for offset in [false, true] {
        let settings = KnownSines { series: 200, past_steps: 12, offset, ..Default::default() };
        let (data, sines) = known_sines(settings).unwrap();
        assert_eq!((data.len(), sines.len()), (200, 200));
        for (i, sine) in sines.iter().enumerate() {
            let step = sine.frequency * std::f32::consts::TAU / 30.0;
            let at =
                |k: usize| sine.height * (sine.first_phase + step * k as f32).sin() + sine.offset;
            let window = data.window(i).unwrap();
            for (k, value) in [&window.past[..], &window.future].concat().iter().enumerate() {
                assert!((value - at(k)).abs() < 1e-4, "series {i}, step {k}: {value}, {}", at(k));
            }
            let last = sine.height * sine.last_phase.sin() + sine.offset;
            assert!((window.past[11] - last).abs() < 1e-4);
            assert_eq!(sine.offset != 0.0, offset);
        }
    }
    assert!(known_sines(KnownSines { series: 0, ..Default::default() }).is_err());
}

#[test]
fn the_task_of_a_denoiser_is_its_own_past() {
    let settings = NoisyTwoSines { series: 50, past_steps: 20, future_steps: 10, seed: 3 };
    let task = denoising_two_sines(settings).unwrap();
    let NoisyTwoSines { series, past_steps, future_steps, seed } = settings;
    let clean = two_sines(TwoSines { series, past_steps, future_steps, seed }).unwrap();
    assert_eq!(task.past(), noisy_two_sines(settings).unwrap().past());
    assert_eq!(task.future(), clean.past());
}

/// Series of three features that differ, P = 4, F = 3.
fn three_features() -> Dataset {
    let values: Vec<f32> =
        (0..60).map(|i| ((i * i) as f32 * 0.37).sin() + i as f32 * 0.1).collect();
    Dataset::windows(&values, 4, 3, 3).unwrap()
}

/// The first `targets` features of values `(.., 3)`.
fn first_features(values: &[f32], targets: usize) -> Vec<f32> {
    values.chunks(3).flat_map(|step| &step[..targets]).copied().collect()
}

#[test]
fn targets_are_the_first_features_of_the_future() {
    let all = three_features();
    for targets in 1..=3 {
        let data = all.with_targets(targets).unwrap();
        assert_eq!((data.features(), data.targets(), data.len()), (3, targets, all.len()));
        assert_eq!(data.past(), all.past());
        assert_eq!(data.future(), first_features(all.future(), targets));
        let (train, validation) = data.split(0.3).unwrap();
        assert_eq!([train.future(), validation.future()].concat(), data.future());
        assert_eq!(data.window(2).unwrap().future.len(), 3 * targets);
        assert_eq!(data.batches(5, 1, 1).unwrap()[0].targets(), targets);
        assert_eq!(data.future_tensor().shape(), &(all.len(), 3, targets));
        assert!(data.to_string().contains(&format!("future ({}, 3, {targets})", all.len())));
    }
    let two = all.with_targets(2).unwrap();
    for targets in [0, 3] {
        let message = two.with_targets(targets).unwrap_err().to_string();
        assert!(message.contains(&format!("targets is {targets}, but it must be from 1 to 2")));
    }
}

#[test]
fn targets_are_scaled_like_their_features() {
    let all = three_features();
    let data = all.with_targets(2).unwrap();
    let (_, expected) = WindowScaler::fit_transform(&all).unwrap();
    let (scaler, scaled) = WindowScaler::fit_transform(&data).unwrap();
    assert_eq!(scaled.past(), expected.past());
    assert_eq!(scaled.future(), first_features(expected.future(), 2));
    let of_set = SetScaler::fit(&data);
    let expected = SetScaler::fit(&all).transform(&all).unwrap();
    let set = of_set.transform(&data).unwrap();
    assert_eq!(set.past(), expected.past());
    assert_eq!(set.future(), first_features(expected.future(), 2));
    for back in [scaler.unscale(&future(&scaled)), of_set.unscale(&future(&set))] {
        let back = back.unwrap();
        assert_eq!(back.values().len(), data.future().len());
        for (b, v) in back.values().iter().zip(data.future()) {
            assert!((b - v).abs() < 1e-5);
        }
    }
    for refused in [scaler.unscale(&future(&all)), of_set.unscale(&future(&all))] {
        assert!(refused.unwrap_err().to_string().contains("targets of the forecast is 3, but 2"));
    }
}

#[test]
fn prices_are_measured_from_their_last_known_value() {
    // Two windows of a price and an input, of which the price has to be predicted.
    let past = vec![100.0, -1.0, 50.0, 0.0, 10.0, 1.0, 20.0, 2.0];
    let data = Dataset::new(past, vec![200.0, 9.0, 5.0, 9.0], 2, 1, 2).unwrap();
    let data = data.with_targets(1).unwrap();
    let (scaler, scaled) = LastValueScaler::fit_transform(&data).unwrap();
    let two = 2.0_f32.ln();
    let close = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{found:?} and {expected:?}");
        }
    };
    close(scaled.past(), &[two, -1.0, 0.0, 0.0, -two, 1.0, 0.0, 2.0]);
    close(scaled.future(), &[2.0 * two, -2.0 * two]);
    close(scaler.unscale(&future(&scaled)).unwrap().values(), data.future());
    let last = scaler.unscale(&scaled.constant_forecast(0.0)).unwrap();
    close(last.values(), repeat_last(&data).values());
    let one = Forecast::new(vec![0.0], 1, 1).unwrap();
    let message = scaler.unscale(&one).unwrap_err().to_string();
    assert!(message.contains("series of the forecast is 1, but 2"), "{message}");
    let free = Dataset::new(vec![1.0, 0.0], vec![1.0], 2, 1, 1).unwrap();
    let message = LastValueScaler::fit_transform(&free).unwrap_err().to_string();
    assert!(message.contains("a price is 0"), "{message}");
}

#[test]
fn a_prediction_is_scaled_as_its_windows_are() {
    let data = sine_cosine(SineCosine { series: 20, ..Default::default() }).unwrap();
    let (scaler, scaled) = WindowScaler::fit_transform(&data).unwrap();
    assert_eq!(scaler.scale(&future(&data)).unwrap(), future(&scaled));
    assert!(scaler.scale(&Forecast::new(vec![0.0; 2], 1, 2).unwrap()).is_err());
}

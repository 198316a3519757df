//! Sigmoid and tanh against `f64`, over the whole range of `f32`.

use seq2seq::kernels::activation::{Activation, apply};
use seq2seq::kernels::level::Level;

/// Every 211rd bit pattern, and the ones around zero, infinity and the ends of the ranges.
fn inputs() -> impl Iterator<Item = f32> {
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::NAN,
        -f32::NAN,
        8.017_734,
        -8.017_734,
        9.010_913,
        86.999,
        -86.999,
        87.0,
        -87.0,
        88.8,
        -88.8,
    ];
    let all = (0..=u32::MAX / 211).map(|i| f32::from_bits(i * 211));
    special.into_iter().chain(all)
}

/// The largest of `error(x, f(x))`, and where.
fn worst(level: Level, activation: Activation, error: impl Fn(f32, f32) -> f64) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    let mut inputs = inputs();
    loop {
        let x: Vec<f32> = inputs.by_ref().take(4096).collect();
        if x.is_empty() {
            return worst;
        }
        let mut y = x.clone();
        apply(level, activation, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let error = error(x, y);
            if error > worst.0 {
                worst = (error, x);
            }
            assert_eq!(x.is_nan(), y.is_nan(), "{level:?} {activation:?}({x}) = {y}");
        }
    }
}

#[test]
fn tanh_is_accurate_everywhere() {
    for level in Level::available() {
        let (error, x) = worst(level, Activation::Tanh, |x, y| {
            assert!(y.is_nan() || y.abs() <= 1.0, "{level:?} tanh({x}) = {y}");
            let expected = f64::from(x).tanh();
            if x == 0.0 {
                assert_eq!(y.to_bits(), x.to_bits());
                return 0.0;
            }
            // Below the smallest normal number the spacing is what counts.
            let scale = expected.abs().max(f64::from(f32::MIN_POSITIVE));
            ((f64::from(y) - expected) / scale).abs()
        });
        println!("{level:?} tanh: {error:e} at {x:e}");
        assert!(error < 4e-7, "{level:?}: {error:e} at {x:e}");
    }
}

#[test]
fn sigmoid_is_accurate_above_minus_87() {
    for level in Level::available() {
        let (error, x) = worst(level, Activation::Sigmoid, |x, y| {
            assert!(y.is_nan() || (0.0..=1.0).contains(&y), "{level:?} sigmoid({x}) = {y}");
            if x < -87.0 {
                assert!(y < 1.7e-38, "{level:?} sigmoid({x}) = {y}");
                return 0.0;
            }
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            ((f64::from(y) - expected) / expected).abs()
        });
        println!("{level:?} sigmoid: {error:e} at {x:e}");
        assert!(error < 2e-7, "{level:?}: {error:e} at {x:e}");
    }
}

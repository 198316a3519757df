//! Predictions of exercise 1's model: one series, and a thousand.

#[allow(dead_code, reason = "each program uses a part of it")]
mod configurations;

use configurations::{CONFIGURATIONS, wave};
use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq::kernels::level::Level;
use seq2seq::kernels::seq2seq::Network;
use std::hint::black_box;

fn predict(criterion: &mut Criterion) {
    let exercise_1 = &CONFIGURATIONS[0];
    let shape = exercise_1.shape();
    let weights: Vec<f32> = wave(shape.num_weights()).collect();
    let network = Network::new(shape, &weights, Level::best());
    let steps = exercise_1.steps;
    for series in [1, 1000] {
        let past: Vec<f32> = wave(series * steps * exercise_1.features).collect();
        criterion.bench_function(&format!("predict/{series}"), |bencher| {
            bencher.iter(|| network.predict(black_box(&past), steps, steps));
        });
    }
}

criterion_group!(benches, predict);
criterion_main!(benches);

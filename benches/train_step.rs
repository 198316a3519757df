//! One training step: forward, loss, backward, L2 and Adam.
//!
//! The fused step of every configuration; and for `e1` the same model put together on dfdx's tape,
//! with the fused kernels as its operations (`e1_tape`) and in plain dfdx operations
//! (`e1_reference`).

#[allow(dead_code, reason = "each program uses a part of it")]
mod configurations;

use configurations::{CONFIGURATIONS, Configuration, wave};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use seq2seq::dfdx::tensor::OwnedTape;
use seq2seq::prelude::*;
use seq2seq::train::loss;
use std::hint::black_box;
use std::time::Duration;

fn fused(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train_step");
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(3));
    for configuration in &CONFIGURATIONS {
        let mut step = configuration.trainer();
        group.bench_function(configuration.name, |bencher| {
            // Inside the pool, as a whole training runs.
            rayon::scope(|_| bencher.iter(|| black_box(step())));
        });
    }
}

type Traced = Sequence<f32, Cpu, OwnedTape<f32, Cpu>>;
type Forward = fn(&Seq2Seq, Traced, usize) -> Result<Traced>;

fn on_the_tape(criterion: &mut Criterion) {
    let Configuration { batch, steps, features, hidden, .. } = CONFIGURATIONS[0];
    let hyperparameters =
        Hyperparameters { hidden_size: hidden[0], num_layers: hidden.len(), ..Default::default() };
    let dev = Cpu::default();
    let values: Vec<f32> = wave(batch * steps * features).collect();
    let past: Sequence = dev.tensor_from_vec(values, (batch, steps, features));
    let forwards: [(&str, Forward); 2] =
        [("e1_tape", Seq2Seq::forward), ("e1_reference", Seq2Seq::forward_reference)];
    for (name, forward) in forwards {
        let mut model = Seq2Seq::stacked(features, &hyperparameters).expect("a model");
        let mut adam = Descent { weight_decay: 1e-4, ..Default::default() };
        let mut step = || -> Result<()> {
            let prediction = forward(&model, past.clone().leaky_traced(), steps)?;
            let loss = loss(prediction, past.clone())?;
            adam.update(&mut model, loss.backward()).map(drop)
        };
        criterion.bench_function(&format!("train_step/{name}"), |bencher| {
            bencher.iter(|| step().expect("a step"));
        });
    }
}

criterion_group!(benches, fused, on_the_tape);
criterion_main!(benches);

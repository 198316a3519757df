//! Exercise 3 without a notebook: the past is noisy, the future is clean. Trains a recipe and holds
//! it against the baselines, on series that the training has not seen.
//!
//! ```text
//! cargo run --release --example exercise_3 [SEED]
//! ```

use seq2seq::prelude::*;

/// Series that no training sees.
const HELD_OUT: usize = 10_000;
const SERIES: usize = 250_000 + HELD_OUT;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    // The strength of the noise is drawn from the seed: it must be one data set, split.
    let settings = NoisyTwoSines { series: SERIES, seed, ..Default::default() };
    let (train, held_out) = noisy_two_sines(settings)?.split(HELD_OUT as f64 / SERIES as f64)?;
    let scaler = SetScaler::fit(&train);
    let (train, held_out) = (scaler.transform(&train)?, scaler.transform(&held_out)?);

    let repeated = mse_of_feature(&repeat_last(&held_out), &held_out, 0)?;
    let line = LeastSquares::fit(&train)?.predict(&held_out)?;
    let line = mse_of_feature(&line, &held_out, 0)?;
    println!("seed {seed}\nrepeat the last value  {repeated:.4}\nleast squares          {line:.4}");

    // One epoch: every series is new to the network, so that it can not learn the noise by heart.
    let recipe = Hyperparameters {
        hidden_size: 48,
        weight_decay: 0.0,
        learning_rate: 0.008,
        schedule: Schedule::Cosine { warmup_fraction: 0.05 },
        clip_norm: Some(1.0),
        batch_size: 32,
        epochs: 1,
        seed,
        ..Default::default()
    };
    let mut model = Seq2Seq::stacked(1, &recipe)?;
    fit(&mut model, &train, &held_out, &recipe)?;
    Ok(())
}

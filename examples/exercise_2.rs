//! Exercise 2 without a notebook: a sine and a cosine of unknown frequencies. Trains the original
//! advice and then a better recipe, and holds both against the baselines, on series of another
//! seed.
//!
//! ```text
//! cargo run --release --example exercise_2 [SEED]
//! ```

use seq2seq::prelude::*;

/// Seed of the series that no training sees.
const HELD_OUT: u64 = 777;

fn scaled(series: usize, seed: u64) -> Result<Dataset> {
    let data = two_sines(TwoSines { series, seed, ..Default::default() })?;
    Ok(WindowScaler::fit_transform(&data)?.1)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    let held_out = scaled(20_000, HELD_OUT)?;
    let repeated = mse_of_feature(&repeat_last(&held_out), &held_out, 0)?;
    let line = LeastSquares::fit(&scaled(20_000, seed)?)?.predict(&held_out)?;
    let line = mse_of_feature(&line, &held_out, 0)?;
    println!("seed {seed}\nrepeat the last value  {repeated:.4}\nleast squares          {line:.4}");

    // The original advice. Every series is new to the network: there is one epoch only.
    let advice = Hyperparameters {
        hidden_size: 35,
        weight_decay: 0.0,
        learning_rate: 0.001,
        batch_size: 50,
        epochs: 1,
        seed,
        ..Default::default()
    };
    train("the advice", 125_000, &held_out, &advice)?;

    // Larger steps that end small, more of them, and no single window may throw the weights away.
    let recipe = Hyperparameters {
        hidden_size: 48,
        batch_size: 32,
        learning_rate: 0.008,
        schedule: Schedule::Cosine { warmup_fraction: 0.05 },
        clip_norm: Some(1.0),
        ..advice
    };
    train("the recipe", 250_000, &held_out, &recipe)?;
    Ok(())
}

fn train(
    name: &str,
    series: usize,
    held_out: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<()> {
    println!("\n{name}, {series} series");
    let train = scaled(series, hyperparameters.seed)?;
    let mut model = Seq2Seq::stacked(1, hyperparameters)?;
    fit(&mut model, &train, held_out, hyperparameters)?;
    Ok(())
}

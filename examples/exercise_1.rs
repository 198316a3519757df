//! Exercise 1 without a notebook: trains the encoder-decoder on sines and cosines, holds it against
//! its baselines, and draws four predictions.
//!
//! ```text
//! cargo run --release --example exercise_1 docs/predictions.png
//! ```

use seq2seq::prelude::*;

fn main() -> Result<()> {
    let hyperparameters = Hyperparameters::default();
    let data = sine_cosine(SineCosine::default())?;
    let (train, validation) = data.split(hyperparameters.validation_fraction)?;
    let (_, train) = WindowScaler::fit_transform(&train)?;
    let (_, validation) = WindowScaler::fit_transform(&validation)?;

    let mut model = Seq2Seq::stacked(data.features(), &hyperparameters)?;
    let history = fit(&mut model, &train, &validation, &hyperparameters)?;
    let check = Check {
        score: history.last().validation_mse,
        target: 0.0076,
        baseline: mse_of_feature(&repeat_last(&validation), &validation, 0)?,
        noise_floor: Some(0.0),
    };
    println!("\n{check}");

    if let Some(path) = std::env::args().nth(1) {
        let prediction = model.predict(&validation)?;
        plot::predictions(&validation, &prediction, 4)?.save(&path)?;
        println!("\ndrawn: {path}");
    }
    Ok(())
}

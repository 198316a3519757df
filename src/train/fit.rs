use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{AsArray, Cpu, Tape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, Device as DfdxDevice, SumTo};
use std::time::Instant;

use super::{Adam, Epoch, History, Hyperparameters};
use crate::data::Dataset;
use crate::error::{Error, Result, check_size};
use crate::evaluate::{mse, mse_of_feature};
use crate::layers::Parameters;
use crate::model::Seq2Seq;
use crate::{Device, Sequence};

/// Characters of the bar of progress.
const BAR: usize = 15;

/// Trains `model` on `train` and watches it on `validation`, with Adam on the [`loss`] plus the
/// penalty λ · ½ Σ w² over all weights. Prints what it trains, on what, and a line an epoch.
///
/// Scale both parts first; of the hyperparameters, the sizes and the validation fraction have done
/// their work by now and are only printed.
///
/// # Errors
/// [`Error::Setting`] when a hyperparameter is outside its range, [`Error::Shape`] when the parts do
/// not fit each other or the model, [`Error::Data`] when the error stops being a number: the
/// model then keeps the weights that it had before.
pub fn fit(
    model: &mut Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) -> Result<History> {
    hyperparameters.check()?;
    let features = model.dense().outputs();
    for (part, data) in [("training", train), ("validation", validation)] {
        let what = format!("the number of features of the {part} part");
        check_size(what, features, data.features())?;
    }
    print_setup(model, train, validation, hyperparameters);

    let mut trained = model.clone();
    let mut adam = Adam::new(hyperparameters.learning_rate, hyperparameters.weight_decay);
    let mut epochs = Vec::with_capacity(hyperparameters.epochs);
    for epoch in 1..=hyperparameters.epochs {
        let start = Instant::now();
        let loss = train_epoch(&mut trained, &mut adam, train, hyperparameters, epoch)?;
        let train_prediction = trained.predict(train)?;
        let validation_prediction = trained.predict(validation)?;
        let result = Epoch {
            loss,
            train_mse: mse_of_feature(&train_prediction, train, 0)?,
            validation_mse: mse_of_feature(&validation_prediction, validation, 0)?,
            train_mse_all: mse(&train_prediction, train)?,
            validation_mse_all: mse(&validation_prediction, validation)?,
            seconds: start.elapsed().as_secs_f64(),
        };
        if !(loss.is_finite() && result.train_mse_all.is_finite()) {
            return Err(Error::Data(format!(
                "the loss is {loss} and the training MSE {} after epoch {epoch}: the training \
                 diverged; smaller values in the data or a learning_rate below {} may help",
                result.train_mse_all, hyperparameters.learning_rate
            )));
        }
        print_epoch(epoch, hyperparameters.epochs, &result);
        epochs.push(result);
    }
    *model = trained;
    let history = History::new(epochs).expect("check() asks for at least one epoch");
    println!("{history}");
    Ok(history)
}

/// The source's loss: the mean over the batch of ½ Σ (prediction − future)², summed over the time
/// steps and features. Both are `(B, F, D)`.
///
/// # Errors
/// [`Error::Shape`] when the two have different shapes.
pub fn loss<E: Dtype + From<f32>, D: DfdxDevice<E>, T: Tape<E, D>>(
    prediction: Sequence<E, D, T>,
    future: Sequence<E, D>,
) -> Result<Tensor<(), E, D, T>> {
    let (batch, steps, features) = *future.shape();
    check_size("the batch axis of the prediction", batch, prediction.shape().0)?;
    check_size("the time axis of the prediction", steps, prediction.shape().1)?;
    check_size("the features axis of the prediction", features, prediction.shape().2)?;
    Ok((prediction - future).square().sum() / E::from(2.0 * batch as f32))
}

/// One pass over the training part; returns the mean loss, with the penalty, of its batches.
fn train_epoch(
    model: &mut Seq2Seq,
    adam: &mut Adam,
    train: &Dataset,
    hyperparameters: &Hyperparameters,
    epoch: usize,
) -> Result<f64> {
    let Hyperparameters { batch_size, seed, weight_decay, .. } = *hyperparameters;
    let dev = Cpu::default();
    let batches = train.batches(batch_size, seed, epoch)?;
    let mut total = 0.0;
    for batch in &batches {
        let past: Sequence = batch.past_tensor(&dev);
        let prediction = model.forward(past.leaky_traced(), batch.future_steps())?;
        let loss = loss(prediction, batch.future_tensor(&dev))?;
        total += f64::from(loss.array()) + weight_decay * half_squared_norm(model);
        adam.update(model, loss.backward())?;
    }
    Ok(total / batches.len() as f64)
}

/// ½ Σ w² over all weights.
fn half_squared_norm(model: &Seq2Seq) -> f64 {
    let squares = |w: Vec<f32>| w.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    let parameters = model.parameters().into_iter();
    0.5 * parameters.map(|(_, parameter)| squares(parameter.to_vec())).sum::<f64>()
}

fn print_setup(
    model: &Seq2Seq,
    train: &Dataset,
    validation: &Dataset,
    hyperparameters: &Hyperparameters,
) {
    println!("devices found:");
    for device in Device::available() {
        println!("  {device}");
    }
    println!("training on: {}", Device::best());
    if Device::best() == Device::Cpu {
        println!("(no GPU is used: these networks are small, and the CPU is fine)");
    }
    println!("\ntraining part\n{train}\nvalidation part\n{validation}");
    println!("\n{hyperparameters}\n\n{model}\n");
}

fn print_epoch(epoch: usize, epochs: usize, result: &Epoch) {
    let done = "#".repeat(epoch * BAR / epochs);
    let width = epochs.to_string().len();
    println!(
        "epoch {epoch:>width$}/{epochs} [{done:-<BAR$}]  train MSE {:.5}  validation MSE {:.5}  \
         {:.3} s",
        result.train_mse, result.validation_mse, result.seconds
    );
}

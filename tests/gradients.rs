//! Every gradient of the reference against central differences, in double precision.

use dfdx::tensor::Gradients;
use seq2seq::layers::{Parameter, ParameterMut, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;

type Model = Seq2Seq<f64, Cpu>;

/// Half the distance of the two points; the error of the difference is about its square.
const STEP: f64 = 1e-5;

fn model(decoder_input: DecoderInput) -> Model {
    let dev = Cpu::default();
    let mut init = Initializer::new(7);
    let width = match decoder_input {
        DecoderInput::RepeatLast => 4,
        DecoderInput::Zeros => 2,
    };
    let encoder = Gru::of_dtype(2, &[3, 4], &mut init, &dev).unwrap();
    let decoder = Gru::of_dtype(width, &[3, 4], &mut init, &dev).unwrap();
    let dense = Dense::of_dtype(4, 2, &mut init, &dev).unwrap();
    let mut model = Seq2Seq::new(encoder, decoder, dense, decoder_input).unwrap();
    // Biases that are not zero, so that the two of a gate can be told apart.
    for (i, (_, parameter)) in model.parameters_mut().into_iter().enumerate() {
        if let ParameterMut::Vector(bias) = parameter {
            let values: Vec<f64> = (0..bias.shape().0).map(|j| ((i + j) as f64).sin()).collect();
            bias.copy_from(&values);
        }
    }
    model
}

fn data() -> Dataset {
    let wave = |n: usize| (0..n).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    Dataset::new(wave(2 * 3 * 2), wave(2 * 4 * 2), 3, 4, 2).unwrap()
}

fn loss_of(model: &Model) -> (f64, Gradients<f64, Cpu>) {
    let (dev, data) = (Cpu::default(), data());
    let past: Sequence<f64> = data.past_tensor(&dev);
    let prediction = model.forward(past.leaky_traced(), 4).unwrap();
    let loss = loss(prediction, data.future_tensor(&dev)).unwrap();
    (loss.array(), loss.backward())
}

fn check(decoder_input: DecoderInput) {
    let mut model = model(decoder_input);
    let (_, gradients) = loss_of(&model);
    let names: Vec<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
    for (index, name) in names.iter().enumerate() {
        let parameter = model.parameters()[index].1.clone();
        let analytic = match parameter {
            Parameter::Vector(weight) => gradients.get(weight).as_vec(),
            Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
        };
        let values = parameter.to_vec();
        for i in 0..values.len() {
            let mut loss_at = |offset: f64| {
                let mut moved = values.clone();
                moved[i] += offset;
                model.parameters_mut()[index].1.copy_from(&moved);
                loss_of(&model).0
            };
            let numeric = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let error = (analytic[i] - numeric).abs();
            assert!(error < 1e-8, "{name}[{i}]: {} on the tape, {numeric} measured", analytic[i]);
        }
        model.parameters_mut()[index].1.copy_from(&values);
    }
}

#[test]
fn repeat_last_matches_central_differences() {
    check(DecoderInput::RepeatLast);
}

#[test]
fn zeros_match_central_differences() {
    check(DecoderInput::Zeros);
}

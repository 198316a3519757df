//! Every gradient of the reference against central differences, in double precision.

mod central_differences;

use seq2seq::layers::{
    GruCell, LstmCell, ParameterMut, Parameters, RecurrentCell, SimpleRnnCell, Stack,
};
use seq2seq::prelude::*;
use seq2seq::train::loss;

fn model<C: RecurrentCell>(decoder_input: DecoderInput) -> Seq2Seq<C, f64> {
    let dev = Cpu::default();
    let mut init = Initializer::new(7);
    let width = match decoder_input {
        DecoderInput::RepeatLast => 4,
        DecoderInput::Zeros => 2,
    };
    let encoder = Stack::of_dtype(2, &[3, 4], &mut init, &dev).unwrap();
    let decoder = Stack::of_dtype(width, &[3, 4], &mut init, &dev).unwrap();
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

fn check(decoder_input: DecoderInput) {
    check_cell::<GruCell>(decoder_input);
    check_cell::<LstmCell>(decoder_input);
    check_cell::<SimpleRnnCell>(decoder_input);
}

fn check_cell<C: RecurrentCell>(decoder_input: DecoderInput) {
    let (dev, data) = (Cpu::default(), data());
    central_differences::check(&mut model::<C>(decoder_input), |model| {
        let past: Sequence<f64> = data.past_tensor_on(&dev);
        let prediction = model.forward(past.leaky_traced(), 4).unwrap();
        loss(prediction, data.future_tensor_on(&dev)).unwrap()
    });
}

#[test]
fn repeat_last_matches_central_differences() {
    check(DecoderInput::RepeatLast);
}

#[test]
fn zeros_match_central_differences() {
    check(DecoderInput::Zeros);
}

/// A layer that reads from the end, as half of a bidirectional network: the gradient finds its way
/// through both reversals.
#[test]
fn a_reversed_layer_matches_central_differences() {
    let (dev, mut init, data) = (Cpu::default(), Initializer::new(7), data());
    let gru = Gru::of_dtype(2, &[3], &mut init, &dev).unwrap();
    let dense = Dense::of_dtype(3, 2, &mut init, &dev).unwrap();
    central_differences::check(&mut (gru, dense), |(gru, dense)| {
        let past: Sequence<f64> = data.past_tensor_on(&dev);
        let reversed = reverse_time(past.leaky_traced());
        let (outputs, _) = gru.forward_reference(reversed, None).unwrap();
        let outputs = reverse_time(dense.forward(outputs).unwrap());
        let clean: Sequence<f64> = dev.tensor_from_vec(vec![0.3; 2 * 3 * 2], (2, 3, 2));
        loss(outputs, clean).unwrap()
    });
}

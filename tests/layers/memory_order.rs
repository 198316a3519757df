//! Weights whose memory is not row by row: a kernel of Keras, transposed, is a view with its axes
//! swapped, and a shared bias is one number.

use seq2seq::dfdx::shapes::{Axes2, Axis};
use seq2seq::dfdx::tensor::TensorFrom;
use seq2seq::dfdx::tensor_ops::BroadcastTo;
use seq2seq::layers::{GruWeights, Parameter, Parameters};
use seq2seq::prelude::*;

use crate::stack::{numbers, wave};

type Matrix = Tensor<(usize, usize), f32, Cpu>;
type Vector = Tensor<(usize,), f32, Cpu>;

/// The same matrix, kept column by column.
fn by_columns(matrix: &Matrix) -> Matrix {
    let transposed = matrix.clone().permute::<_, Axes2<1, 0>>().contiguous();
    transposed.permute::<_, Axes2<1, 0>>()
}

/// A bias that is one number, seen `length` times.
fn broadcast(length: usize) -> Vector {
    Cpu::default().tensor(0.3).broadcast_like::<_, Axis<0>>(&(length,))
}

fn gru(layer: &GruWeights) -> GruWeights {
    GruWeights {
        weight_ih: by_columns(&layer.weight_ih),
        weight_hh: by_columns(&layer.weight_hh),
        bias_ih: broadcast(layer.bias_ih.shape().0),
        bias_hh: broadcast(layer.bias_hh.shape().0),
    }
}

/// A model whose weights are all views, and one with the same weights row by row.
fn models() -> (Seq2Seq, Seq2Seq) {
    let dev = Cpu::default();
    let mut init = Initializer::new(3);
    let encoder = Gru::new(2, &[3, 4], &mut init, &dev).unwrap();
    let decoder = Gru::new(4, &[3, 4], &mut init, &dev).unwrap();
    let dense = Dense::new(4, 2, &mut init, &dev).unwrap();
    let view = |stack: &Gru| Gru::from_layers(stack.layers.iter().map(gru).collect());
    let copy = |stack: &Gru| {
        let copied = stack.layers.iter().map(gru).map(|layer| GruWeights {
            weight_ih: layer.weight_ih.contiguous(),
            weight_hh: layer.weight_hh.contiguous(),
            bias_ih: layer.bias_ih.contiguous(),
            bias_hh: layer.bias_hh.contiguous(),
        });
        Gru::from_layers(copied.collect())
    };
    let of = |part: &dyn Fn(&Gru) -> Gru, dense: Dense| {
        Seq2Seq::new(part(&encoder), part(&decoder), dense, DecoderInput::RepeatLast).unwrap()
    };
    let viewed = Dense { weight: by_columns(&dense.weight), bias: broadcast(2) };
    let copied = Dense { weight: dense.weight.clone(), bias: broadcast(2).contiguous() };
    (of(&view, viewed), of(&copy, copied))
}

fn data() -> Dataset {
    let values = |n: usize| numbers(&wave(n, 0.4, 1.0));
    Dataset::new(values(6 * 5 * 2), values(6 * 3 * 2), 5, 3, 2).unwrap()
}

fn weights(model: &Seq2Seq) -> Vec<f32> {
    model.parameters().iter().flat_map(|(_, parameter)| parameter.to_vec()).collect()
}

#[test]
fn permuted_and_broadcast_weights_are_read_row_by_row() {
    let (views, copies) = models();
    assert_eq!(weights(&views), weights(&copies));
    assert_eq!(views.predict(&data()).unwrap(), copies.predict(&data()).unwrap());

    let dev = Cpu::default();
    let mut dense = Dense::new(2, 2, &mut Initializer::new(1), &dev).unwrap();
    let kernel: Matrix = dev.tensor_from_vec(vec![1.0, 3.0, 2.0, 4.0], (2, 2)); // (inputs, outputs)
    dense.weight = kernel.permute();
    let x: Sequence = dev.tensor_from_vec(vec![1.0, 0.0], (1, 1, 2));
    assert_eq!(dense.forward(x.clone()).unwrap().as_vec(), [1.0, 3.0]);
    assert_eq!(dense.forward_reference(x).unwrap().as_vec(), [1.0, 3.0]);
}

#[test]
fn the_tape_gives_permuted_and_broadcast_weights_their_gradients() {
    let (views, _) = models();
    let data = data();
    let of = |model: &Seq2Seq, fused: bool| -> Vec<Vec<f32>> {
        let past = data.past_tensor().leaky_traced();
        let prediction = match fused {
            true => model.forward(past, 3).unwrap(),
            false => model.forward_reference(past, 3).unwrap(),
        };
        let gradients = prediction.square().sum::<(), _>().backward();
        let gradient = |(_, parameter): &(String, Parameter<'_, f32, Cpu>)| match parameter {
            Parameter::Vector(bias) => gradients.get(*bias).as_vec(),
            Parameter::Matrix(matrix) => gradients.get(*matrix).as_vec(),
        };
        model.parameters().iter().map(gradient).collect()
    };
    let (fused, reference) = (of(&views, true), of(&views, false));
    for (fused, reference) in fused.iter().zip(&reference) {
        assert_eq!(fused.len(), reference.len());
        for (fused, reference) in fused.iter().zip(reference) {
            assert!((fused - reference).abs() < 1e-4, "{fused} is not {reference}");
        }
    }
}

#[test]
fn permuted_and_broadcast_weights_train_and_are_saved_like_copies() {
    let (mut views, mut copies) = models();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.safetensors");
    views.save(&path).unwrap();
    assert_eq!(weights(&Seq2Seq::load(&path).unwrap()), weights(&copies));

    let hyperparameters = Hyperparameters { epochs: 2, batch_size: 4, ..Default::default() };
    for model in [&mut views, &mut copies] {
        fit_with(model, &data(), &data(), &hyperparameters, |_, _| {}).unwrap();
    }
    assert_eq!(weights(&views), weights(&copies));
}

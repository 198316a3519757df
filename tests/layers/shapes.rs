//! Sizes, names and first weights of the layers, and what they say of what does not fit.

use seq2seq::layers::{LstmState, OutputsAndStates, Parameters};
use seq2seq::prelude::*;

use crate::stack::{Form, Stack, States};

fn names_and_shapes(model: &impl Parameters<f32, Cpu>) -> Vec<(String, Vec<usize>)> {
    model.parameters().into_iter().map(|(name, p)| (name, p.shape())).collect()
}

#[test]
fn weights_have_the_names_and_shapes_of_pytorch() {
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    let rnn = SimpleRnn::new(2, &[5, 3], &mut init, &dev).unwrap();
    let gru = Gru::new(2, &[5, 3], &mut init, &dev).unwrap();
    let lstm = Lstm::new(2, &[5, 3], &mut init, &dev).unwrap();
    for (gates, found) in
        [(1, names_and_shapes(&rnn)), (3, names_and_shapes(&gru)), (4, names_and_shapes(&lstm))]
    {
        let expected = [
            ("weight_ih_l0", vec![gates * 5, 2]),
            ("weight_hh_l0", vec![gates * 5, 5]),
            ("bias_ih_l0", vec![gates * 5]),
            ("bias_hh_l0", vec![gates * 5]),
            ("weight_ih_l1", vec![gates * 3, 5]),
            ("weight_hh_l1", vec![gates * 3, 3]),
            ("bias_ih_l1", vec![gates * 3]),
            ("bias_hh_l1", vec![gates * 3]),
        ];
        assert_eq!(found, expected.map(|(name, shape)| (name.to_owned(), shape)));
    }
    assert_eq!(rnn.to_string(), "SimpleRNN(2 -> 5 -> 3, 75 parameters)");
    assert_eq!(gru.to_string(), "GRU(2 -> 5 -> 3, 225 parameters)");
    assert_eq!(lstm.to_string(), "LSTM(2 -> 5 -> 3, 300 parameters)");
    assert_eq!((rnn.inputs(), rnn.outputs(), rnn.hidden_sizes()), (2, 3, vec![5, 3]));
    assert_eq!((lstm.inputs(), lstm.outputs(), lstm.hidden_sizes()), (2, 3, vec![5, 3]));
    assert_eq!(lstm.parameter_count(), 300);
}

#[test]
fn the_recurrent_weights_of_each_gate_start_orthogonal_and_biases_at_zero() {
    let hidden = 7;
    let lstm = Lstm::new(2, &[hidden], &mut Initializer::new(1), &Cpu::default()).unwrap();
    let weights = lstm.layers[0].weight_hh.as_vec();
    assert_eq!(weights.len(), 4 * hidden * hidden);
    for gate in weights.chunks(hidden * hidden) {
        for i in 0..hidden {
            for j in 0..hidden {
                let rows = gate[i * hidden..][..hidden].iter().zip(&gate[j * hidden..]);
                let product: f32 = rows.map(|(a, b)| a * b).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-5, "rows {i} and {j}: {product}");
            }
        }
    }
    assert_eq!(lstm.layers[0].bias_ih.as_vec(), vec![0.0; 4 * hidden]);
    assert_eq!(lstm.layers[0].bias_hh.as_vec(), vec![0.0; 4 * hidden]);
}

#[test]
fn sizes_of_nothing_are_refused() {
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    for (message, expected) in [
        (Lstm::new(0, &[3], &mut init, &dev).unwrap_err().to_string(), "inputs is 0"),
        (Lstm::new(2, &[], &mut init, &dev).unwrap_err().to_string(), "hidden_sizes is []"),
        (Lstm::new(2, &[3, 0], &mut init, &dev).unwrap_err().to_string(), "hidden_sizes is [3, 0]"),
        (SimpleRnn::new(0, &[3], &mut init, &dev).unwrap_err().to_string(), "inputs is 0"),
        (SimpleRnn::new(2, &[0], &mut init, &dev).unwrap_err().to_string(), "hidden_sizes is [0]"),
    ] {
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("at least 1"), "{message}");
    }
}

#[test]
fn weights_of_ones_own_that_do_not_fit_are_refused_and_not_a_panic() {
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    let x: Sequence = dev.zeros_like(&(2, 3, 2));
    let refused = |gru: &Gru| gru.forward(x.clone(), None).map(|_| ()).unwrap_err().to_string();
    let gru = Gru::new(2, &[5, 4], &mut init, &dev).unwrap();

    let mut empty = gru.clone();
    empty.layers.clear();
    assert!(refused(&empty).contains("at least one layer"), "{}", refused(&empty));
    assert_eq!((empty.inputs(), empty.outputs()), (0, 0));
    assert_eq!(empty.to_string(), "GRU(0, 0 parameters)");

    let mut other = gru.clone();
    other.layers.push(other.layers[0].clone());
    let message = refused(&other);
    assert!(message.contains("columns of weight_ih of layer 2 of a GRU is 2, but 4"), "{message}");

    let mut lstm = Lstm::new(2, &[5], &mut init, &dev).unwrap();
    lstm.layers[0] = gru.layers[0].clone();
    let message = lstm.forward(x.clone(), None).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("rows of weight_hh of layer 0 of an LSTM is 15, but 20"), "{message}");

    let mut short = gru.clone();
    short.layers[1].bias_hh = dev.zeros_like(&(11,));
    assert!(refused(&short).contains("bias_hh of layer 1 of a GRU is 11, but 12"));
    let mut dense = Dense::new(4, 2, &mut init, &dev).unwrap();
    let decoder = Gru::new(4, &[5, 4], &mut init, &dev).unwrap();
    let model = Seq2Seq::new(short, decoder, dense.clone(), DecoderInput::RepeatLast);
    assert!(model.unwrap_err().to_string().contains("is 11, but 12"));

    dense.bias = dev.zeros_like(&(3,));
    let x: Sequence = dev.zeros_like(&(2, 3, 4));
    let message = dense.forward(x).unwrap_err().to_string();
    assert!(message.contains("numbers of a dense layer's bias is 3, but 2"), "{message}");

    dense = Dense { weight: dev.zeros_like(&(0, 4)), bias: dev.zeros_like(&(0,)) };
    let x: Sequence = dev.zeros_like(&(2, 3, 4));
    let message = dense.forward(x).unwrap_err().to_string();
    assert!(message.contains("[4, 0] in a dense layer"), "{message}");
    let mut none = gru.clone();
    none.layers[0].weight_hh = dev.zeros_like(&(0, 0));
    assert!(refused(&none).contains("must be at least 1 each"));
}

/// States of zeros of the sizes given: by layer (B, H).
fn states<S: Stack<f32>>(sizes: &[(usize, usize)]) -> States<f32> {
    let dev = Cpu::default();
    let layer = |size: &(usize, usize)| (0..S::STATES).map(|_| dev.zeros_like(size)).collect();
    sizes.iter().map(layer).collect()
}

fn what_does_not_fit_is_named<S: Stack<f32>>(kind: &str) {
    let stack = S::build(2, &[5, 3]);
    let dev = Cpu::default();
    let error = |x: (usize, usize, usize), states: Option<States<f32>>| {
        let x: Sequence = dev.zeros_like(&x);
        let messages = [Form::Stock, Form::Reference]
            .map(|form| stack.run(form, x.clone(), states.clone()).unwrap_err().to_string());
        assert_eq!(messages[0], messages[1]);
        assert_eq!(messages[0], stack.run_last(x, states).unwrap_err().to_string());
        messages[0].clone()
    };
    let fitting = |batch: usize| states::<S>(&[(batch, 5), (batch, 3)]);
    for (message, axis, sizes) in [
        (error((4, 6, 3), None), "features axis", "is 3, but 2"),
        (error((4, 0, 2), None), "time steps", "is 0"),
        (error((0, 6, 2), None), "series", "is 0"),
        (error((4, 6, 2), Some(fitting(1))), "batch axis", "is 1, but 4"),
        (error((4, 6, 2), Some(states::<S>(&[(4, 5)]))), "number of states", "is 1, but 2"),
        (error((4, 6, 2), Some(states::<S>(&[(4, 5), (4, 2)]))), "hidden axis", "is 2, but 3"),
        (error((4, 6, 2), Some(states::<S>(&[(4, 5), (4, 2)]))), "of layer 1", "is 2, but 3"),
    ] {
        assert!(message.contains(axis) && message.contains(sizes), "{message}");
    }
    assert!(error((4, 6, 3), None).contains(kind));
    // What fits runs.
    let x: Sequence = dev.zeros_like(&(4, 6, 2));
    assert!(stack.run(Form::Stock, x, Some(fitting(4))).is_ok());
}

#[test]
fn what_does_not_fit_is_named_by_every_layer() {
    what_does_not_fit_is_named::<SimpleRnn>("a simple RNN");
    what_does_not_fit_is_named::<Gru>("a GRU");
    what_does_not_fit_is_named::<Lstm>("an LSTM");
}

#[test]
fn a_cell_state_that_does_not_fit_is_told_from_the_hidden_state() {
    let dev = Cpu::default();
    let lstm = Lstm::new(2, &[5], &mut Initializer::new(1), &dev).unwrap();
    let run = |hidden: usize, cell: usize| -> Result<OutputsAndStates<f32, Cpu, _, LstmState>> {
        let x: Sequence = dev.zeros_like(&(4, 6, 2));
        let state =
            LstmState { hidden: dev.zeros_like(&(4, hidden)), cell: dev.zeros_like(&(4, cell)) };
        lstm.forward(x, Some(&[state]))
    };
    let message = run(5, 6).unwrap_err().to_string();
    assert!(message.contains("hidden axis of the cell state"), "{message}");
    assert!(message.contains("is 6, but 5"), "{message}");
    let message = run(7, 5).unwrap_err().to_string();
    assert!(message.contains("hidden axis of the hidden state"), "{message}");
    assert!(run(5, 5).is_ok());
}

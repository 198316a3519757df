//! The fused layers on the tape against the readable reference in f64.

use proptest::prelude::*;
use seq2seq::dfdx::shapes::{Axes3, Axis};
use seq2seq::dfdx::tensor::{PutTape, SplitTape};
use seq2seq::dfdx::tensor_ops::BroadcastTo;
use seq2seq::prelude::*;

use crate::stack::{Form, Given, Stack, assert_close, everything, numbers, wave};

/// Relative to the largest value of a tensor.
const TOLERANCE: f64 = 1e-5;

#[derive(Clone, Debug)]
struct Sizes {
    batch: usize,
    time: usize,
    features: usize,
    hidden: Vec<usize>,
}

/// Sizes of one, odd, prime, and around the widths of registers and panels.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1..40usize, prop::sample::select(vec![1, 2, 3, 5, 7, 11, 13, 16, 17, 31, 37])]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (size(), 1..12usize, 1..20usize, prop::collection::vec(size(), 1..4))
        .prop_map(|(batch, time, features, hidden)| Sizes { batch, time, features, hidden })
}

fn check<Fused: Stack<f32>, Reference: Stack<f64>>(sizes: &Sizes) {
    let Sizes { batch, time, features, hidden } = sizes;
    let given = Given::waves::<Reference>(*batch, *time, *features, hidden);
    let (_, fused) = everything::<f32, Fused>(Form::Stock, &given);
    let (_, reference) = everything::<f64, Reference>(Form::Reference, &given);
    assert_close(&format!("{sizes:?}"), &fused, &reference, TOLERANCE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_simple_rnn_equals_the_reference(sizes in sizes()) {
        check::<SimpleRnn, SimpleRnn<f64, Cpu>>(&sizes);
    }

    #[test]
    fn a_gru_equals_the_reference(sizes in sizes()) {
        check::<Gru, Gru<f64, Cpu>>(&sizes);
    }

    #[test]
    fn an_lstm_equals_the_reference(sizes in sizes()) {
        check::<Lstm, Lstm<f64, Cpu>>(&sizes);
    }
}

/// Sizes from which on gates are computed one after the other (4 H, 3 H or H above 512), and from which
/// on a gate is cut into parts (513).
#[test]
fn large_layers_equal_the_reference_on_the_tape() {
    for hidden in [130, 180, 513] {
        let sizes = Sizes { batch: 33, time: 2, features: 2, hidden: vec![hidden] };
        check::<SimpleRnn, SimpleRnn<f64, Cpu>>(&sizes);
        check::<Gru, Gru<f64, Cpu>>(&sizes);
        check::<Lstm, Lstm<f64, Cpu>>(&sizes);
    }
}

fn sequence(batch: usize, time: usize, features: usize) -> Sequence {
    let values = numbers(&wave(batch * time * features, 0.1, 1.0));
    Cpu::default().tensor_from_vec(values, (batch, time, features))
}

/// A first state that every series shares is a broadcast, of which dfdx keeps one row: the gradient
/// has to find its way through the copy.
fn a_shared_first_state_gets_its_gradient<S: Stack<f32>>() {
    let dev = Cpu::default();
    let (batch, time, features, hidden) = (4, 5, 3, 6);
    let stack = S::build(features, &[hidden]);
    let values: Vec<f32> = numbers(&wave(hidden, 0.3, 1.0));
    let gradient = |form: Form| {
        let x = sequence(batch, time, features);
        let row: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(values.clone(), (hidden,));
        let shared = row.leaky_trace().broadcast_like::<_, Axis<0>>(&(batch, hidden));
        let (shared, tape) = shared.split_tape();
        let states = Some(vec![vec![shared; S::STATES]]);
        let (outputs, _) = stack.run(form, x.put_tape(tape), states).unwrap();
        outputs.square().sum::<(), _>().backward().get(&row).as_vec()
    };
    let (fused, reference) = (gradient(Form::Stock), gradient(Form::Reference));
    assert!(reference.iter().any(|g| g.abs() > 1e-3), "{reference:?}");
    for (f, r) in fused.iter().zip(&reference) {
        assert!((f - r).abs() < 1e-4, "{fused:?} is not {reference:?}");
    }
}

#[test]
fn a_shared_first_state_gets_its_gradient_in_every_layer() {
    a_shared_first_state_gets_its_gradient::<SimpleRnn>();
    a_shared_first_state_gets_its_gradient::<Gru>();
    a_shared_first_state_gets_its_gradient::<Lstm>();
}

/// The last output alone is the last of all outputs, with the same gradients.
fn the_last_output_alone<S: Stack<f32>>() {
    let dev = Cpu::default();
    let (batch, time, features, hidden) = (5, 7, 3, 4);
    let stack = S::build(features, &[6, hidden]);
    let x = sequence(batch, time, features);

    let (outputs, states) = stack.run(Form::Stock, x.leaky_trace(), None).unwrap();
    let (last, last_states) = stack.run_last(x.leaky_trace(), None).unwrap();
    let all = outputs.as_vec();
    let of_series = |b: usize| &all[(b * time + time - 1) * hidden..][..hidden];
    assert_eq!(last.shape(), &(batch, hidden));
    assert_eq!(last.as_vec(), (0..batch).flat_map(of_series).copied().collect::<Vec<_>>());
    for (state, last_state) in states.iter().flatten().zip(last_states.iter().flatten()) {
        assert_eq!(state.as_vec(), last_state.as_vec());
    }

    let mask = (0..batch * time * hidden).map(|i| f32::from(i / hidden % time == time - 1));
    let mask: Sequence = dev.tensor_from_vec(mask.collect(), (batch, time, hidden));
    let expected = (outputs * mask).square().sum::<(), _>().backward().get(&x).as_vec();
    let found = last.square().sum::<(), _>().backward().get(&x).as_vec();
    assert!(found.iter().any(|&g| g != 0.0));
    for (f, e) in found.iter().zip(&expected) {
        assert!((f - e).abs() < 1e-6, "{f} is not {e}");
    }
}

#[test]
fn the_last_output_alone_is_the_last_of_all() {
    the_last_output_alone::<SimpleRnn>();
    the_last_output_alone::<Gru>();
    the_last_output_alone::<Lstm>();
}

fn a_permuted_input<S: Stack<f32>>() {
    let time_first = sequence(5, 2, 3);
    let batch_first = time_first.permute::<(usize, usize, usize), Axes3<1, 0, 2>>();
    let stack = S::build(3, &[4]);
    let (fused, _) = stack.run(Form::Stock, batch_first.clone(), None).unwrap();
    let (reference, _) = stack.run(Form::Reference, batch_first, None).unwrap();
    for (f, r) in fused.as_vec().iter().zip(reference.as_vec()) {
        assert!((f - r).abs() < 1e-6, "{f} {r}");
    }
}

#[test]
fn a_permuted_input_is_read_by_its_shape() {
    a_permuted_input::<SimpleRnn>();
    a_permuted_input::<Gru>();
    a_permuted_input::<Lstm>();
}

/// States, hidden and cell, handed on from one half of a series to the other: the same as in one go.
#[test]
fn a_series_in_two_halves_gives_the_same_bits() {
    let dev = Cpu::default();
    let lstm = Lstm::new(2, &[5, 3], &mut Initializer::new(1), &dev).unwrap();
    let values: Vec<f32> = numbers(&wave(3 * 8 * 2, 0.0, 1.0));
    let part = |steps: std::ops::Range<usize>| -> Sequence {
        let series = values.chunks(8 * 2).flat_map(|s| s[steps.start * 2..steps.end * 2].to_vec());
        dev.tensor_from_vec(series.collect(), (3, steps.len(), 2))
    };
    let (whole, _) = lstm.forward_last(part(0..8), None).unwrap();
    let (_, states) = lstm.forward(part(0..5), None).unwrap();
    let (halves, _) = lstm.forward_last(part(5..8), Some(&states)).unwrap();
    assert_eq!(whole.as_vec(), halves.as_vec());
}

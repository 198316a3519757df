//! The three layers behind one interface, and everything that one of them computes as plain lists.

use seq2seq::dfdx::shapes::Dtype;
use seq2seq::dfdx::tensor::{Gradients, Tape};
use seq2seq::layers::{LstmState, Parameter, Parameters, RecurrentDevice};
use seq2seq::prelude::*;

/// f32 or f64.
pub(crate) trait Number: Dtype + From<f32> + Into<f64> {
    fn of(value: f64) -> Self;
}

impl Number for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

pub(crate) fn numbers<E: Number>(values: &[f64]) -> Vec<E> {
    values.iter().map(|&v| E::of(v)).collect()
}

pub(crate) fn wide<E: Number>(values: Vec<E>) -> Vec<f64> {
    values.into_iter().map(Into::into).collect()
}

/// Which of a layer's two forms runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// As it is used: fused in f32.
    Stock,
    Reference,
}

/// The states of the layers: of each the hidden state and, in an LSTM, the cell state.
pub(crate) type States<E, D = Cpu> = Vec<Vec<State<E, D>>>;

/// The outputs, all or the last, and the last states.
pub(crate) type Outputs<E, D, T> = (Sequence<E, D, T>, States<E, D>);
pub(crate) type Last<E, D, T> = (State<E, D, T>, States<E, D>);

pub(crate) trait Stack<E: Number, D: RecurrentDevice<E> = Cpu>:
    Parameters<E, D> + Sized
{
    /// Tensors of a layer's state.
    const STATES: usize;

    fn on(device: &D, inputs: usize, hidden: &[usize]) -> Self;

    fn build(inputs: usize, hidden: &[usize]) -> Self
    where
        D: Default,
    {
        Self::on(&D::default(), inputs, hidden)
    }

    fn run<T: Tape<E, D>>(
        &self,
        form: Form,
        x: Sequence<E, D, T>,
        states: Option<States<E, D>>,
    ) -> Result<Outputs<E, D, T>>;

    fn run_last<T: Tape<E, D>>(
        &self,
        x: Sequence<E, D, T>,
        states: Option<States<E, D>>,
    ) -> Result<Last<E, D, T>>;
}

/// A layer's state from its tensors, and back.
trait Tensors<E: Number, D: RecurrentDevice<E>> {
    fn of(tensors: Vec<State<E, D>>) -> Self;
    fn tensors(self) -> Vec<State<E, D>>;
}

impl<E: Number, D: RecurrentDevice<E>> Tensors<E, D> for State<E, D> {
    fn of(mut tensors: Vec<State<E, D>>) -> Self {
        tensors.remove(0)
    }
    fn tensors(self) -> Vec<State<E, D>> {
        vec![self]
    }
}

impl<E: Number, D: RecurrentDevice<E>> Tensors<E, D> for LstmState<E, D> {
    fn of(mut tensors: Vec<State<E, D>>) -> Self {
        LstmState { cell: tensors.remove(1), hidden: tensors.remove(0) }
    }
    fn tensors(self) -> Vec<State<E, D>> {
        vec![self.hidden, self.cell]
    }
}

macro_rules! stack {
    ($layer: ident, $state: ty, $states: literal) => {
        impl<E: Number, D: RecurrentDevice<E>> Stack<E, D> for $layer<E, D> {
            const STATES: usize = $states;

            fn on(device: &D, inputs: usize, hidden: &[usize]) -> Self {
                Self::of_dtype(inputs, hidden, &mut Initializer::new(7), device).unwrap()
            }

            fn run<T: Tape<E, D>>(
                &self,
                form: Form,
                x: Sequence<E, D, T>,
                states: Option<States<E, D>>,
            ) -> Result<Outputs<E, D, T>> {
                let first: Option<Vec<$state>> =
                    states.map(|states| states.into_iter().map(Tensors::of).collect());
                let (outputs, last) = match form {
                    Form::Stock => self.forward(x, first.as_deref())?,
                    Form::Reference => self.forward_reference(x, first.as_deref())?,
                };
                Ok((outputs, last.into_iter().map(Tensors::tensors).collect()))
            }

            fn run_last<T: Tape<E, D>>(
                &self,
                x: Sequence<E, D, T>,
                states: Option<States<E, D>>,
            ) -> Result<Last<E, D, T>> {
                let first: Option<Vec<$state>> =
                    states.map(|states| states.into_iter().map(Tensors::of).collect());
                let (output, last) = self.forward_last(x, first.as_deref())?;
                Ok((output, last.into_iter().map(Tensors::tensors).collect()))
            }
        }
    };
}

stack!(SimpleRnn, State<E, D>, 1);
stack!(Gru, State<E, D>, 1);
stack!(Lstm, LstmState<E, D>, 2);

/// Everything that goes into a stack, and the gradients of everything that comes out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) features: usize,
    pub(crate) hidden: Vec<usize>,
    /// By layer: weight_ih, weight_hh, bias_ih, bias_hh.
    pub(crate) weights: Vec<Vec<f64>>,
    pub(crate) x: Vec<f64>,
    /// By layer: the hidden state and, in an LSTM, the cell state.
    pub(crate) first: Vec<Vec<Vec<f64>>>,
    pub(crate) of_outputs: Vec<f64>,
    pub(crate) of_last: Vec<Vec<Vec<f64>>>,
}

/// A wave that does not repeat, as a stand-in for data and weights of any length; f32 holds its
/// values exactly, so that both precisions start from the same.
pub(crate) fn wave(length: usize, phase: f64, scale: f64) -> Vec<f64> {
    let value = |i: usize| ((i * i) as f64 * 0.37 + i as f64 + phase).sin() * scale;
    (0..length).map(|i| f64::from(value(i) as f32)).collect()
}

impl Given {
    pub(crate) fn waves<S: Stack<f64>>(
        batch: usize,
        time: usize,
        features: usize,
        hidden: &[usize],
    ) -> Self {
        let stack = S::build(features, hidden);
        let weights = stack.parameters().into_iter().enumerate().map(|(i, (_, parameter))| {
            // Of a size that leaves the gates between their extremes, biases not zero.
            let shape = parameter.shape();
            let scale = match shape[..] {
                [_, inputs] => 1.0 / (inputs as f64).sqrt(),
                _ => 0.5,
            };
            wave(shape.iter().product(), i as f64, scale)
        });
        let weights = weights.collect();
        let states = |phase: f64, scale: f64| -> Vec<Vec<Vec<f64>>> {
            let layer = |&h: &usize| {
                (0..S::STATES).map(|s| wave(batch * h, phase + s as f64, scale)).collect()
            };
            hidden.iter().map(layer).collect()
        };
        Given {
            batch,
            time,
            features,
            weights,
            x: wave(batch * time * features, 0.5, 1.0),
            first: states(0.25, 0.9),
            of_outputs: wave(batch * time * hidden[hidden.len() - 1], 0.75, 1.0),
            of_last: states(0.125, 1.0),
            hidden: hidden.to_vec(),
        }
    }
}

/// Everything that comes out of a stack, with a name each: outputs, last states, and the gradients
/// of the input, of the first states and of all weights, under a loss that uses outputs and states
/// alike; and that loss.
pub(crate) fn everything<E: Number, S: Stack<E>>(
    form: Form,
    given: &Given,
) -> (f64, Vec<(String, Vec<f64>)>)
where
    Cpu: RecurrentDevice<E>,
{
    everything_on::<E, Cpu, S>(&Cpu::default(), form, given)
}

/// The same on a device.
pub(crate) fn everything_on<E: Number, D: RecurrentDevice<E>, S: Stack<E, D>>(
    dev: &D,
    form: Form,
    given: &Given,
) -> (f64, Vec<(String, Vec<f64>)>) {
    let Given { batch, time, features, ref hidden, .. } = *given;
    let mut stack = S::on(dev, features, hidden);
    for ((_, mut parameter), values) in stack.parameters_mut().into_iter().zip(&given.weights) {
        parameter.copy_from(&numbers(values));
    }
    let x: Sequence<E, D> = dev.tensor_from_vec(numbers(&given.x), (batch, time, features));
    let states = |values: &[Vec<Vec<f64>>]| -> States<E, D> {
        let layer = |(values, &h): (&Vec<Vec<f64>>, &usize)| {
            values.iter().map(|v| dev.tensor_from_vec(numbers(v), (batch, h))).collect()
        };
        values.iter().zip(hidden).map(layer).collect()
    };
    let first = states(&given.first);
    let (outputs, last) = stack.run(form, x.leaky_trace(), Some(first.clone())).unwrap();

    let mut found = vec![("outputs".to_owned(), wide(outputs.as_vec()))];
    let of_outputs: Sequence<E, D> =
        dev.tensor_from_vec(numbers(&given.of_outputs), *outputs.shape());
    let mut loss = (outputs * of_outputs).sum::<(), _>();
    for (l, (last, of_last)) in last.into_iter().zip(states(&given.of_last)).enumerate() {
        for (s, (last, of_last)) in last.into_iter().zip(of_last).enumerate() {
            found.push((format!("last state {s} of layer {l}"), wide(last.as_vec())));
            loss = loss + (last.leaky_traced() * of_last).sum::<(), _>();
        }
    }
    let value = loss.as_vec()[0].into();
    let gradients: Gradients<E, D> = loss.backward();
    found.push(("gradient of x".into(), wide(gradients.get(&x).as_vec())));
    for (l, first) in first.iter().enumerate() {
        for (s, first) in first.iter().enumerate() {
            let name = format!("gradient of first state {s} of layer {l}");
            found.push((name, wide(gradients.get(first).as_vec())));
        }
    }
    for (name, parameter) in stack.parameters() {
        let values = match parameter {
            Parameter::Vector(weight) => gradients.get(weight).as_vec(),
            Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
        };
        found.push((format!("gradient of {name}"), wide(values)));
    }
    (value, found)
}

/// Asserts that the two agree to `tolerance` times the largest expected value of each list. A list
/// of small numbers, such as one state of one series, is held against its kind: what is next to zero
/// by chance has the rounding errors of numbers that are not.
#[track_caller]
pub(crate) fn assert_close(
    what: &str,
    found: &[(String, Vec<f64>)],
    expected: &[(String, Vec<f64>)],
    tolerance: f64,
) {
    let largest = |values: &[f64]| values.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let of_kind = |name: &str| {
        let same = expected.iter().filter(|(other, _)| kind(other) == kind(name));
        same.fold(0.0_f64, |m, (_, values)| m.max(largest(values)))
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
        assert_eq!(name, expected_name, "{what}");
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let scale = largest(expected).max(0.1 * of_kind(name));
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            let error = (f - e).abs() / scale;
            assert!(error <= tolerance, "{what}: {name}[{i}] is {f}, not {e}: off by {error:e}");
        }
    }
}

/// Whether a list holds values, gradients of values, or gradients of weights.
fn kind(name: &str) -> &'static str {
    match name.strip_prefix("gradient of ") {
        None => "values",
        Some(of) if of == "x" || of.starts_with("first") => "gradients of values",
        Some(_) => "gradients of weights",
    }
}

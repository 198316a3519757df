//! Both forms of every layer against PyTorch. `tests/golden/layers.py` made the numbers.

use seq2seq::prelude::*;
use serde_json::Value;

#[cfg(feature = "cuda")]
use crate::stack::everything_on;
use crate::stack::{Form, Given, Stack, assert_close, everything};
#[cfg(feature = "cuda")]
use seq2seq::layers::RecurrentDevice;

const LAYERS: usize = 2;

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list");
    values.iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// The states (L, B, H) of all kinds, by layer.
fn states(value: &Value, layers: usize) -> Vec<Vec<Vec<f64>>> {
    let kinds: Vec<_> = value.as_array().expect("a list").iter().map(numbers).collect();
    let layer = |l: usize| {
        let of_layer = |values: &Vec<f64>| {
            let length = values.len() / layers;
            values[l * length..][..length].to_vec()
        };
        kinds.iter().map(of_layer).collect()
    };
    (0..layers).map(layer).collect()
}

/// The same, with the names that `everything` gives them.
fn named(what: &str, value: &Value) -> Vec<(String, Vec<f64>)> {
    let mut found = vec![];
    for (l, layer) in states(value, LAYERS).into_iter().enumerate() {
        for (s, values) in layer.into_iter().enumerate() {
            found.push((format!("{what} state {s} of layer {l}"), values));
        }
    }
    found
}

/// What goes into a stack, and what has to come out.
fn read<S: Stack<f32>>(case: &Value) -> (Given, Vec<(String, Vec<f64>)>) {
    let size = |name: &str| case[name].as_u64().expect("a size") as usize;
    let hidden = vec![size("hidden"); LAYERS];
    let names: Vec<String> =
        S::build(size("input"), &hidden).parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names.len(), case["weights"].as_object().expect("by name").len());
    let given = Given {
        batch: size("batch"),
        time: size("steps"),
        features: size("input"),
        hidden,
        weights: names.iter().map(|name| numbers(&case["weights"][name])).collect(),
        x: numbers(&case["x"]),
        first: states(&case["first"], LAYERS),
        of_outputs: numbers(&case["of_output"]),
        of_last: states(&case["of_last"], LAYERS),
    };

    let mut expected = vec![("outputs".to_owned(), numbers(&case["output"]))];
    expected.extend(named("last", &case["last"]));
    expected.push(("gradient of x".into(), numbers(&case["d_x"])));
    expected.extend(named("gradient of first", &case["d_first"]));
    for name in &names {
        expected.push((format!("gradient of {name}"), numbers(&case["d_weights"][name])));
    }
    (given, expected)
}

fn check<Fused: Stack<f32>, Reference: Stack<f64>>(case: &Value) {
    let (given, expected) = read::<Fused>(case);
    let what = case["cell"].as_str().expect("a name");
    let (_, fused) = everything::<f32, Fused>(Form::Stock, &given);
    assert_close(&format!("{what}, fused"), &fused, &expected, 1e-5);
    let (_, reference) = everything::<f64, Reference>(Form::Reference, &given);
    // The numbers are rounded to nine decimals.
    assert_close(&format!("{what}, reference"), &reference, &expected, 1e-7);
}

fn cases() -> Vec<Value> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../golden/layers.json")).expect("golden numbers");
    assert_eq!(cases.len(), 6);
    cases
}

#[test]
fn every_layer_equals_pytorch() {
    for case in &cases() {
        match case["cell"].as_str() {
            Some("simple_rnn") => check::<SimpleRnn, SimpleRnn<f64, Cpu>>(case),
            Some("gru") => check::<Gru, Gru<f64, Cpu>>(case),
            Some("lstm") => check::<Lstm, Lstm<f64, Cpu>>(case),
            other => panic!("no such layer: {other:?}"),
        }
    }
}

/// The same on a device, in both precisions.
#[cfg(feature = "cuda")]
fn check_on<D, S32, S64, C32>(device: &D, case: &Value)
where
    D: RecurrentDevice<f32> + RecurrentDevice<f64>,
    S32: Stack<f32, D>,
    S64: Stack<f64, D>,
    C32: Stack<f32>,
{
    let (given, expected) = read::<C32>(case);
    let what = case["cell"].as_str().expect("a name");
    let (_, found) = everything_on::<f32, D, S32>(device, Form::Stock, &given);
    assert_close(&format!("{what}, f32"), &found, &expected, 1e-5);
    let (_, found) = everything_on::<f64, D, S64>(device, Form::Stock, &given);
    assert_close(&format!("{what}, f64"), &found, &expected, 1e-7);
}

#[test]
#[cfg(feature = "cuda")]
fn every_layer_equals_pytorch_on_a_gpu() {
    let Some(gpu) = crate::gpu::first("every_layer_equals_pytorch_on_a_gpu") else { return };
    for case in &cases() {
        match case["cell"].as_str() {
            Some("simple_rnn") => {
                check_on::<Cuda, SimpleRnn<f32, _>, SimpleRnn<f64, _>, SimpleRnn>(&gpu, case);
            }
            Some("gru") => check_on::<Cuda, Gru<f32, _>, Gru<f64, _>, Gru>(&gpu, case),
            Some("lstm") => check_on::<Cuda, Lstm<f32, _>, Lstm<f64, _>, Lstm>(&gpu, case),
            other => panic!("no such layer: {other:?}"),
        }
    }
}

//! Weights of Keras, Flax and ONNX, converted by `examples/convert_weights.py`, compute here what they
//! compute there. `tests/golden/conversions.py` made the models, their outputs and the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seq2seq::layers::Parameters;
use seq2seq::prelude::*;
use serde_json::Value;

/// Of outputs about as large as 1.
const TOLERANCE: f32 = 1e-5;

/// What a framework was given, and what it made of it.
struct Case {
    name: String,
    weights: PathBuf,
    past: Sequence,
    shape: Vec<usize>,
    output: Vec<f32>,
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// The whole models, or the stacks without a decoder.
fn cases(stacks: bool) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/conversions");
    let text = fs::read_to_string(folder.join("conversions.json")).unwrap();
    let golden: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let is_stack = |case: &Value| case["arguments"][0] == "--layers";
    let cases = golden.into_iter().filter(|(_, case)| is_stack(case) == stacks);
    let case = |(name, case): (String, Value)| {
        let [batch, steps, features] = sizes(&case["past"]["shape"])[..] else { panic!("{name}") };
        let past = numbers(&case["past"]["values"]);
        Case {
            weights: folder.join(&name).with_extension("safetensors"),
            past: Cpu::default().tensor_from_vec(past, (batch, steps, features)),
            shape: sizes(&case["output"]["shape"]),
            output: numbers(&case["output"]["values"]),
            name,
        }
    };
    cases.map(case).collect()
}

fn compare(case: &Case, found: &Sequence) {
    let (batch, steps, outputs) = *found.shape();
    assert_eq!([batch, steps, outputs][..], case.shape, "{}", case.name);
    let pairs = found.as_vec().into_iter().zip(&case.output);
    let error = pairs.map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    println!("{}: off by {error:.1e} at most", case.name);
    assert!(error <= TOLERANCE, "{}: off by {error}", case.name);
}

#[test]
fn converted_models_predict_the_same() {
    let cases = cases(false);
    assert_eq!(cases.len(), 6);
    for case in cases {
        let mut model = Seq2Seq::load(&case.weights).unwrap();
        let decoder_input = format!("{:?}", model.decoder_input());
        assert_eq!(case.name.contains("zeros"), decoder_input == "Zeros", "{}", case.name);
        compare(&case, &model.forward(case.past.clone(), case.shape[1]).unwrap());
        // Nothing else is in the file.
        load_weights(&mut model, &case.weights).unwrap();
    }
}

#[test]
fn converted_stacks_give_the_same_outputs() {
    fn loaded<M: Parameters<f32, Cpu>>(case: &Case, mut stack: M) -> M {
        load_weights(&mut stack, &case.weights).unwrap();
        stack
    }
    let cases = cases(true);
    assert_eq!(cases.len(), 9);
    let (dev, mut init) = (Cpu::default(), Initializer::new(1));
    let hidden = [4, 3];
    for case in cases {
        let (_, kind) = case.name.split_once('_').unwrap();
        let past = case.past.clone();
        let found = match kind {
            "gru" => {
                let stack = Gru::new(2, &hidden, &mut init, &dev).unwrap();
                loaded(&case, stack).forward(past, None).unwrap().0
            }
            "lstm" => {
                let stack = Lstm::new(2, &hidden, &mut init, &dev).unwrap();
                loaded(&case, stack).forward(past, None).unwrap().0
            }
            _ => {
                let stack = SimpleRnn::new(2, &hidden, &mut init, &dev).unwrap();
                loaded(&case, stack).forward(past, None).unwrap().0
            }
        };
        compare(&case, &found);
    }
}

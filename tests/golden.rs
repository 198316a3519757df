//! The reference against PyTorch: predictions, every gradient, clipped gradients, and three steps of
//! each optimiser.
//! `tests/golden/make_golden.py` made the numbers.

use std::path::Path;

use dfdx::tensor::Gradients;
use safetensors::SafeTensors;
use seq2seq::layers::{Parameter, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;

/// Relative to the largest value of a tensor. The golden numbers are in double precision.
const TOLERANCE: f32 = 1e-5;

struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let path = folder.join(name).with_extension("safetensors");
        let bytes = std::fs::read(&path).unwrap();
        Self { bytes }
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        let (values, _) = tensor.data().as_chunks::<4>();
        values.iter().map(|v| f32::from_le_bytes(*v)).collect()
    }

    fn data(&self) -> Dataset {
        Dataset::new(self.values("past"), self.values("future"), 5, 4, 2).unwrap()
    }

    /// The model, without the numbers that are beside it in the file.
    fn model(&self) -> Seq2Seq {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let of_model = |(name, _): &(&str, _)| {
            ["encoder.", "decoder.", "dense."].iter().any(|part| name.starts_with(part))
        };
        let bytes = safetensors::serialize(file.iter().filter(of_model), None).unwrap();
        let alone = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&alone, bytes).unwrap();
        Seq2Seq::load(&alone).unwrap()
    }
}

#[track_caller]
fn assert_close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f - e).abs() / largest;
        assert!(error <= TOLERANCE, "{name}[{i}] is {f}, not {e}: off by {error}");
    }
}

fn gradient(parameter: Parameter<'_, f32, Cpu>, gradients: &Gradients<f32, Cpu>) -> Vec<f32> {
    match parameter {
        Parameter::Vector(weight) => gradients.get(weight).as_vec(),
        Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
    }
}

fn loss_of(model: &Seq2Seq, data: &Dataset) -> (f32, Gradients<f32, Cpu>) {
    let past = data.past_tensor();
    let prediction = model.forward(past.leaky_traced(), data.future_steps());
    let loss = loss(prediction.unwrap(), data.future_tensor()).unwrap();
    (loss.array(), loss.backward())
}

fn check(name: &str, decoder_input: DecoderInput) {
    let golden = Golden::open(name);
    let (model, data) = (golden.model(), golden.data());
    assert_eq!(model.decoder_input(), decoder_input);
    assert_close(
        "prediction",
        model.predict(&data).unwrap().values(),
        &golden.values("prediction"),
    );

    let (loss, gradients) = loss_of(&model, &data);
    assert_close("loss", &[loss], &golden.values("loss"));
    for (name, parameter) in model.parameters() {
        let expected = golden.values(&format!("gradient.{name}"));
        assert_close(&name, &gradient(parameter, &gradients), &expected);
    }

    // From weights of zero, a step of 1 along the clipped gradient ends at it.
    let mut from_zero = model.clone();
    for (_, mut parameter) in from_zero.parameters_mut() {
        let size = parameter.shape().iter().product();
        parameter.copy_from(&vec![0.0; size]);
    }
    let (optimizer, clip_norm) = (Optimizer::Sgd { momentum: 0.0 }, Some(0.5));
    let mut sgd = Descent { optimizer, learning_rate: 1.0, clip_norm, ..Default::default() };
    let norm = sgd.update(&mut from_zero, gradients).unwrap();
    assert_close("norm", &[norm as f32], &golden.values("norm"));
    for (name, parameter) in from_zero.parameters() {
        let found: Vec<f32> = parameter.to_vec().iter().map(|weight| -weight).collect();
        assert_close(&name, &found, &golden.values(&format!("clipped.{name}")));
    }

    for (name, optimizer, learning_rate) in [
        ("adam", Optimizer::Adam, 0.01),
        ("rmsprop", Optimizer::RmsProp { decay: 0.92, momentum: 0.5 }, 0.007),
        ("sgd", Optimizer::Sgd { momentum: 0.9 }, 0.05),
    ] {
        let weight_decay = 0.02;
        let descent = Descent { optimizer, learning_rate, weight_decay, ..Default::default() };
        check_training(&golden, name, descent);
    }
}

fn check_training(golden: &Golden, optimizer: &str, mut descent: Descent) {
    let (mut model, data) = (golden.model(), golden.data());
    for _ in 0..3 {
        let (_, gradients) = loss_of(&model, &data);
        descent.update(&mut model, gradients).unwrap();
    }
    for (name, parameter) in model.parameters() {
        let name = format!("{optimizer}.{name}");
        assert_close(&name, &parameter.to_vec(), &golden.values(&name));
    }
}

#[test]
fn repeat_last_equals_pytorch() {
    check("repeat_last", DecoderInput::RepeatLast);
}

#[test]
fn zeros_equal_pytorch() {
    check("zeros", DecoderInput::Zeros);
}

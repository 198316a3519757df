//! Models on a GPU, against the same on the CPU.

mod gpu;

use seq2seq::layers::{Parameter, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;

fn waves(series: usize) -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine { series, ..Default::default() }).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).1;
    (scale(&train), scale(&validation))
}

/// The prediction for some series and all gradients, one after the other.
macro_rules! everything {
    ($device: expr, $model: expr, $data: expr, $forward: expr) => {{
        let (model, data) = ($model, $data);
        let past: Sequence<f32, _> = data.past_tensor($device);
        let prediction = $forward(model, past.leaky_traced()).unwrap();
        let mut all = prediction.as_vec();
        let loss = loss(prediction, data.future_tensor($device)).unwrap();
        let gradients = loss.backward();
        for (_, parameter) in model.parameters() {
            all.extend(match parameter {
                Parameter::Vector(weight) => gradients.get(weight).as_vec(),
                Parameter::Matrix(weight) => gradients.get(weight).as_vec(),
            });
        }
        all
    }};
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() < 1e-4 * e.abs().max(1.0), "number {i} is {f}, not {e}");
    }
}

#[test]
fn the_encoder_decoder_equals_the_one_on_the_cpu() {
    let Some(gpu) = gpu::first("the_encoder_decoder_equals_the_one_on_the_cpu") else { return };
    let (data, dev) = (waves(40).0, Cpu::default());
    for decoder_input in [DecoderInput::RepeatLast, DecoderInput::Zeros] {
        let mut init = Initializer::new(4);
        let inputs = if decoder_input == DecoderInput::Zeros { 2 } else { 7 };
        let encoder = Gru::new(2, &[5, 7], &mut init, &dev).unwrap();
        let decoder = Gru::new(inputs, &[5, 7], &mut init, &dev).unwrap();
        let dense = Dense::new(7, 2, &mut init, &dev).unwrap();
        let model = Seq2Seq::new(encoder, decoder, dense, decoder_input).unwrap();
        let steps = data.future_steps();
        let expected =
            everything!(&dev, &model, &data, |model: &Seq2Seq, x| model.forward(x, steps));
        let on_gpu = model.to_device(&gpu);
        let found = everything!(&gpu, &on_gpu, &data, |model: &Seq2Seq<f32, Cuda>, x| model
            .forward(x, steps));
        assert_near(&found, &expected);
    }
}

#[test]
fn the_decoder_that_reads_its_own_output_equals_the_one_on_the_cpu() {
    let name = "the_decoder_that_reads_its_own_output_equals_the_one_on_the_cpu";
    let Some(gpu) = gpu::first(name) else { return };
    let (data, dev) = (waves(40).0, Cpu::default());
    let settings = AutoregressiveSettings {
        features: 2,
        encoder_sizes: vec![3, 4],
        decoder_sizes: vec![4, 5],
        context: true,
        attention: true,
        ..Default::default()
    };
    let model = Autoregressive::new(settings).unwrap();
    let steps = data.future_steps();
    let expected = everything!(&dev, &model, &data, |model: &Autoregressive, x| model.forward(
        x,
        steps,
        Feeding::Own
    ));
    let on_gpu = model.to_device(&gpu);
    let found = everything!(&gpu, &on_gpu, &data, |model: &Autoregressive<f32, Cuda>, x| model
        .forward(x, steps, Feeding::Own));
    assert_near(&found, &expected);
}

/// The curve of a training, to 1e-3.
#[test]
fn a_training_follows_the_one_on_the_cpu() {
    if gpu::first("a_training_follows_the_one_on_the_cpu").is_none() {
        return;
    }
    let (train, validation) = waves(1000);
    let plain = Hyperparameters::default();
    let all_settings = Hyperparameters {
        optimizer: Optimizer::RmsProp { decay: 0.92, momentum: 0.5 },
        schedule: Schedule::Cosine { warmup_fraction: 0.2 },
        clip_norm: Some(0.85),
        epochs: 3,
        ..plain
    };
    for settings in [plain, all_settings] {
        let mut on_cpu = Seq2Seq::stacked(2, &settings).unwrap();
        let mut on_gpu = on_cpu.clone();
        let expected = fit(&mut on_cpu, &train, &validation, &settings).unwrap();
        let settings = Hyperparameters { device: Device::Cuda(0), ..settings };
        let found = fit(&mut on_gpu, &train, &validation, &settings).unwrap();
        for (found, expected) in found.epochs().iter().zip(expected.epochs()) {
            let (found, expected) = (found.validation_mse, expected.validation_mse);
            assert!((found - expected).abs() < 1e-3 * expected, "{found} is not {expected}");
        }
    }
}

/// Networks of a cell's own, whose weights are on the GPU.
#[test]
fn a_network_on_the_tape_follows_the_one_on_the_cpu() {
    let name = "a_network_on_the_tape_follows_the_one_on_the_cpu";
    let Some(gpu) = gpu::first(name) else { return };
    let (train, validation) = waves(300);
    let settings = Hyperparameters { epochs: 3, ..Default::default() };
    let mut init = Initializer::new(5);
    let lstm = Lstm::new(2, &[6], &mut init, &Cpu::default()).unwrap();
    let dense = Dense::new(6, 20, &mut init, &Cpu::default()).unwrap();
    let mut on_gpu = (lstm.to_device(&gpu), dense.to_device(&gpu));
    let mut on_cpu = (lstm, dense);

    let expected = fit_on_tape(&mut on_cpu, &train, &validation, &settings, |(lstm, dense), x| {
        let (last, _) = lstm.forward_last(x, None)?;
        let y = dense.forward_step(last)?;
        let (series, _) = *y.shape();
        Ok(y.reshape_like(&(series, 10, 2)))
    });
    let found = fit_on_tape(&mut on_gpu, &train, &validation, &settings, |(lstm, dense), x| {
        let (last, _) = lstm.forward_last(x, None)?;
        let y = dense.forward_step(last)?;
        let (series, _) = *y.shape();
        Ok(y.reshape_like(&(series, 10, 2)))
    });
    let (found, expected) = (found.unwrap().last().loss, expected.unwrap().last().loss);
    assert!((found - expected).abs() < 1e-3 * expected, "{found} is not {expected}");
}

#[test]
fn memory_that_is_full_is_an_error() {
    if gpu::first("memory_that_is_full_is_an_error").is_none() {
        return;
    }
    let (train, validation) = waves(500_000);
    let settings = Hyperparameters {
        hidden_size: 256,
        batch_size: 500_000,
        device: Device::Cuda(0),
        ..Default::default()
    };
    let mut model = Seq2Seq::stacked(2, &settings).unwrap();
    let message = fit(&mut model, &train, &validation, &settings).unwrap_err().to_string();
    assert!(message.contains("memory is full") && message.contains("Device::Cpu"), "{message}");
}

#[test]
fn a_device_that_is_not_there_is_refused_before_the_training() {
    let gpus = Device::available().len() - 1;
    let (train, validation) = waves(40);
    let settings = Hyperparameters { device: Device::Cuda(gpus), ..Default::default() };
    let mut model = Seq2Seq::stacked(2, &Hyperparameters::default()).unwrap();
    let message = fit(&mut model, &train, &validation, &settings).unwrap_err().to_string();
    assert!(message.starts_with(&format!("CUDA, GPU {gpus}, can not be used")), "{message}");
    assert_eq!(Device::best(), *Device::available().get(1).unwrap_or(&Device::Cpu));
}

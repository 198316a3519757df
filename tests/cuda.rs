//! Models on a GPU, against the same on the CPU; and what nvcc makes of the fused step.

#[path = "../benches/configurations/mod.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod configurations;
mod gpu;

use configurations::{CONFIGURATIONS, wave};
use seq2seq::kernels::level::Level;
use seq2seq::kernels::optimizer::Settings;
use seq2seq::kernels::recurrent::CellKind;
use seq2seq::kernels::seq2seq::{Loss, NetworkShape, TrainStep, Windows};
use seq2seq::kernels_cuda::{self as cuda, Limits};
use seq2seq::layers::{GruCell, Parameter, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;
use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;

fn waves(series: usize) -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine { series, ..Default::default() }).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).unwrap().1;
    (scale(&train), scale(&validation))
}

/// The prediction for some series and all gradients, one after the other.
macro_rules! everything {
    ($device: expr, $model: expr, $data: expr, $forward: expr) => {{
        let (model, data) = ($model, $data);
        let past: Sequence<f32, _> = data.past_tensor_on($device);
        let prediction = $forward(model, past.leaky_traced()).unwrap();
        let mut all = prediction.as_vec();
        let loss = loss(prediction, data.future_tensor_on($device)).unwrap();
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
        let found =
            everything!(&gpu, &on_gpu, &data, |model: &Seq2Seq<GruCell, f32, Cuda>, x| model
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

/// Gradient and loss of a step, from the GPU's own weights, over batches of several sizes.
#[test]
fn a_step_equals_the_one_on_the_cpu() {
    if gpu::first("a_step_equals_the_one_on_the_cpu").is_none() {
        return;
    }
    const SERIES: usize = 700;
    for (hidden, decoder_input, past_steps, future_steps, loss) in [
        (vec![1], DecoderInput::RepeatLast, 1, 1, Loss::HalfSum),
        (vec![12, 12], DecoderInput::RepeatLast, 10, 10, Loss::HalfSum),
        (vec![35, 35], DecoderInput::Zeros, 15, 15, Loss::Mean),
        (vec![7, 13, 5], DecoderInput::RepeatLast, 6, 9, Loss::Mean),
        (vec![64, 64], DecoderInput::RepeatLast, 40, 40, Loss::HalfSum),
        (vec![48], DecoderInput::RepeatLast, 200, 150, Loss::HalfSum),
        // These have no kernel of their own.
        (vec![131], DecoderInput::RepeatLast, 7, 5, Loss::Mean),
        (vec![100, 100], DecoderInput::RepeatLast, 30, 30, Loss::HalfSum),
        (vec![70, 500, 90], DecoderInput::Zeros, 4, 6, Loss::HalfSum),
    ] {
        let shape =
            NetworkShape { cell: CellKind::Gru, features: 2, outputs: 2, hidden, decoder_input };
        let past: Vec<f32> = wave(SERIES * past_steps * 2).collect();
        let future: Vec<f32> =
            past.iter().cycle().take(SERIES * future_steps * 2).map(|x| 0.5 * x).collect();
        let windows = Windows { past: &past, future: &future };
        let steps = [past_steps, future_steps];
        let settings = Settings { weight_decay: 1e-2, ..Settings::default() };
        let order: Vec<usize> = (0..SERIES).map(|i| i * 3 % SERIES).collect();
        for batch in [1, 50, 200, 512] {
            let widest = shape.hidden.iter().copied().max().unwrap();
            let scale = (1.0 / widest as f32).sqrt().min(0.2);
            let start: Vec<f32> = wave(shape.num_weights()).map(|w| scale * w).collect();
            let train = || {
                let gpu =
                    cuda::TrainStep::new(0, &shape, &start, windows, steps, batch, loss, settings);
                let mut gpu = gpu.unwrap();
                gpu.set_order(&order).unwrap();
                // Larger networks run the first step of a kind, record the second, and replay the third.
                let [clipped, not_clipped] = [Some(1e-3), Some(1e3)];
                let kinds = [None, clipped, None, not_clipped, None, clipped, not_clipped];
                for (i, clip_norm) in kinds.into_iter().enumerate() {
                    let before = gpu.weights().unwrap();
                    gpu.settings.clip_norm = clip_norm;
                    let part = i * 10..(i * 10 + batch).min(SERIES);
                    gpu.queue(part.clone()).unwrap();
                    let level = Level::best();
                    let mut cpu = TrainStep::new(
                        shape.clone(),
                        before,
                        steps[0],
                        steps[1],
                        loss,
                        settings,
                        level,
                    );
                    let expected = cpu.compute_gradient(windows, &order[part]);
                    let found = gpu.losses().unwrap()[0];
                    assert!((found - expected).abs() < 1e-5 * expected, "{found} {expected}");
                    let gradient = gpu.gradient().unwrap();
                    let length = cpu.gradient().iter().map(|g| g * g).sum::<f32>().sqrt();
                    for (found, expected) in gradient.iter().zip(cpu.gradient()) {
                        let error = (found - expected).abs();
                        assert!(error < 1e-5 * length, "{found} is not {expected}");
                    }
                }
                gpu.weights().unwrap()
            };
            // To the last bit.
            let bits =
                |weights: Vec<f32>| weights.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(train()), bits(train()));
        }
    }
}

/// What nvcc makes of the kernels at the sizes that are timed: nothing of a thread's weights may be left
/// over for memory.
#[test]
fn the_kernels_compile_without_spills() {
    let say = |text: String| stderr().write_all(text.as_bytes()).unwrap_or_default();
    let h200 = Limits { multiprocessors: 132, shared_memory: 227 * 1024 };
    let mut sources = vec![("operations", cuda::OPERATIONS.to_owned())];
    for configuration in &CONFIGURATIONS {
        let (shape, steps) = (configuration.shape(), [configuration.steps; 2]);
        let source = cuda::source(&shape, steps, configuration.batch, h200);
        sources.extend(source.map(|source| (configuration.name, source)));
    }
    let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["operations", "e1", "keras", "e2", "btc"]);
    for (name, source) in sources {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.cu"));
        fs::write(&path, source).unwrap();
        let output = Command::new("nvcc")
            .args(["-cubin", "-arch=sm_90", "-Xptxas", "-v", "-o"])
            .args([&path.with_extension("cubin"), &path])
            .output();
        let Ok(output) = output else {
            say("the_kernels_compile_without_spills is skipped: there is no nvcc\n".to_owned());
            return;
        };
        let report = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {report}");
        let spills: Vec<_> = report.lines().filter(|line| line.contains("spill stores")).collect();
        let none = |line: &&str| line.contains(" 0 bytes spill stores, 0 bytes spill loads");
        assert!(!spills.is_empty() && spills.iter().all(none), "{name}: {report}");
        let used = report.lines().filter(|line| line.contains("Used"));
        used.for_each(|line| say(format!("{name}: {line}\n")));
    }
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
        hidden_size: 1024,
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
    assert!(message.starts_with(&format!("CUDA, GPU {gpus}, cannot be used")), "{message}");
    assert_eq!(Device::best(), *Device::available().get(1).unwrap_or(&Device::Cpu));
}

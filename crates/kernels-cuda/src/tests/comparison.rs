//! What the two ways have in common: their inputs, the program that runs the kernels, what is near.

use seq2seq_kernels::DecoderInput;
use seq2seq_kernels::optimizer::{BETA_1, BETA_2, EPSILON, Optimizer, Settings, clip_factor};
use seq2seq_kernels::recurrent::CellKind;
use seq2seq_kernels::seq2seq::NetworkShape;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;

/// Series of the data set.
pub(crate) const SERIES: usize = 23;

pub(crate) fn shape(
    features: usize,
    outputs: usize,
    hidden: &[usize],
    decoder_input: DecoderInput,
) -> NetworkShape {
    NetworkShape { cell: CellKind::Gru, features, outputs, hidden: hidden.to_vec(), decoder_input }
}

pub(crate) fn adam() -> Settings {
    Settings { weight_decay: 1e-2, ..Settings::default() }
}

pub(crate) fn wave(length: usize, shift: f32) -> Vec<f32> {
    (0..length).map(|i| (i as f32 * 0.7 + (i / 97) as f32 + shift).sin()).collect()
}

/// As they lie in memory.
pub(crate) fn bytes(arguments: &Arguments) -> Vec<u8> {
    arguments.words().into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Weights, m and v after step t, by the formulas of [`Optimizer`].
pub(crate) fn updated(
    settings: Settings,
    t: i32,
    [w, m, v]: [&[f32]; 3],
    gradient: &[f32],
) -> [Vec<f32>; 3] {
    let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let scale = settings.clip_norm.map_or(1.0, |most| clip_factor(norm, most));
    let (rate, decay) = (f64::from(settings.learning_rate), f64::from(settings.weight_decay));
    let epsilon = f64::from(EPSILON);
    let mut after = [Vec::new(), Vec::new(), Vec::new()];
    for i in 0..w.len() {
        let [w, m, v, g] = [w[i], m[i], v[i], gradient[i]].map(f64::from);
        let g = scale * g + decay * w;
        let (w, m, v) = match settings.optimizer {
            Optimizer::Adam => {
                let (beta_1, beta_2) = (f64::from(BETA_1), f64::from(BETA_2));
                let m = beta_1 * m + (1.0 - beta_1) * g;
                let v = beta_2 * v + (1.0 - beta_2) * g * g;
                let root = (v / (1.0 - beta_2.powi(t))).sqrt();
                (w - rate / (1.0 - beta_1.powi(t)) * m / (root + epsilon), m, v)
            }
            Optimizer::RmsProp { decay, momentum } => {
                let v = decay * v + (1.0 - decay) * g * g;
                let m = momentum * m + g / (v.sqrt() + epsilon);
                (w - rate * m, m, v)
            }
            Optimizer::Sgd { momentum } => {
                let m = momentum * m + g;
                (w - rate * m, m, v)
            }
        };
        for (to, value) in after.iter_mut().zip([w, m, v]) {
            to.push(value as f32);
        }
    }
    after
}

/// The length of the difference, and every number, to so much of the expected one; near zero, to so much
/// of what is usual.
pub(crate) fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
    let whole = length(&mut expected.iter().copied());
    let usual = whole / (expected.len() as f32).sqrt();
    let difference = length(&mut found.iter().zip(expected).map(|(f, e)| f - e));
    assert!(difference <= tolerance * whole, "{what}: {difference} of {whole}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let allowed = tolerance * (e.abs() + usual);
        assert!((f - e).abs() <= allowed, "{what}: number {i} is {f}, not {e}");
    }
}

/// A folder beside this program.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().with_file_name(format!("cuda_{name}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Compiles the kernels with the program that runs them, as `name`, in a folder of its own; with
/// `defines` before everything.
pub(crate) fn compile(name: &str, kernels: &str, defines: &str, sanitizers: bool) -> PathBuf {
    let folder = folder(name);
    let (header, program) = (folder.join("defines.h"), folder.join("program"));
    fs::write(&header, defines).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = |name: &str| root.join("src").join(name).display().to_string();
    let runner = if kernels == "train_step.cu" { "fused.c" } else { "graph.c" };
    let attempt = |sanitizers: &str| {
        let output = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Wno-unknown-pragmas"])
            .args(["-Wno-unused-parameter", "-Wno-clobbered", "-Wno-type-limits"])
            .args(["-fno-strict-aliasing", "-ffp-contract=off", "-fno-sanitize-recover=all"])
            .arg(sanitizers)
            .arg(format!("-DFORMULAS=\"{}\"", source("formulas.cu")))
            .arg(format!("-DKERNEL_SOURCE=\"{}\"", source(kernels)))
            .args(["-include".as_ref(), header.as_os_str()])
            .arg(root.join("src/tests").join(runner))
            .args(["-lm".as_ref(), "-o".as_ref(), program.as_os_str()])
            .output();
        let output = output.expect("a C compiler, which linking wants too");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // A compiler may come without the sanitizers' libraries.
    let (works, errors) = match sanitizers {
        true => attempt("-fsanitize=address,undefined"),
        false => (false, String::new()),
    };
    if works {
        assert!(!errors.contains("warning"), "{errors}");
    } else {
        let (works, plain) = attempt("-DPLAIN");
        assert!(works && !plain.contains("warning"), "{errors}{plain}");
    }
    program
}

/// Runs the program in both orders of the threads, which must not show; returns what it has written.
pub(crate) fn run(what: &str, program: &Path, folder: &str, input: &[u8]) -> Vec<f32> {
    let folder = self::folder(folder);
    let (input_path, output_path) = (folder.join("input"), folder.join("output"));
    fs::write(&input_path, input).unwrap();
    let run = |order: &str| {
        let output = Command::new(program)
            .args([input_path.as_os_str(), output_path.as_os_str(), order.as_ref()])
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {errors}");
        fs::read(&output_path).unwrap()
    };
    let output = run("0");
    assert!(output == run("1"), "{what}: the order of the threads shows");
    output.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

//! The operations of networks of any size, one after the other.

use seq2seq_kernels::DecoderInput::{RepeatLast, Zeros};
use seq2seq_kernels::level::Level;
use seq2seq_kernels::optimizer::{Optimizer, Settings};
use seq2seq_kernels::seq2seq::{Loss, NetworkShape, TrainStep, Windows};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::comparison::{SERIES, adam, bytes, compile, near, run, shape, updated, wave};
use crate::arguments::Arguments;
use crate::operations::{Gemm, Layout, Operation, SUMS};

/// The kernels and what runs them, as a program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("operations", "operations.cu", "", true))
}

/// Trains on the CPU and with the operations, and compares everything.
fn follows_the_cpu(
    name: &str,
    shape: &NetworkShape,
    [past_steps, future_steps]: [usize; 2],
    loss: Loss,
    settings: Settings,
    batches: &[usize],
) {
    let (past_len, future_len) = (past_steps * shape.features, future_steps * shape.outputs);
    let past = wave(SERIES * past_len, 0.0);
    let future: Vec<f32> = wave(SERIES * future_len, 0.3).iter().map(|x| 0.5 * x).collect();
    // The wider, the smaller, as at the start of a training: otherwise small differences grow.
    let widest = shape.hidden.iter().copied().max().unwrap();
    let scale = (1.0 / widest as f32).sqrt().min(0.4);
    let flat: Vec<f32> = wave(shape.num_weights(), 1.0).iter().map(|w| scale * w).collect();
    let order: Vec<usize> = (0..batches.iter().sum()).map(|i: usize| i * 7 % SERIES).collect();
    let most = batches.iter().copied().max().unwrap();
    let layout = Layout::new(shape, past_steps, future_steps, most);
    let (places, elements) = (layout.places(), layout.elements);
    // All weights have a place of their own.
    let mut sorted = places.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((sorted.len(), places.len()), (flat.len(), flat.len()));

    // What no operation writes before another one reads it must not matter.
    let mut arena = vec![f32::NAN; layout.floats];
    arena[..4 * elements].fill(0.0);
    arena[layout.ones()..][..layout.num_ones].fill(1.0);
    for (&place, &weight) in places.iter().zip(&flat) {
        arena[place] = weight;
    }
    let mut input = Vec::new();
    let sizes =
        [past.len(), future.len(), order.len(), arena.len(), SUMS, batches.len(), 4 * elements];
    sizes.iter().for_each(|&n| input.extend((n as i64).to_le_bytes()));
    past.iter().chain(&future).for_each(|x| input.extend(x.to_le_bytes()));
    order.iter().for_each(|&i| input.extend((i as i32).to_le_bytes()));
    arena.iter().for_each(|x| input.extend(x.to_le_bytes()));
    let rate = |i: usize| settings.learning_rate / (i + 1) as f32;
    let mut first = 0;
    for (i, &count) in batches.iter().enumerate() {
        // The step size changes from step to step, as with a schedule.
        let settings = Settings { learning_rate: rate(i), ..settings };
        let mut arguments = Arguments::new(settings, i as i32 + 1);
        arguments.first = first;
        arguments.count = count as i32;
        arguments.loss = i as i32;
        arguments.factor = match loss {
            Loss::HalfSum => 0.5 / count as f32,
            Loss::Mean => 1.0 / (count * future_len) as f32,
        };
        input.extend(bytes(&arguments));
        first += count as i32;
    }
    for &count in batches {
        let operations = layout.step(count, settings.clip_norm.is_some());
        input.extend((operations.len() as i64).to_le_bytes());
        for operation in operations {
            let (name, numbers) = record(operation);
            let mut text = [0; 16];
            text[..name.len()].copy_from_slice(name.as_bytes());
            input.extend(text);
            numbers.iter().for_each(|n| input.extend(n.to_le_bytes()));
        }
    }
    let output = run(name, program(), &format!("operations_{name}"), &input);
    assert_eq!(output.len(), batches.len() * (4 * elements + 1));
    let zeros = vec![0.0; elements];
    let mut before = [&arena[..elements], &zeros, &zeros];
    let mut real = vec![false; elements];
    places.iter().for_each(|&place| real[place] = true);
    let windows = Windows { past: &past, future: &future };
    let mut first = 0;
    for (i, (output, &count)) in output.chunks(4 * elements + 1).zip(batches).enumerate() {
        let what = |array| format!("{name}, step {i}, {array}");
        let arrays: Vec<&[f32]> = output[..4 * elements].chunks(elements).collect();
        // From the weights before: over several steps small differences grow.
        let flat = |padded: &[f32]| -> Vec<f32> { places.iter().map(|&p| padded[p]).collect() };
        let (weights, level) = (flat(before[0]), Level::best());
        let mut cpu =
            TrainStep::new(shape.clone(), weights, past_steps, future_steps, loss, settings, level);
        let expected = cpu.compute_gradient(windows, &order[first..first + count]) as f32;
        near(&what("loss"), &output[4 * elements..], &[expected], 1e-6);
        near(&what("gradient"), &flat(arrays[3]), cpu.gradient(), 1e-5);
        let settings = Settings { learning_rate: rate(i), ..settings };
        let [weights, momentum, square] = updated(settings, i as i32 + 1, before, arrays[3]);
        near(&what("weights"), arrays[0], &weights, 1e-6);
        near(&what("momentum"), arrays[1], &momentum, 1e-6);
        near(&what("square"), arrays[2], &square, 1e-6);
        // What pads the weights stays zero: the length of the gradient counts it.
        for array in &arrays {
            assert!(
                array.iter().zip(&real).all(|(&x, &real)| real || x == 0.0),
                "{}",
                what("pads")
            );
        }
        before = [arrays[0], arrays[1], arrays[2]];
        first += count;
    }
}

/// As the program reads it.
fn record(operation: Operation) -> (&'static str, [i64; 13]) {
    let mut record = [0; 13];
    let name = match operation {
        Operation::Product(Gemm { m, n, k, a, b, c, add }) => {
            assert!(!c.transposed);
            let [of_a, of_b] = [a, b].map(|matrix| usize::from(matrix.transposed));
            let add = usize::from(add);
            let all = [m, n, k, add, a.at, a.stride, of_a, b.at, b.stride, of_b, c.at, c.stride];
            record.iter_mut().zip(all).for_each(|(to, n)| *to = n as i64);
            "product"
        }
        Operation::Kernel { name, threads, numbers } => {
            record[0] = threads as i64;
            record[1..].copy_from_slice(&numbers);
            name
        }
    };
    (name, record)
}

macro_rules! networks {
    ($($name: ident: $shape: expr, $past: expr, $future: expr;)*) => {$(
        #[test]
        fn $name() {
            let (name, shape, steps) = (stringify!($name), $shape, [$past, $future]);
            let clipped = Settings { clip_norm: Some(1e-2), ..adam() };
            let rms_prop = Optimizer::RmsProp { decay: 0.9, momentum: 0.5 };
            let rms_prop = Settings { optimizer: rms_prop, clip_norm: Some(1e6), ..adam() };
            let sgd = Settings { optimizer: Optimizer::Sgd { momentum: 0.8 }, ..adam() };
            follows_the_cpu(name, &shape, steps, Loss::HalfSum, adam(), &[7]);
            follows_the_cpu(name, &shape, steps, Loss::Mean, clipped, &[5, 1, 3]);
            follows_the_cpu(name, &shape, steps, Loss::HalfSum, rms_prop, &[2, 11]);
            follows_the_cpu(name, &shape, steps, Loss::Mean, sgd, &[4, 4]);
        }
    )*};
}

networks! {
    one: shape(1, 1, &[1], RepeatLast), 1, 1;
    one_of_zeros: shape(1, 1, &[1], Zeros), 1, 2;
    single_layer: shape(3, 2, &[6], RepeatLast), 4, 3;
    pair: shape(3, 2, &[5, 7], RepeatLast), 4, 3;
    pair_of_zeros: shape(2, 3, &[7, 5], Zeros), 3, 5;
    three_layers: shape(1, 1, &[6, 13, 3], RepeatLast), 3, 4;
    three_layers_of_zeros: shape(5, 1, &[3, 2, 11], Zeros), 2, 3;
    wide: shape(2, 2, &[70, 67], RepeatLast), 3, 2;
}

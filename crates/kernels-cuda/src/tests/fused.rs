//! The one kernel of small networks, thread by thread.

use seq2seq_kernels::DecoderInput::{RepeatLast, Zeros};
use seq2seq_kernels::level::Level;
use seq2seq_kernels::optimizer::{Optimizer, Settings};
use seq2seq_kernels::seq2seq::{Loss, NetworkShape, TrainStep, Windows};
use std::path::{Path, PathBuf};

use super::comparison::{SERIES, adam, bytes, compile, near, run, shape, updated, wave};
use crate::arguments::{Arguments, parts};
use crate::plan::{Limits, Plan, Sharing};

/// The sizes that a kernel is compiled with.
struct Sizes {
    name: &'static str,
    shape: NetworkShape,
    past_steps: usize,
    future_steps: usize,
    /// As the plan has it for some GPU, or one of the test's own.
    sharing: Option<Sharing>,
    /// What the plan takes a GPU for.
    multiprocessors: usize,
}

/// What is trained.
struct Training {
    loss: Loss,
    settings: Settings,
    /// Batches, of so many series each.
    batches: Vec<usize>,
    /// Blocks at the same time.
    grid: usize,
}

impl Sizes {
    fn plan(&self) -> Plan {
        let (past, future) = (self.past_steps, self.future_steps);
        match &self.sharing {
            Some(sharing) => Plan::with(&self.shape, past, future, sharing.clone()),
            None => {
                let limits =
                    Limits { multiprocessors: self.multiprocessors, shared_memory: 227 * 1024 };
                Plan::new(&self.shape, past, future, SERIES, limits).expect("a plan")
            }
        }
    }

    /// The kernel for these sizes as a program.
    fn compile(&self) -> PathBuf {
        let plan = self.plan();
        // The sanitizers take three times as long: the largest go without, whose code is that of the others.
        compile(self.name, "train_step.cu", &plan.defines(), plan.sharing().threads <= 200)
    }

    /// Trains on the CPU and in the emulated kernel, and compares everything.
    fn compare(&self, program: &Path, training: &Training) {
        let Training { loss, settings, batches, grid } = training;
        let plan = self.plan();
        let (past_len, future_len) =
            (self.past_steps * self.shape.features, self.future_steps * self.shape.outputs);
        let past = wave(SERIES * past_len, 0.0);
        let future: Vec<f32> = wave(SERIES * future_len, 0.3).iter().map(|x| 0.5 * x).collect();
        let flat: Vec<f32> = wave(self.shape.num_weights(), 1.0).iter().map(|w| 0.4 * w).collect();
        let order: Vec<usize> = (0..batches.iter().sum()).map(|i: usize| i * 7 % SERIES).collect();

        let windows = Windows { past: &past, future: &future };
        let mut first = 0;
        let mut input = Vec::new();
        let packing = plan.packing();
        let mut write = |values: &[i32]| {
            input.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits() as i32).collect::<Vec<_>>();
        write(&[SERIES, order.len(), batches.len(), *grid, packing.len].map(|n| n as i32));
        write(&bits(&past));
        write(&bits(&future));
        write(&order.iter().map(|&i| i as i32).collect::<Vec<_>>());
        let (mut padded, mut packed) = (vec![0.0; plan.elements()], vec![0.0; packing.len]);
        for (&place, &weight) in plan.places().iter().zip(&flat) {
            padded[place] = weight;
            for packing in [&packing.forward, &packing.backward] {
                if let Ok(place) = usize::try_from(packing[place]) {
                    packed[place] = weight;
                }
            }
        }
        write(&bits(&padded));
        write(&bits(&packed));
        write(&packing.forward);
        write(&packing.backward);
        for (i, &count) in batches.iter().enumerate() {
            // The step size changes from step to step, as with a schedule.
            let rate = settings.learning_rate / (i + 1) as f32;
            let settings = Settings { learning_rate: rate, ..*settings };
            let blocks = count.div_ceil(plan.sharing().series).min(*grid);
            let values = (self.future_steps * self.shape.outputs) as f32;
            let mut arguments = Arguments::new(settings, i as i32 + 1);
            arguments.first = first as i32;
            arguments.count = count as i32;
            arguments.loss = i as i32;
            arguments.parts = parts(plan.elements(), plan.sharing().threads, *grid, blocks) as i32;
            arguments.factor = match loss {
                Loss::HalfSum => 0.5 / count as f32,
                Loss::Mean => 1.0 / (count as f32 * values),
            };
            input.extend(bytes(&arguments));
            first += count;
        }
        let output = run(self.name, program, self.name, &input);
        let elements = plan.elements();
        let zeros = vec![0.0; elements];
        let mut before = [&padded[..], &zeros, &zeros];
        let mut real = vec![false; elements];
        plan.places().iter().for_each(|&place| real[place] = true);
        let mut first = 0;
        for (i, (output, &count)) in output.chunks(4 * elements + 1).zip(batches).enumerate() {
            let what = |array| format!("{}, launch {i}, {array}", self.name);
            let arrays: Vec<&[f32]> = output[..4 * elements].chunks(elements).collect();
            // From the kernel's own weights: over several steps small differences grow.
            let flat = |padded: &[f32]| -> Vec<f32> {
                plan.places().iter().map(|&place| padded[place]).collect()
            };
            let (past_steps, future_steps) = (self.past_steps, self.future_steps);
            let (shape, weights) = (self.shape.clone(), flat(before[0]));
            let level = Level::best();
            let mut cpu =
                TrainStep::new(shape, weights, past_steps, future_steps, *loss, *settings, level);
            let expected = cpu.compute_gradient(windows, &order[first..first + count]) as f32;
            near(&what("loss"), &output[4 * elements..], &[expected], 1e-6);
            near(&what("gradient"), &flat(arrays[3]), cpu.gradient(), 1e-5);
            let rate = settings.learning_rate / (i + 1) as f32;
            let settings = Settings { learning_rate: rate, ..*settings };
            let [weights, momentum, square] = updated(settings, i as i32 + 1, before, arrays[3]);
            near(&what("weights"), arrays[0], &weights, 1e-6);
            near(&what("momentum"), arrays[1], &momentum, 1e-6);
            near(&what("square"), arrays[2], &square, 1e-6);
            // What pads the weights stays zero: the length of the gradient counts it.
            for array in &arrays {
                let pads = array.iter().zip(&real).filter(|(_, real)| !**real);
                assert!(pads.into_iter().all(|(&x, _)| x == 0.0), "{}", what("padding"));
            }
            before = [arrays[0], arrays[1], arrays[2]];
            first += count;
        }
    }
}

/// One step, then several with all that a kernel takes without being compiled anew.
fn trainings(series: usize, grid: usize) -> Vec<Training> {
    let more_than_the_grid = 2 * series * grid + 1;
    let rms_prop = Optimizer::RmsProp { decay: 0.9, momentum: 0.5 };
    let of = |loss, settings, batches: &[usize], grid| Training {
        loss,
        settings,
        batches: batches.iter().map(|&batch| batch.clamp(1, SERIES)).collect(),
        grid,
    };
    vec![
        of(Loss::HalfSum, adam(), &[series * grid], grid),
        of(
            Loss::Mean,
            Settings { clip_norm: Some(1e-2), ..adam() },
            &[more_than_the_grid, 1, 3],
            grid,
        ),
        of(
            Loss::HalfSum,
            Settings { optimizer: rms_prop, clip_norm: Some(1e6), ..adam() },
            &[series + 1, more_than_the_grid],
            grid,
        ),
        of(
            Loss::Mean,
            Settings { optimizer: Optimizer::Sgd { momentum: 0.8 }, ..adam() },
            &[5, 2],
            1,
        ),
    ]
}

fn follows_the_cpu(sizes: &[Sizes]) {
    for sizes in sizes {
        let program = sizes.compile();
        for training in trainings(sizes.plan().sharing().series, 2) {
            sizes.compare(&program, &training);
        }
    }
}

fn sharing(
    series: usize,
    forward: &[usize],
    backward: &[usize],
    threads: usize,
    keep_shared: bool,
) -> Option<Sharing> {
    let (forward, backward) = (forward.to_vec(), backward.to_vec());
    Some(Sharing { series, forward, backward, threads, keep_shared })
}

macro_rules! sizes {
    ($name: ident: $shape: expr, $past: expr, $future: expr, $sharing: expr) => {
        #[test]
        fn $name() {
            follows_the_cpu(&[Sizes {
                name: stringify!($name),
                shape: $shape,
                past_steps: $past,
                future_steps: $future,
                sharing: $sharing,
                multiprocessors: 132,
            }]);
        }
    };
}

sizes!(one: shape(1, 1, &[1], RepeatLast), 1, 1, None);
sizes!(one_zeros: shape(1, 1, &[1], Zeros), 1, 2, sharing(4, &[1], &[2], 32, true));
sizes!(exercise_1: shape(2, 2, &[12, 12], RepeatLast), 10, 10, None);
sizes!(pair: shape(3, 2, &[5, 7], RepeatLast), 4, 3, sharing(2, &[4, 2], &[2, 8], 96, true));
sizes!(pair_in_global: shape(3, 2, &[5, 7], RepeatLast), 4, 3, sharing(2, &[4, 2], &[2, 8], 96, false));
sizes!(four: shape(2, 3, &[7, 5], Zeros), 3, 5, sharing(4, &[8, 4], &[4, 1], 128, true));
sizes!(four_in_global: shape(2, 3, &[7, 5], RepeatLast), 5, 2, sharing(4, &[1, 2], &[16, 4], 160, false));
sizes!(three_layers: shape(1, 1, &[6, 13, 3], RepeatLast), 3, 4, sharing(4, &[2, 4, 8], &[8, 4, 2], 128, true));
sizes!(three_layers_alone: shape(5, 1, &[3, 2, 11], Zeros), 2, 3, sharing(1, &[32, 8, 4], &[1, 2, 16], 256, true));
sizes!(wide_input: shape(37, 11, &[9], RepeatLast), 3, 2, None);
sizes!(decoder_of_zeros: shape(1, 1, &[35, 35], Zeros), 3, 4, sharing(4, &[4, 8], &[8, 4], 448, true));
sizes!(largest: shape(2, 2, &[64, 64], RepeatLast), 2, 3, None);

#[test]
fn networks_up_to_two_layers_of_64_fit() {
    let limits = Limits { multiprocessors: 132, shared_memory: 227 * 1024 };
    let fits = |hidden: &[usize], batch: usize| {
        [RepeatLast, Zeros].iter().all(|&decoder_input| {
            Plan::new(&shape(2, 2, hidden, decoder_input), 40, 40, batch, limits).is_some()
        })
    };
    for batch in [1, 100, 200, 512, 10_000] {
        for units in 1..=64 {
            assert!(fits(&[units], batch) && fits(&[units, units], batch), "{units}, {batch}");
        }
    }
    assert!(fits(&[120], 100) && fits(&[48; 3], 100) && fits(&[36; 4], 100));
    assert!(!fits(&[65, 65], 100));
}

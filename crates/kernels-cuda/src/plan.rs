//! Who computes what: the sizes that the kernel is compiled with, and where each weight lies.

use seq2seq_kernels::DecoderInput;
use seq2seq_kernels::seq2seq::NetworkShape;
use std::fmt::Write;

/// What a GPU has for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Blocks that run at the same time without sharing anything.
    pub multiprocessors: usize,
    /// Bytes of shared memory that a block can have.
    pub shared_memory: usize,
}

/// The encoder, the decoder.
const SIDES: usize = 2;
/// Registers of a multiprocessor.
const REGISTERS: usize = 1 << 16;
/// The most that a thread can have.
const MOST_REGISTERS: usize = 255;
/// Those of a thread that hold no weights.
const OTHER_REGISTERS: usize = 60;
/// More are slower to wait for than they gain; fewer leave the gradients to few.
const MOST_THREADS: usize = 512;
const FEWEST_THREADS: usize = 256;
/// A thread with fewer waits for the other threads of its unit rather than for its own products.
const FEWEST_WEIGHTS: usize = 24;
const WARP: usize = 32;

/// A way to share the work. What the kernel computes does not depend on it, but for the order of
/// additions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sharing {
    /// Series of a block at a time: 1, 2 or 4. They stand next to each other in a float4.
    pub(crate) series: usize,
    /// Threads of a unit in the forward pass, a layer each: a power of two, 32 at most.
    pub(crate) forward: Vec<usize>,
    /// The same in the backward pass.
    pub(crate) backward: Vec<usize>,
    /// Of a block: whole warps, as many as the layers' units want.
    pub(crate) threads: usize,
    /// Whether the activations of all steps stay in shared memory.
    pub(crate) keep_shared: bool,
}

/// The training step of one network on batches of one size.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    shape: NetworkShape,
    past_steps: usize,
    future_steps: usize,
    sharing: Sharing,
}

fn round_4(n: usize) -> usize {
    n.next_multiple_of(4)
}

impl Plan {
    /// The plan for a network and a GPU, or none if it does not fit.
    pub(crate) fn new(
        shape: &NetworkShape,
        past_steps: usize,
        future_steps: usize,
        batch: usize,
        limits: Limits,
    ) -> Option<Plan> {
        // As few series as it takes to have no block do two rounds: the steps of a block are a chain.
        let rounds = batch.div_ceil(limits.multiprocessors);
        let most = rounds.next_power_of_two().min(4);
        [4, 2, 1].into_iter().filter(|&series| series <= most).find_map(|series| {
            let plan = |forward, backward, keep_shared| {
                let threads = FEWEST_THREADS;
                let sharing = Sharing { series, forward, backward, threads, keep_shared };
                Plan::with(shape, past_steps, future_steps, sharing)
            };
            let none = plan(Vec::new(), Vec::new(), true);
            let forward = none.share(Plan::forward)?;
            let backward = none.share(Plan::backward)?;
            let plan = |keep_shared| plan(forward.clone(), backward.clone(), keep_shared);
            let fits = |plan: &Plan| plan.shared_bytes() <= limits.shared_memory;
            [plan(true), plan(false)].into_iter().find(fits)
        })
    }

    /// A plan that shares the work like this, with more threads if it takes more.
    pub(crate) fn with(
        shape: &NetworkShape,
        past_steps: usize,
        future_steps: usize,
        sharing: Sharing,
    ) -> Plan {
        let mut threads = sharing.threads;
        let mut plan = Plan { shape: shape.clone(), past_steps, future_steps, sharing };
        for lanes in [&plan.sharing.forward, &plan.sharing.backward] {
            let needed = plan.starts(lanes).last().copied().unwrap_or(0);
            threads = threads.max(needed);
        }
        plan.sharing.threads = threads;
        plan
    }

    /// How the work is shared.
    pub(crate) fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Threads of a unit, for each layer: with the fewest weights a thread for which the threads are not
    /// too many, nor their registers.
    fn share(&self, weights: fn(&Plan, usize, usize) -> usize) -> Option<Vec<usize>> {
        let layers = 0..self.shape.hidden.len();
        (FEWEST_WEIGHTS / 4..=(MOST_REGISTERS - OTHER_REGISTERS) / 4).find_map(|most| {
            let lanes = layers.clone().map(|l| {
                [1, 2, 4, 8, 16, 32].into_iter().find(|&lanes| weights(self, l, lanes) <= 4 * most)
            });
            let lanes = lanes.collect::<Option<Vec<usize>>>()?;
            let threads = self.starts(&lanes).last().copied()?;
            let registers = threads.max(FEWEST_THREADS) * (4 * most + OTHER_REGISTERS);
            let fits = threads <= MOST_THREADS && registers <= REGISTERS;
            fits.then_some(lanes)
        })
    }

    fn layers(&self) -> usize {
        self.shape.hidden.len()
    }

    fn hidden(&self, l: usize) -> usize {
        self.shape.hidden[l]
    }

    fn top(&self) -> usize {
        self.hidden(self.layers() - 1)
    }

    fn repeats(&self) -> bool {
        self.shape.decoder_input == DecoderInput::RepeatLast
    }

    fn inputs(&self, side: usize, l: usize) -> usize {
        match (side, l) {
            (1, 0) if self.repeats() => self.top(),
            (_, 0) => self.shape.features,
            _ => self.hidden(l - 1),
        }
    }

    fn has_input(side: usize, l: usize) -> bool {
        l > 0 || side == 0
    }

    /// Units that a float4 has a part of.
    fn units(&self) -> usize {
        4 / self.sharing.series
    }

    /// Floats of a row of so many units.
    fn row(&self, units: usize) -> usize {
        round_4(units * self.sharing.series)
    }

    /// Weights by which a lane multiplies its part of a row.
    fn per_lane(&self, row: usize, lanes: usize) -> usize {
        self.units() * (row / 4).div_ceil(lanes)
    }

    fn forward_input(&self, side: usize, l: usize, lanes: usize) -> usize {
        3 * self.per_lane(self.row(self.inputs(side, l)), lanes)
    }

    fn forward_weights(&self, side: usize, l: usize, lanes: usize) -> usize {
        let input = if Self::has_input(side, l) { self.forward_input(side, l, lanes) } else { 0 };
        input + 3 * self.per_lane(self.row(self.hidden(l)), lanes)
    }

    fn backward_hidden(&self, l: usize, lanes: usize) -> usize {
        self.per_lane(3 * self.row(self.hidden(l)), lanes)
    }

    /// The gradients that come down to a layer: of the gates above, or of the outputs.
    fn above(&self, side: usize, l: usize) -> usize {
        match self.shape.hidden.get(l + 1) {
            Some(&hidden) => 3 * self.row(hidden),
            None if side == 1 => self.row(self.shape.outputs),
            None => 0,
        }
    }

    fn backward_weights(&self, side: usize, l: usize, lanes: usize) -> usize {
        self.backward_hidden(l, lanes) + self.per_lane(self.above(side, l), lanes)
    }

    /// The most weights that a thread of a layer has in the forward pass, in whole float4s.
    fn forward(&self, l: usize, lanes: usize) -> usize {
        let sides = (0..SIDES).map(|side| self.forward_weights(side, l, lanes)).max();
        let projection = if l == 0 { self.forward_input(1, 0, lanes) } else { 0 };
        round_4(sides.unwrap_or(0).max(projection))
    }

    /// The same in the backward pass.
    fn backward(&self, l: usize, lanes: usize) -> usize {
        let sides = (0..SIDES).map(|side| self.backward_weights(side, l, lanes)).max();
        let is_top = l + 1 == self.layers();
        let context = if is_top { self.backward_hidden(0, lanes) } else { 0 };
        round_4(sides.unwrap_or(0).max(context))
    }

    /// Threads of a layer, whole warps.
    fn threads_of(&self, l: usize, lanes: usize) -> usize {
        (self.hidden(l) * lanes).next_multiple_of(WARP)
    }

    /// The first thread of each layer, then the number of all.
    fn starts(&self, lanes: &[usize]) -> Vec<usize> {
        let mut starts = vec![0];
        for (l, &lanes) in lanes.iter().enumerate() {
            starts.push(starts[l] + self.threads_of(l, lanes));
        }
        starts
    }

    /// The first of the weights of each layer, (encoder, decoder), then of the head; then their number.
    /// Rows of matrices are padded to whole float4s.
    fn layer_at(&self) -> (Vec<Vec<usize>>, usize, usize) {
        let mut end = 0;
        let mut at = vec![Vec::new(); SIDES];
        for (side, at) in at.iter_mut().enumerate() {
            for l in 0..self.layers() {
                at.push(end);
                let rows = 3 * self.hidden(l);
                let columns = round_4(self.inputs(side, l)) + round_4(self.hidden(l));
                end += rows * columns + 2 * round_4(rows);
            }
        }
        let dense = end;
        end += self.shape.outputs * round_4(self.top()) + round_4(self.shape.outputs);
        (at, dense, end)
    }

    /// Padded weights.
    pub(crate) fn elements(&self) -> usize {
        self.layer_at().2
    }

    /// Where each of the flat weights (in the order of [`Network`](seq2seq_kernels::seq2seq::Network)) lies among
    /// the padded ones.
    pub(crate) fn places(&self) -> Vec<usize> {
        let (layer_at, dense, _) = self.layer_at();
        let mut places = Vec::new();
        let mut matrix = |at: &mut usize, rows: usize, columns: usize| {
            for row in 0..rows {
                places.extend((0..columns).map(|column| *at + row * round_4(columns) + column));
            }
            *at += rows * round_4(columns);
        };
        for (side, layer_at) in layer_at.into_iter().enumerate() {
            for (l, mut at) in layer_at.into_iter().enumerate() {
                let rows = 3 * self.hidden(l);
                matrix(&mut at, rows, self.inputs(side, l));
                matrix(&mut at, rows, self.hidden(l));
                matrix(&mut at, 1, rows);
                matrix(&mut at, 1, rows);
            }
        }
        let mut at = dense;
        matrix(&mut at, self.shape.outputs, self.top());
        matrix(&mut at, 1, self.shape.outputs);
        places
    }

    /// The copies of the weights that threads hold.
    pub(crate) fn packing(&self) -> Packing {
        let (layer_at, dense, elements) = self.layer_at();
        let ih = |side: usize, l: usize| layer_at[side][l];
        let hh = |side: usize, l: usize| {
            ih(side, l) + 3 * self.hidden(l) * round_4(self.inputs(side, l))
        };
        let mut packing = Packing {
            forward: vec![-1; elements],
            backward: vec![-1; elements],
            forward_at: vec![Vec::new(); SIDES],
            backward_at: vec![Vec::new(); SIDES],
            projection_at: 0,
            context_at: 0,
            len: 0,
        };
        let units = self.units();
        // What a lane multiplies a row of `count` groups of `inputs` units with: its register, the
        // group and the unit.
        let of_lane = |inputs: usize, count: usize, lane: usize, lanes: usize| {
            let group_len = self.row(inputs) / 4;
            let fours = (0..count * group_len).skip(lane).step_by(lanes).enumerate();
            let each = fours.flat_map(move |(i, four)| {
                let unit = move |v| units * (four % group_len) + v;
                (0..units).map(move |v| (i * units + v, four / group_len, unit(v)))
            });
            each.filter(move |&(_, _, unit)| unit < inputs).collect::<Vec<_>>()
        };
        for side in 0..SIDES {
            for (l, &lanes) in self.sharing.forward.iter().enumerate() {
                let (hidden, inputs) = (self.hidden(l), self.inputs(side, l));
                let threads = self.threads_of(l, lanes);
                let mut place = |at: usize, first: usize, matrix: usize, inputs: usize| {
                    for thread in 0..hidden * lanes {
                        for (i, _, k) in of_lane(inputs, 1, thread % lanes, lanes) {
                            for gate in 0..3 {
                                let row = gate * hidden + thread / lanes;
                                packing.forward[matrix + row * round_4(inputs) + k] =
                                    slot(at, threads, thread, first + 3 * i + gate);
                            }
                        }
                    }
                };
                let mut first = 0;
                if Self::has_input(side, l) {
                    place(packing.len, 0, ih(side, l), inputs);
                    first = self.forward_input(side, l, lanes);
                } else if self.repeats() {
                    place(packing.len, 0, ih(side, l), inputs);
                    packing.projection_at = packing.len;
                    packing.len += round_4(self.forward_input(side, l, lanes)) * threads;
                }
                place(packing.len, first, hh(side, l), hidden);
                packing.forward_at[side].push(packing.len);
                packing.len += round_4(self.forward_weights(side, l, lanes)) * threads;
            }
            for (l, &lanes) in self.sharing.backward.iter().enumerate() {
                let hidden = self.hidden(l);
                let threads = self.threads_of(l, lanes);
                let mut place =
                    |at: usize, first: usize, matrix: usize, gates: &[usize], rows: usize| {
                        for thread in 0..hidden * lanes {
                            let of_lane = of_lane(rows, gates.len(), thread % lanes, lanes);
                            for (i, group, row) in of_lane {
                                let row = gates[group] * rows + row;
                                let column = thread / lanes;
                                packing.backward[matrix + row * round_4(hidden) + column] =
                                    slot(at, threads, thread, first + i);
                            }
                        }
                    };
                // Rows of gradients are n, r, z, u: those with `weight_hh` begin with r.
                place(packing.len, 0, hh(side, l), &[0, 1, 2], hidden);
                let first = self.backward_hidden(l, lanes);
                let is_top = l + 1 == self.layers();
                if !is_top {
                    let above = self.hidden(l + 1);
                    place(packing.len, first, ih(side, l + 1), &[2, 0, 1], above);
                } else if side == 1 {
                    place(packing.len, first, dense, &[0], self.shape.outputs);
                }
                packing.backward_at[side].push(packing.len);
                packing.len += round_4(self.backward_weights(side, l, lanes)) * threads;
                if is_top && side == 0 && self.repeats() {
                    place(packing.len, 0, ih(1, 0), &[2, 0, 1], self.hidden(0));
                    packing.context_at = packing.len;
                    packing.len += round_4(self.backward_hidden(0, lanes)) * threads;
                }
            }
        }
        packing
    }

    /// Where the parts of shared memory and of the kept activations lie.
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        let take = |len: usize, end: &mut usize| {
            *end += len;
            *end - len
        };
        let mut end = 0;
        memory.past = take(self.past_steps * self.row(self.shape.features), &mut end);
        memory.error = take(self.future_steps * self.row(self.shape.outputs), &mut end);
        memory.summed = take(3 * self.row(self.hidden(0)), &mut end);
        let mut kept = if self.sharing.keep_shared { end } else { 0 };
        let steps = self.past_steps + self.future_steps;
        for &hidden in &self.shape.hidden {
            let row = self.row(hidden);
            memory.hidden.push(take((steps + 1) * row, &mut kept));
            memory.gates.push(take(4 * steps * row, &mut kept));
            if !self.sharing.keep_shared {
                memory.hidden_ring.push(take(2 * row, &mut end));
                memory.gates_ring.push(take(8 * row, &mut end));
            }
        }
        (memory.kept, memory.shared) = (kept, end);
        if self.sharing.keep_shared {
            (memory.kept, memory.shared) = (0, kept);
        }
        // For the sums of threads, a float4 each.
        memory.shared = memory.shared.max(4 * self.sharing.threads);
        memory
    }

    /// Bytes of shared memory that a block takes.
    pub(crate) fn shared_bytes(&self) -> usize {
        4 * self.memory().shared
    }

    /// Floats of a block's activations outside of shared memory.
    pub(crate) fn kept(&self) -> usize {
        self.memory().kept
    }

    /// The `#define`s that stand before the kernel's text.
    pub(crate) fn defines(&self) -> String {
        let mut text = String::new();
        let mut number = |name: &str, value: usize| {
            writeln!(text, "#define {name} {value}").unwrap_or_default();
        };
        let Sharing { series, threads, keep_shared, .. } = self.sharing;
        let (layer_at, dense, elements) = self.layer_at();
        let (packing, memory) = (self.packing(), self.memory());
        let most = |weights: fn(&Plan, usize, usize) -> usize, lanes: &[usize]| {
            lanes.iter().enumerate().map(|(l, &lanes)| weights(self, l, lanes)).max().unwrap_or(0)
        };
        number("FEATURES", self.shape.features);
        number("OUTPUTS", self.shape.outputs);
        number("PAST", self.past_steps);
        number("FUTURE", self.future_steps);
        number("LAYERS", self.layers());
        number("REPEAT_LAST", usize::from(self.repeats()));
        number("SERIES", series);
        number("THREADS", threads);
        number("KEEP_SHARED", usize::from(keep_shared));
        number("FORWARD_REGISTERS", most(Plan::forward, &self.sharing.forward));
        number("BACKWARD_REGISTERS", most(Plan::backward, &self.sharing.backward));
        number("DENSE_AT", dense);
        number("ELEMENTS", elements);
        number("PROJECTION_PACK", packing.projection_at);
        number("CONTEXT_PACK", packing.context_at);
        number("PAST_AT", memory.past);
        number("ERROR_AT", memory.error);
        number("SUMMED_AT", memory.summed);
        number("SHARED", memory.shared);
        number("KEPT", memory.kept);
        let mut by_layer = |name: &str, values: &[usize]| {
            writeln!(text, "#define {name}(l) {}", choose("l", values)).unwrap_or_default();
        };
        by_layer("HIDDEN", &self.shape.hidden);
        by_layer("FORWARD_LANES", &self.sharing.forward);
        by_layer("FORWARD_START", &self.starts(&self.sharing.forward));
        by_layer("BACKWARD_LANES", &self.sharing.backward);
        by_layer("BACKWARD_START", &self.starts(&self.sharing.backward));
        by_layer("HIDDEN_AT", &memory.hidden);
        by_layer("GATES_AT", &memory.gates);
        by_layer("HIDDEN_RING", &memory.hidden_ring);
        by_layer("GATES_RING", &memory.gates_ring);
        for (name, [encoder, decoder]) in [
            ("LAYER_AT", [&layer_at[0], &layer_at[1]]),
            ("FORWARD_PACK", [&packing.forward_at[0], &packing.forward_at[1]]),
            ("BACKWARD_PACK", [&packing.backward_at[0], &packing.backward_at[1]]),
        ] {
            let (encoder, decoder) = (choose("l", encoder), choose("l", decoder));
            writeln!(text, "#define {name}(side, l) ((side) == 0 ? {encoder} : {decoder})")
                .unwrap_or_default();
        }
        let layers: String = (0..self.layers()).map(|l| format!(" DO({l})")).collect();
        writeln!(text, "#define FOR_EACH_LAYER(DO){layers}").unwrap_or_default();
        text
    }
}

/// An expression of C: the value at an index.
fn choose(index: &str, values: &[usize]) -> String {
    let Some((last, values)) = values.split_last() else { return "0".to_owned() };
    let choices = values.iter().enumerate();
    let choices: String =
        choices.map(|(i, value)| format!("({index}) == {i} ? {value} : ")).collect();
    format!("({choices}{last})")
}

/// Where number `i` of a thread's weights lies: all threads read a float4 side by side.
fn slot(at: usize, threads: usize, thread: usize, i: usize) -> i32 {
    i32::try_from(at + (i / 4 * threads + thread) * 4 + i % 4).unwrap_or(-1)
}

/// Where the weights lie a second and a third time, as the threads hold them. (Loaded from the matrices
/// themselves, neighbouring threads would read from different rows.)
pub(crate) struct Packing {
    /// For each padded weight, its place in the forward pass, or −1.
    pub(crate) forward: Vec<i32>,
    /// The same in the backward pass.
    pub(crate) backward: Vec<i32>,
    /// Floats of all copies.
    pub(crate) len: usize,
    /// Of a side and a layer.
    forward_at: Vec<Vec<usize>>,
    backward_at: Vec<Vec<usize>>,
    /// Of the decoder's constant input, forward.
    projection_at: usize,
    /// And backward.
    context_at: usize,
}

/// Offsets in floats.
#[derive(Default)]
struct Memory {
    past: usize,
    error: usize,
    summed: usize,
    hidden: Vec<usize>,
    gates: Vec<usize>,
    hidden_ring: Vec<usize>,
    gates_ring: Vec<usize>,
    kept: usize,
    shared: usize,
}

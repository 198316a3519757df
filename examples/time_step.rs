//! Times training steps of one configuration, for `benches/peers.py`.
//!
//! ```text
//! time_step                    lists the configurations: name, cell, batch, steps, features,
//!                              hidden sizes, decoder input, multiply-adds of a step
//! time_step NAME REPETITIONS   prints the milliseconds of each of so many steps, one a line
//! time_step cuda NAME REPETITIONS
//!                              on the first GPU, with feature `cuda`: as many times a thousand steps,
//!                              all in its queue before it is asked for their losses; prints the
//!                              milliseconds of a step, the mean of each thousand, one a line
//! time_step peak SECONDS       prints the multiply-adds a second that all threads reach on
//!                              registers alone
//! ```
//!
//! `RAYON_NUM_THREADS` sets the number of threads.

#[path = "../benches/configurations/mod.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod configurations;

#[cfg(feature = "cuda")]
use configurations::SERIES;
use configurations::{CONFIGURATIONS, Configuration};
use pulp::{Arch, Simd, WithSimd};
#[cfg(feature = "cuda")]
use seq2seq::Device;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => list(),
        ["cuda", name, repetitions] => {
            let configuration = Configuration::named(name).ok_or("no such configuration")?;
            time_on_gpu(configuration, repetitions.parse()?)?;
        }
        ["peak", seconds] => println!("{:e}", peak(Duration::from_secs_f64(seconds.parse()?))),
        [name, repetitions] => {
            let configuration = Configuration::named(name).ok_or("no such configuration")?;
            time(configuration, repetitions.parse()?);
        }
        _ => {
            return Err(
                "wants NAME REPETITIONS, cuda NAME REPETITIONS, peak SECONDS, or nothing".into()
            );
        }
    }
    Ok(())
}

fn list() {
    for configuration in &CONFIGURATIONS {
        let Configuration { name, cell, batch, steps, features, hidden, decoder_input } =
            configuration;
        let hidden: Vec<String> = hidden.iter().map(usize::to_string).collect();
        let multiply_adds = configuration.multiply_adds();
        println!(
            "{name} {cell:?} {batch} {steps} {features} {} {decoder_input:?} {multiply_adds:e}",
            hidden.join(",")
        );
    }
}

fn time(configuration: &Configuration, repetitions: usize) {
    let mut step = configuration.trainer();
    // Inside the pool, as a whole training runs.
    rayon::scope(|_| {
        step();
        for _ in 0..repetitions {
            let start = Instant::now();
            black_box(step());
            println!("{:.5}", start.elapsed().as_secs_f64() * 1e3);
        }
    });
}

#[cfg(feature = "cuda")]
fn time_on_gpu(configuration: &Configuration, repetitions: usize) -> Result<(), Box<dyn Error>> {
    Device::Cuda(0).check()?;
    let mut steps = configuration.trainer_on_gpu(0)?;
    steps(SERIES)?;
    for _ in 0..repetitions {
        let start = Instant::now();
        black_box(steps(SERIES)?);
        println!("{:.5}", start.elapsed().as_secs_f64() * 1e3 / SERIES as f64);
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn time_on_gpu(_: &Configuration, _: usize) -> Result<(), Box<dyn Error>> {
    Err("the program is built without feature `cuda`".into())
}

/// Chains of multiply-adds, more of them than one takes cycles times the units that do them.
struct Chains {
    rounds: usize,
}

const CHAINS: usize = 12;

impl WithSimd for Chains {
    /// How many multiply-adds were done.
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let factor = black_box(simd.splat_f32s(0.5));
        let mut sums = [simd.splat_f32s(1.0); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, factor);
            }
        }
        black_box(sums);
        (self.rounds * CHAINS * S::F32_LANES) as f64
    }
}

/// Multiply-adds a second of all threads: of each, the best of many short runs.
fn peak(time: Duration) -> f64 {
    let best = || {
        let (start, mut best) = (Instant::now(), 0.0_f64);
        while start.elapsed() < time {
            let run = Instant::now();
            let count = Arch::new().dispatch(Chains { rounds: 20_000 });
            best = best.max(count / run.elapsed().as_secs_f64());
        }
        best
    };
    rayon::broadcast(|_| best()).into_iter().sum()
}

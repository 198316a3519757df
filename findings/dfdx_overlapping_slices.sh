#!/usr/bin/env bash
# dfdx: the gradient of one slice of a tensor overwrites that of another one that overlaps it.
#
# One would expect the gradients of all uses of a tensor to be added up, as its other operations do: a number
# that is in two slices then has a gradient of 2 in the sum of both. On the CPU `slice` assigns the gradient
# of its part in place of adding it, so that the number has a gradient of 1. Nothing says so, and the loss
# falls all the same. Slices that do not overlap are right, and `select` is right everywhere.
#
# Seen with dfdx 0.13.0 and rustc 1.95.0 on x86-64 Linux.
# Source: `SliceKernel::backward` in src/tensor_ops/slice/cpu_kernel.rs of dfdx.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src

cat > Cargo.toml <<'TOML'
[package]
name = "slices"
version = "0.1.0"
edition = "2021"
[dependencies]
dfdx = "=0.13.0"
[workspace]
TOML
cat > src/main.rs <<'RUST'
use dfdx::prelude::*;

fn main() {
    let dev = Cpu::default();
    let x: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0], (4,));
    let again = || x.retaped::<OwnedTape<f32, Cpu>>();

    let slices = x.leaky_trace().slice((..3,)).sum::<(), _>() + again().slice((1..,)).sum::<(), _>();
    let slices = slices.backward().get(&x).as_vec();
    println!("x[..3] + x[1..], by slice:  gradient {slices:?}");

    let at = |i: usize| again().select(dev.tensor(i));
    let selected = [1, 2, 1, 2, 3].into_iter().fold(at(0), |sum, i| sum + at(i));
    let selected = selected.backward().get(&x).as_vec();
    println!("the same, by select:        gradient {selected:?}");

    assert_eq!(selected, [1.0, 2.0, 2.0, 1.0]);
    assert_eq!(slices, [1.0, 1.0, 1.0, 1.0], "slices add their gradients now");
}
RUST
rustc --version
cargo tree --quiet --depth 0 --package dfdx
cargo run --quiet

#!/usr/bin/env bash
# rust-analyzer passes over the cargo that the variable CARGO names, if there is one in cargo's home.
#
# One would expect the variable CARGO to decide, as RUSTC decides for cargo itself: it names the program, and
# the documentation of rust-analyzer's `Tool::path` begins with it. But whatever runs in a workspace with a
# sysroot goes through `Tool::prefer_proxy`, which looks for $CARGO_HOME/bin/cargo first, so that rustup's
# proxy is found; CARGO is asked only where that file is missing. Whoever wants to show rust-analyzer other
# metadata than cargo's has to give it another CARGO_HOME, and to give cargo its own back.
#
# Seen with ra_ap_toolchain 0.0.347.
# Source: `prefer_proxy` in its src/lib.rs, and `Sysroot::tool` in ra_ap_project_model's src/sysroot.rs.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p src home/bin

cat > Cargo.toml <<'TOML'
[package]
name = "which"
version = "0.1.0"
edition = "2021"
[dependencies]
ra_ap_toolchain = "=0.0.347"
[workspace]
TOML
cat > src/main.rs <<'RUST'
use ra_ap_toolchain::Tool;

fn main() {
    println!("in a workspace: {}", Tool::Cargo.prefer_proxy());
    println!("elsewhere:      {}", Tool::Cargo.path());
}
RUST
cargo build --quiet
printf '#!/bin/sh\n' > named
cp named home/bin/cargo
chmod +x named home/bin/cargo

echo "ra_ap_toolchain 0.0.347, with CARGO=named and CARGO_HOME=home:"
CARGO="$folder/named" CARGO_HOME="$folder/home" target/debug/which | sed "s#$folder/##" | tee output
grep --quiet '^in a workspace: home/bin/cargo$' output
grep --quiet '^elsewhere:      named$' output

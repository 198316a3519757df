//! That what takes longest to compile has the same features with polars as without: cargo then compiles it
//! once for the notebooks of both kinds. Some dependencies in `Cargo.toml` are there for that alone.

// Without the feature, what polars depends on may not be there to be looked at.
#![cfg(feature = "polars")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What the crate depends on, and everything below each of it, with the features.
fn below(options: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "seq2seq", "--edges", "normal,build"])
        .args(["--prefix", "depth", "--no-dedupe", "--format", " {p} {f}"])
        .args(options)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    let mut direct = String::new();
    for line in String::from_utf8(tree.stdout).unwrap().lines() {
        let (depth, package) = line.split_once(' ').unwrap();
        match depth {
            "0" => continue,
            "1" => direct = package.split(' ').next().unwrap().to_owned(),
            _ => {}
        }
        all.entry(direct.clone()).or_default().insert(package.to_owned());
    }
    all
}

#[test]
fn kernels_and_dfdx_are_compiled_once_with_and_without_polars() {
    let (without, with) = (below(&[]), below(&["--features", "polars"]));
    for name in ["dfdx", "rayon", "seq2seq-kernels", "serde"] {
        let other: Vec<_> = without[name].difference(&with[name]).collect();
        assert!(
            other.is_empty(),
            "polars changes the features below {name}: without it, {other:#?}"
        );
    }
}

#!/usr/bin/env bash
# std::backtrace names no function of a shared object that was loaded after the first backtrace.
#
# One would expect a backtrace to name every frame whose library has its symbols, whenever the library
# was loaded: gdb does, and so does glibc's backtrace_symbols. Rust's standard library makes its list of
# loaded libraries when it resolves the first backtrace of the process, and keeps it. A library that is
# opened with dlopen before that is named, and the same library opened after it is "<unknown>", with its
# address. So in an evcxr kernel, whose every cell is a shared object, only the first failing cell would
# have names in its backtrace.
#
# Seen with rustc 1.95.0 on x86-64 Linux, libloading 0.9.0.
# Source: `Cache::new` in library/backtrace/src/symbolize/gimli.rs of Rust's sources (component rust-src):
# `native_libraries()` is called once, and `clear_symbol_cache` clears the mappings only.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p src plugin

cat > Cargo.toml <<'TOML'
[package]
name = "host"
version = "0.1.0"
edition = "2021"
[dependencies]
libloading = "=0.9.0"
[workspace]
TOML
cat > src/main.rs <<'RUST'
use std::backtrace::Backtrace;

/// Calls the library's function with one of ours, from inside of which it takes a backtrace.
fn frames(path: &str, name: &str) -> bool {
    extern "C" fn take() {
        TEXT.with(|text| *text.borrow_mut() = format!("{:#}", Backtrace::force_capture()));
    }
    thread_local!(static TEXT: std::cell::RefCell<String> = Default::default());
    unsafe {
        let library = Box::leak(Box::new(libloading::Library::new(path).unwrap()));
        let call: libloading::Symbol<extern "C" fn(extern "C" fn())> = library.get(name.as_bytes()).unwrap();
        call(take);
    }
    TEXT.with(|text| text.borrow().contains(name))
}

fn main() {
    println!("loaded before the first backtrace: named {}", frames("./first.so", "first_function"));
    println!("loaded after it:                   named {}", frames("./second.so", "second_function"));
}
RUST
for name in first second; do
    printf '#[no_mangle]\npub extern "C" fn %s_function(take: extern "C" fn()) {\n    take();\n    std::hint::black_box(());\n}\n' \
        "$name" > "plugin/$name.rs"
    rustc --edition 2021 --crate-type cdylib -C debuginfo=1 -o "$name.so" "plugin/$name.rs"
done

rustc --version
cargo run --quiet | tee output
grep --quiet 'before the first backtrace: named true' output
grep --quiet 'loaded after it: *named false' output

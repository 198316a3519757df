#!/usr/bin/env bash
# plotters: a wide line on the bitmap backend is drawn outside of the chart it belongs to.
#
# One would expect a line whose points all lie within the axes to be drawn within them, up to half its
# width, as the SVG backend of the same crate does. The bitmap backend makes a polygon of a line of two pixels
# or more, whose corners are where the edges beside two segments meet. It limits how far the outer corner may
# reach, but not the inner one: where the line turns back almost on itself, as dense noise does that has more
# points than the picture has columns, the edges meet far outside, and the polygon runs through title and
# labels.
#
# Seen with plotters 0.3.7, plotters-bitmap 0.3.7 and rustc 1.95.0 on x86-64 Linux.
# Source: `compute_polygon_vertex` in src/rasterizer/path.rs of plotters-backend 0.3.7.
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src

cat > Cargo.toml <<'TOML'
[package]
name = "strokes"
version = "0.1.0"
edition = "2021"
[dependencies]
plotters = { version = "=0.3.7", default-features = false, features = ["bitmap_backend", "line_series"] }
[workspace]
TOML
cat > src/main.rs <<'RUST'
use plotters::prelude::*;

/// How far a line of this width is drawn above and below the part of the picture that its points are in,
/// in pixels.
fn overshoot(stroke: u32) -> usize {
    const SIZE: (usize, usize) = (860, 400);
    let mut pixels = vec![255; SIZE.0 * SIZE.1 * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (SIZE.0 as u32, SIZE.1 as u32));
        let area = area.into_drawing_area();
        // Heights from 100 to 300, in a picture from 0 to 400; some neighbours are in the same column.
        let points = (0..800).map(|i| (30 + i * 92 / 100, 100 + i * i % 201 * 83 % 201)).collect::<Vec<_>>();
        area.draw(&PathElement::new(points, BLUE.stroke_width(stroke))).unwrap();
        area.present().unwrap();
    }
    let drawn = |row: &usize| pixels[row * SIZE.0 * 3..][..SIZE.0 * 3].iter().any(|&v| v != 255);
    let first = (0..SIZE.1).find(drawn).unwrap();
    let last = (0..SIZE.1).rev().find(drawn).unwrap();
    100_usize.saturating_sub(first).max(last.saturating_sub(300))
}

fn main() {
    let [thin, wide] = [1, 2].map(overshoot);
    println!("rows outside of the points: {thin} at a stroke of 1, {wide} at a stroke of 2");
    assert!(thin <= 1, "a thin line is drawn outside, too");
    assert!(wide > 20, "wide lines stay where their points are now");
}
RUST
rustc --version
cargo build --quiet
cargo tree --quiet --depth 1 --package plotters | grep -E "plotters"
cargo run --quiet

//! Dropout between layers: which outputs of a tile a training step drops.

use super::level::{Isa, Kernel};
use super::tile::Tile;

/// Dropout of the outputs of every layer but the last, as PyTorch's `dropout` of `nn.GRU`: each is zero with
/// the probability `rate`, and otherwise 1 / (1 − rate) times what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability, 0 to below 1.
    pub rate: f32,
    /// Draws what is dropped.
    pub seed: u64,
}

impl Dropout {
    /// What is dropped in step `number` of a training, in one of its stacks.
    pub(crate) fn mask(self, number: i32, stack: u64) -> Mask {
        let step = self.seed ^ mix((number as u64) << 1 | stack);
        Mask { rate: self.rate, seed: mix(step) }
    }
}

/// What one stack drops in one step. Each number of each series of the batch has its own draw, so that it
/// does not show how the batch is cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    rate: f32,
    seed: u64,
}

impl Mask {
    /// Drops from the outputs of a layer, (T·H, W), or from their gradient.
    pub(crate) fn apply(self, layer: usize, tile: Tile, rows: &mut [f32]) {
        let seed = mix(self.seed ^ layer as u64);
        tile.level.run(Drop { rate: self.rate, seed, tile, rows });
    }
}

struct Drop<'a> {
    rate: f32,
    seed: u64,
    tile: Tile,
    rows: &'a mut [f32],
}

impl Kernel for Drop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Isa>(self, _isa: S) {
        // Of 2³² draws as many are dropped as the rate says.
        let dropped = (f64::from(self.rate) * 4_294_967_296.0) as u32;
        let kept = 1.0 / (1.0 - self.rate);
        for (row, values) in self.rows.chunks_exact_mut(self.tile.width()).enumerate() {
            let seed = mix(self.seed.wrapping_add(row as u64)) as u32;
            for (lane, value) in values.iter_mut().enumerate() {
                let series = (self.tile.first + lane) as u32;
                let draw = mix_32(seed ^ series.wrapping_mul(0x9E37_79B9));
                *value *= if draw < dropped { 0.0 } else { kept };
            }
        }
    }
}

/// Spreads every bit of a number over all bits: the finaliser of SplitMix64 (G. Steele, D. Lea and C. Flood,
/// *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// As [`mix`], of 32 bits, which vector registers multiply: the finaliser of MurmurHash3 (A. Appleby, 2011).
#[inline(always)]
fn mix_32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

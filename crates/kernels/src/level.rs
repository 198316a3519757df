//! One source, several instruction sets, chosen at run time.
//!
//! A kernel is written once against `Isa`, as a `Kernel`. `Level::run` compiles it for each
//! instruction set and calls the one asked for. The vector types and their operations are those
//! of the `pulp` crate; a value that implements `Isa` is the proof that the machine has the
//! instructions, so nothing here is `unsafe`.

use pulp::{NullaryFnOnce, Simd};
use std::fmt;

/// An instruction set that this machine has.
///
/// Only [`available`](Level::available) and [`best`](Level::best) make one: tiles are laid out for the
/// width of its registers, and code for another width would read them wrongly.
///
/// ```compile_fail
/// let level = seq2seq_kernels::level::Level::Avx512;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Set);

/// An instruction set, from the plainest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// What every machine of this architecture has; four lanes, separate multiply and add.
    Plain,
    /// Eight lanes, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen lanes, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Four lanes, fused multiply-add.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// The levels that this machine can run, the best one last.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level(Set::Plain)];
        #[cfg(target_arch = "x86_64")]
        {
            if pulp::x86::V3::try_new().is_some() {
                levels.push(Level(Set::Avx2));
            }
            if pulp::x86::V4::try_new().is_some() {
                levels.push(Level(Set::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if pulp::aarch64::Neon::try_new().is_some() {
            levels.push(Level(Set::Neon));
        }
        levels
    }

    /// The best level that this machine can run.
    pub fn best() -> Level {
        Level::available().pop().unwrap_or(Level(Set::Plain))
    }

    /// The lanes of one vector register.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            Set::Plain => 4,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => 16,
            #[cfg(target_arch = "aarch64")]
            Set::Neon => 4,
        }
    }

    /// One with registers of half the width, for what would leave half of them empty.
    pub(crate) fn narrower(self) -> Option<Level> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => Some(Level(Set::Avx2)),
            // Half of eight lanes is plain code here, slower than eight with some of them empty.
            _ => None,
        }
    }

    /// Runs `kernel` with this instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Plain => pulp::Scalar128b.call(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => proof(pulp::x86::V3::try_new()).call(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => proof(pulp::x86::V4::try_new()).call(kernel),
            #[cfg(target_arch = "aarch64")]
            Set::Neon => proof(pulp::aarch64::Neon::try_new()).call(kernel),
        }
    }
}

/// The proof that the machine has an instruction set, of which a level was made.
fn proof<S>(isa: Option<S>) -> S {
    isa.unwrap_or_else(|| unreachable!("a level of this machine"))
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Set::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "Neon",
        })
    }
}

impl Default for Level {
    fn default() -> Self {
        Level::best()
    }
}

/// A computation that is compiled once for each instruction set.
///
/// `run` must be `#[inline(always)]`, and so must everything that it calls short of another
/// kernel: inlining is how the code comes under the instruction set.
pub(crate) trait Kernel {
    /// What the computation returns.
    type Output;
    /// The computation.
    fn run<S: Isa>(self, isa: S) -> Self::Output;
}

/// `pulp`'s vector operations, and those whose best form depends on the instruction set.
pub(crate) trait Isa: Simd + Send + Sync {
    /// `a·b + c`, fused where the machine does that. (`pulp`'s own on plain code is fused in
    /// software, a hundred times slower than a multiplication and an addition.)
    fn fma(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s;

    /// `x` between `low` and `high`; NaN stays NaN.
    fn clamp(self, x: Self::f32s, low: f32, high: f32) -> Self::f32s;

    /// Rows become columns.
    #[inline(always)]
    fn transpose(self, rows: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }

    /// Calls a kernel under this instruction set; a call, not inlined, so that it keeps the size
    /// of compiled code in bounds.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
}

/// The bridge to `pulp`, which takes a function without arguments.
struct Call<S, K>(S, K);

impl<S: Isa, K: Kernel> NullaryFnOnce for Call<S, K> {
    type Output = K::Output;
    #[inline(always)]
    fn call(self) -> K::Output {
        self.1.run(self.0)
    }
}

impl Isa for pulp::Scalar128b {
    #[inline(always)]
    fn fma(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.add_f32s(self.mul_f32s(a, b), c)
    }
    #[inline(always)]
    fn clamp(self, x: Self::f32s, low: f32, high: f32) -> Self::f32s {
        let (low, high) = (self.splat_f32s(low), self.splat_f32s(high));
        let x = self.select_f32s(self.less_than_f32s(x, low), low, x);
        self.select_f32s(self.greater_than_f32s(x, high), high, x)
    }
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        fn outlined<K: Kernel>(kernel: K) -> K::Output {
            kernel.run(pulp::Scalar128b)
        }
        outlined(kernel)
    }
}

macro_rules! fused {
    ($isa: ty $(, $transpose: path)?) => {
        impl Isa for $isa {
            $(
                #[inline(always)]
                fn transpose(self, rows: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
                    $transpose(self.avx, rows)
                }
            )?
            #[inline(always)]
            fn fma(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
                self.mul_add_e_f32s(a, b, c)
            }
            #[inline(always)]
            fn clamp(self, x: Self::f32s, low: f32, high: f32) -> Self::f32s {
                // x86's min and max return their second operand when one is NaN, Neon's return
                // NaN: with x second it survives on both.
                self.max_f32s(self.splat_f32s(low), self.min_f32s(self.splat_f32s(high), x))
            }
            #[inline(always)]
            fn call<K: Kernel>(self, kernel: K) -> K::Output {
                self.vectorize(Call(self, kernel))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
fused!(pulp::x86::V3, transpose_avx);
#[cfg(target_arch = "x86_64")]
fused!(pulp::x86::V4, transpose_avx);
#[cfg(target_arch = "aarch64")]
fused!(pulp::aarch64::Neon);

/// Interleaves single numbers, then pairs, then halves of registers.
///
/// Written out: a closure would not be compiled for the instruction set.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_avx(avx: pulp::core_arch::x86::Avx, rows: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
    let rows: [std::arch::x86_64::__m256; 8] = pulp::cast(rows);
    let [mut upper, mut lower] = [[rows[0]; 4]; 2];
    for (half, first) in [(&mut upper, 0), (&mut lower, 4)] {
        // Of rows 0 to 3: columns 0, 1, 2, 3 and, in the upper half of a register, 4, 5, 6, 7.
        let a = avx._mm256_unpacklo_ps(rows[first], rows[first + 1]);
        let b = avx._mm256_unpackhi_ps(rows[first], rows[first + 1]);
        let c = avx._mm256_unpacklo_ps(rows[first + 2], rows[first + 3]);
        let d = avx._mm256_unpackhi_ps(rows[first + 2], rows[first + 3]);
        half[0] = avx._mm256_shuffle_ps::<0x44>(a, c);
        half[1] = avx._mm256_shuffle_ps::<0xEE>(a, c);
        half[2] = avx._mm256_shuffle_ps::<0x44>(b, d);
        half[3] = avx._mm256_shuffle_ps::<0xEE>(b, d);
    }
    let mut columns = rows;
    for i in 0..4 {
        columns[i] = avx._mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
        columns[i + 4] = avx._mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
    }
    pulp::cast(columns)
}

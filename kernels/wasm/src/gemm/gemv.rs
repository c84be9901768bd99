//! y[M, N] = x[M, K]·W[N, K]ᵀ for one or two rows (generation): no weight is packed, each is read and decoded once.
//!
//! Work goes by strips of 32 elements and four rows of W. With an element d·q + m, a strip's part of a product is
//! d·Σq·x + m·Σx: quants are multiplied as they are, and Σx is the same for all rows. So x is packed first, with its sums:
//! it lies in the order in which quants are cheapest to take out of their bytes (`Weight::arrange`).
//!
//! The order of all sums is a function of K.

use core::arch::wasm32::*;

use super::pack::transpose;
use crate::simd::{LANES, fma, load, load_upto, opaque, store, store_upto, sum};
use crate::weight::Weight;

/// Rows of x up to which this beats packing W.
pub const MAX_ROWS: usize = 2;
/// Elements of a strip.
const STRIP: usize = 32;
/// Rows of W that are worked on together.
const TILE: usize = 4;
/// Weights that make a chunk: some 5 us.
const CHUNK: usize = 1 << 16;

pub struct Gemv {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub y: *mut f32,
    pub x: *const f32,
    pub weight: *const u8,
    /// `[N]`, or null.
    pub bias: *const f32,
    /// Where x is packed, and the threads' scratch memory behind it.
    pub packed: *mut f32,
}

/// Columns of y in a chunk.
fn columns(k: usize) -> usize {
    CHUNK.div_ceil(k.max(1)).next_multiple_of(TILE)
}

pub fn chunks(n: usize, k: usize) -> usize {
    n.div_ceil(columns(k))
}

/// Elements of the packed x, `[M][strips][32]`, then of its sums, `[M][strips][scales]`.
fn packed<W: Weight>(m: usize, k: usize) -> [usize; 2] {
    let strips = k.div_ceil(STRIP);
    [m * strips * STRIP, (m * strips * W::SCALES).next_multiple_of(LANES)]
}

/// Elements that a thread needs for the scales of a tile, `[strips][scales][TILE]`, and for its sums, `[M][TILE][8]`.
fn private<W: Weight>(m: usize, k: usize) -> [usize; 2] {
    [k.div_ceil(STRIP) * W::SCALES * TILE, m * TILE * 8]
}

/// Elements of scratch memory.
pub fn scratch<W: Weight>(m: usize, k: usize, threads: usize) -> usize {
    let total = |parts: [usize; 2]| parts[0] + parts[1];
    total(packed::<W>(m, k)) + threads * total(private::<W>(m, k))
}

impl Gemv {
    fn strips(&self) -> usize {
        self.k.div_ceil(STRIP)
    }

    fn sums<W: Weight>(&self, row: usize) -> *mut f32 {
        self.packed.wrapping_add((self.m * STRIP + row * W::SCALES) * self.strips())
    }

    /// Packs x.
    pub unsafe fn pack<W: Weight>(&self) {
        let strips = self.strips();
        for (row, strip) in (0..self.m).flat_map(|row| (0..strips).map(move |strip| (row, strip))) {
            let x = self.x.wrapping_add(row * self.k + strip * STRIP);
            let left = self.k - strip * STRIP;
            unsafe {
                let elements: [v128; STRIP / LANES] = core::array::from_fn(|i| {
                    load_upto(x.wrapping_add(i * LANES), left.saturating_sub(i * LANES).min(LANES))
                });
                let out = self.packed.add((row * strips + strip) * STRIP);
                W::arrange(elements).into_iter().enumerate().for_each(|(i, x)| store(out.add(i * LANES), x));
                for i in 0..W::SCALES {
                    let count = STRIP / W::SCALES;
                    *self.sums::<W>(row).add(strip * W::SCALES + i) = sum(count, |e, _| load(x.add(i * count + e)));
                }
            }
        }
    }

    pub unsafe fn chunk<W: Weight>(&self, i: usize, thread: usize) {
        let begin = i * columns(self.k);
        let end = self.n.min(begin + columns(self.k));
        let [scales, _] = private::<W>(self.m, self.k);
        let packed = scratch::<W>(self.m, self.k, thread);
        let scratch = self.packed.wrapping_add(packed);
        for column in (begin..end).step_by(TILE) {
            unsafe {
                match self.m {
                    1 => self.tile::<W, 1, 4>(column, scratch, scratch.add(scales)),
                    _ => self.tile::<W, 2, 2>(column, scratch, scratch.add(scales)),
                }
            }
        }
    }

    /// All M rows of TILE columns, R columns at a time.
    unsafe fn tile<W: Weight, const M: usize, const R: usize>(&self, column: usize, scales: *mut f32, sums: *mut f32) {
        let stride = W::row_bytes(self.k);
        // Columns that are missing repeat the last.
        let rows: [*const u8; TILE] =
            core::array::from_fn(|i| self.weight.wrapping_add((column + i).min(self.n - 1) * stride));
        let count = TILE.min(self.n - column);
        unsafe {
            let offsets = self.scales::<W, M>(rows, scales);
            (0..M * TILE * 2).for_each(|i| store(sums.add(i * LANES), f32x4_splat(0.0)));
            for i in (0..TILE).step_by(R) {
                let rows: [*const u8; R] = core::array::from_fn(|r| rows[i + r]);
                self.dots::<W, M, R>(rows, scales.add(i), sums.add(i * 8));
            }
            for m in 0..M {
                let bias = if self.bias.is_null() { f32x4_splat(0.0) } else { load_upto(self.bias.add(column), count) };
                let [a, b, c, d] = transpose(core::array::from_fn(|i| {
                    let sum = sums.add((m * TILE + i) * 8);
                    f32x4_add(load(sum), load(sum.add(LANES)))
                }));
                let dots = f32x4_add(f32x4_add(a, c), f32x4_add(b, d));
                let y = f32x4_add(f32x4_add(dots, offsets[m]), bias);
                store_upto(self.y.add(m * self.n + column), y, count);
            }
        }
    }

    /// Writes every d of the tile; returns Σ m·Σx of its columns.
    #[inline(always)]
    unsafe fn scales<W: Weight, const M: usize>(&self, rows: [*const u8; TILE], out: *mut f32) -> [v128; M] {
        let mut offsets = [f32x4_splat(0.0); M];
        if W::SCALES == 0 {
            return offsets;
        }
        for strip in 0..self.strips() {
            for half in 0..W::SCALES {
                let at = strip * W::SCALES + half;
                unsafe {
                    let (d, m) = W::scales(rows, strip, half);
                    store(out.add(at * TILE), d);
                    for row in 0..M {
                        let sum = v128_load32_splat(self.sums::<W>(row).add(at).cast());
                        offsets[row] = fma(m, sum, offsets[row]);
                    }
                }
            }
        }
        offsets
    }

    /// Adds the products of all of x with R rows of W to `sums`.
    #[inline(always)]
    unsafe fn dots<W: Weight, const M: usize, const R: usize>(
        &self,
        rows: [*const u8; R],
        scales: *const f32,
        sums: *mut f32,
    ) {
        let strips = self.k / STRIP;
        let rest = self.k % STRIP;
        unsafe {
            accumulate::<W, M, R>(rows, self.packed, self.strips(), scales, strips, sums);
            if rest > 0 {
                // Plain floats: zeros where the row ends within a strip.
                let mut tails = [[0u32; STRIP]; R];
                for (row, tail) in rows.into_iter().zip(&mut tails) {
                    let source = row.add(strips * STRIP * W::BLOCK_BYTES);
                    core::ptr::copy_nonoverlapping(source, tail.as_mut_ptr().cast(), rest * W::BLOCK_BYTES);
                }
                let tails: [*const u8; R] = core::array::from_fn(|r| tails[r].as_ptr().cast());
                accumulate::<W, M, R>(tails, self.packed.add(strips * STRIP), self.strips(), scales, 1, sums);
            }
        }
    }
}

/// Calls f(0) … f(N - 1) for N = 1, 2 or 4, without a loop: LLVM would keep some, and in memory what they work on.
#[inline(always)]
fn unroll<const N: usize>(mut f: impl FnMut(usize)) {
    f(0);
    if N > 1 {
        f(1);
    }
    if N > 2 {
        f(2);
        f(3);
    }
}

/// Adds the products of `strips` strips of x, whose rows are `stride` strips apart, with R rows of W to `sums[M][TILE][8]`.
///
/// Sums stay in memory: V8's revectorizer starts from neighbouring stores. From there it pairs all that happens to the
/// halves of an `Eight`, which therefore is the same for both.
#[inline(never)]
unsafe fn accumulate<W: Weight, const M: usize, const R: usize>(
    rows: [*const u8; R],
    x: *const f32,
    stride: usize,
    scales: *const f32,
    strips: usize,
    sums: *mut f32,
) {
    unsafe {
        let sums: *mut [[[v128; 2]; TILE]; M] = sums.cast();
        let mut totals = [[[f32x4_splat(0.0); 2]; R]; M];
        unroll::<M>(|m| unroll::<R>(|r| totals[m][r] = (*sums)[m][r]));
        for strip in 0..strips {
            let scales = opaque(scales.add(strip * W::SCALES * TILE));
            let x: [*const f32; M] = core::array::from_fn(|m| opaque(x.add((m * stride + strip) * STRIP)));
            unroll::<R>(|r| {
                let weights = W::strip(rows[r], strip);
                unroll::<M>(|m| {
                    for half in 0..2 {
                        let dot = |start| {
                            let products =
                                [0, 1, 2, 3].map(|i| (weights[i][half], load(x[m].add(i * 8 + half * LANES))));
                            products.into_iter().fold(start, |dot, (q, x)| fma(q, x, dot))
                        };
                        let total = &mut totals[m][r][half];
                        *total = match W::SCALES {
                            0 => dot(*total),
                            count => {
                                let d = v128_load32_splat(scales.add(half * (count - 1) * TILE + r).cast());
                                fma(dot(f32x4_splat(0.0)), d, *total)
                            }
                        };
                    }
                });
            });
        }
        unroll::<M>(|m| unroll::<R>(|r| (*sums)[m][r] = totals[m][r]));
    }
}

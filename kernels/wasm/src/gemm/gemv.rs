//! y[M, N] = x[M, K]·W[N, K]ᵀ for one or two rows (generation): nothing is packed, each weight is read and decoded once.
//!
//! An element is the sum of eight partial sums, p[i] over k ≡ i (mod 8) in ascending order, however many rows and
//! weight rows are worked on together.

use core::arch::wasm32::*;

use crate::simd::{fma, horizontal_sum, load};
use crate::weight::{Eight, F32, Weight, decode_group, partial_eight};

/// Rows of x up to which this beats packing.
pub const MAX_ROWS: usize = 2;
/// Weights that make a chunk: some 10 us.
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
}

/// Columns of y in a chunk.
fn columns(k: usize) -> usize {
    CHUNK.div_ceil(k.max(1)).next_multiple_of(4)
}

pub fn chunks(n: usize, k: usize) -> usize {
    n.div_ceil(columns(k))
}

impl Gemv {
    pub unsafe fn chunk<W: Weight>(&self, i: usize) {
        let begin = i * columns(self.k);
        let end = self.n.min(begin + columns(self.k));
        // Eight chains of multiply-adds at a time: fewer wait for each other, more do not fit into registers.
        unsafe {
            match self.m {
                1 => self.columns::<W, 1, 4>(begin, end),
                _ => self.columns::<W, 2, 2>(begin, end),
            }
        }
    }

    /// All M rows of columns `begin..end`, R columns at a time.
    unsafe fn columns<W: Weight, const M: usize, const R: usize>(&self, begin: usize, end: usize) {
        let whole = begin + (end - begin) / R * R;
        (begin..whole).step_by(R).for_each(|column| unsafe { self.dots::<W, M, R>(column) });
        (whole..end).for_each(|column| unsafe { self.dots::<W, M, 1>(column) });
    }

    #[inline(always)]
    unsafe fn dots<W: Weight, const M: usize, const R: usize>(&self, column: usize) {
        let stride = W::row_bytes(self.k);
        let rows: [*const u8; R] = core::array::from_fn(|i| self.weight.wrapping_add((column + i) * stride));
        let x: [*const f32; M] = core::array::from_fn(|i| self.x.wrapping_add(i * self.k));
        let mut sums = [[[f32x4_splat(0.0); 2]; R]; M];
        let mut add = |weights: [Eight; R], x: [Eight; M]| {
            for m in 0..M {
                for r in 0..R {
                    for half in 0..2 {
                        sums[m][r][half] = fma(weights[r][half], x[m][half], sums[m][r][half]);
                    }
                }
            }
        };
        let (groups, rest) = (self.k / W::GROUP, self.k % W::GROUP);
        unsafe {
            for group in 0..groups {
                decode_group::<W, R>(rows, group, |e, weights| {
                    let at = group * W::GROUP + e;
                    add(weights, x.map(|x| [load(x.add(at)), load(x.add(at + 4))]));
                });
            }
            if rest > 0 {
                let at = groups * W::GROUP;
                let weights = rows.map(|row| partial_eight::<W>(row, at, rest));
                add(weights, x.map(|x| partial_eight::<F32>(x.cast(), at, rest)));
            }
            for m in 0..M {
                for r in 0..R {
                    let bias = if self.bias.is_null() { 0.0 } else { *self.bias.add(column + r) };
                    let dot = horizontal_sum(f32x4_add(sums[m][r][0], sums[m][r][1]));
                    *self.y.add(m * self.n + column + r) = dot + bias;
                }
            }
        }
    }
}

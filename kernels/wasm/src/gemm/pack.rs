//! Packing: copying operands into the order in which the micro-kernels read them.
//!
//! A sliver or panel of `width` lines is stored as `[depth][width]`, depth rounded up to even with zeros. What runs along
//! the depth in memory (rows of A, rows of a weight W[N, K] in x·Wᵀ) is transposed on the way; what runs across it (Aᵀ,
//! W in g·W) is copied. Stored weights become f32 here, a part at a time, so that they need no f32 copy in memory.

use core::arch::wasm32::*;

use crate::simd::{load, store};
use crate::weight::{Eight, Weight, decode_group, partial_eight};

/// Stores the first COUNT lanes (all for COUNT ≥ 4).
#[inline(always)]
pub unsafe fn store_lanes<const COUNT: usize>(p: *mut f32, x: v128) {
    unsafe {
        match COUNT {
            1 => v128_store32_lane::<0>(x, p.cast()),
            2 => v128_store64_lane::<0>(x, p.cast()),
            3 => {
                v128_store64_lane::<0>(x, p.cast());
                v128_store32_lane::<2>(x, p.add(2).cast());
            }
            _ => store(p, x),
        }
    }
}

/// Loads COUNT lanes, zeros behind them.
#[inline(always)]
unsafe fn load_lanes<const COUNT: usize>(p: *const f32) -> v128 {
    unsafe {
        match COUNT {
            1 => v128_load32_zero(p.cast()),
            2 => v128_load64_zero(p.cast()),
            3 => v128_load32_lane::<2>(v128_load64_zero(p.cast()), p.add(2).cast()),
            _ => load(p),
        }
    }
}

/// Rows become columns.
#[inline(always)]
pub fn transpose(x: [v128; 4]) -> [v128; 4] {
    let low = [i32x4_shuffle::<0, 4, 1, 5>(x[0], x[1]), i32x4_shuffle::<0, 4, 1, 5>(x[2], x[3])];
    let high = [i32x4_shuffle::<2, 6, 3, 7>(x[0], x[1]), i32x4_shuffle::<2, 6, 3, 7>(x[2], x[3])];
    [
        i64x2_shuffle::<0, 2>(low[0], low[1]),
        i64x2_shuffle::<1, 3>(low[0], low[1]),
        i64x2_shuffle::<0, 2>(high[0], high[1]),
        i64x2_shuffle::<1, 3>(high[0], high[1]),
    ]
}

/// Lines of memory: `line(i)` is `i * stride` bytes on.
#[derive(Clone, Copy)]
pub struct Lines {
    pub first: *const u8,
    pub stride: usize,
}

impl Lines {
    #[inline(always)]
    pub fn line(self, i: usize) -> *const u8 {
        self.first.wrapping_add(i * self.stride)
    }
}

/// Transposes elements `begin` … of `COUNT` ≤ 4 lines into columns of `[depth][width]`.
#[inline(always)]
pub unsafe fn pack_along<W: Weight, const COUNT: usize>(
    lines: Lines,
    begin: usize,
    depth: usize,
    width: usize,
    out: *mut f32,
) {
    unsafe {
        // Lines that are missing repeat the first; their lanes are not stored.
        let rows: [*const u8; 4] = core::array::from_fn(|i| lines.line(if i < COUNT { i } else { 0 }));
        let put = |at: usize, x: [Eight; 4]| {
            for half in 0..2 {
                let columns = transpose([x[0][half], x[1][half], x[2][half], x[3][half]]);
                for (i, column) in columns.into_iter().enumerate() {
                    store_lanes::<COUNT>(out.add((at + 4 * half + i) * width), column);
                }
            }
        };
        let groups = depth / W::GROUP;
        for group in 0..groups {
            decode_group::<W, 4>(rows, begin / W::GROUP + group, |e, x| put(group * W::GROUP + e, x));
        }
        let done = groups * W::GROUP;
        if done == depth {
            return;
        }
        let rest = rows.map(|row| partial_eight::<W>(row, begin + done, depth - done));
        for d in done..depth.next_multiple_of(2) {
            for (i, x) in rest.iter().enumerate().take(COUNT) {
                *out.add(d * width + i) = *(x as *const Eight as *const f32).add(d - done);
            }
        }
    }
}

/// Copies `COUNT` ≤ 4 columns of `depth` lines, `[depth][width]`.
#[inline(always)]
pub unsafe fn pack_across<const COUNT: usize>(lines: Lines, depth: usize, width: usize, out: *mut f32) {
    unsafe {
        for d in 0..depth {
            store_lanes::<COUNT>(out.add(d * width), load_lanes::<COUNT>(lines.line(d).cast()));
        }
        if depth % 2 == 1 {
            store_lanes::<COUNT>(out.add(depth * width), f32x4_splat(0.0));
        }
    }
}

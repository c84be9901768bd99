//! Products in 16-bit integers: what is packed, and what becomes of a tile's sums.
//!
//! A line is a row of A or a column of B within one block of the depth. It is packed as integers q = round(x / s) with an
//! f32 scale s of its own; two neighbours along the depth share a 32-bit word, which is an element to the tiles. A block
//! of the depth adds s_A·s_B·Σ q_A·q_B to C, its sum exact in i32.
//!
//! It is exact because s is as small as it can be without any sum leaving i32: |Σ q_A·q_B| ≤ ‖q_A‖·‖q_B‖ (Cauchy and
//! Schwarz, and so for every part of a sum), and s makes each norm NORM at most. Of 576 numbers alike in size, rounding then
//! costs each 1.5e-4 of that size, a tenth of what bf16 would; a bound from the largest number alone would leave 10 bits.
//! What is less than s/2 is lost: where the largest number sets the scale 1.5e-5 of it, where the norm does norm/92000,
//! which is 2.6e-4 of the largest of 576 numbers alike in size.
//!
//! This is faster than f32 since x64 multiplies and adds twice as many i16 as f32 in an instruction. 8 bits would lose
//! accuracy for nothing: on one thread the revectorized tiles reached 92 billion multiply-adds a second in 16 bits and 57
//! in f32, WebAssembly's instruction for 8-bit integers alone 94. That was on a CPU whose AVX-VNNI V8 does not use,
//! so that it emulates the instruction; where it is used 8 bits may well be faster.
//!
//! The user chooses 16 bits, not the probe at the start that chooses the width of the tiles: widths change no bit, but if
//! the arithmetic depended on what is fast, results would depend on the machine. Nor is a probe needed for what can run: 16
//! bits take no instruction that some CPU lacks.

use core::arch::wasm32::*;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::operand::{COLUMNS, Left};
use super::pack::{store_lanes, transpose};
use super::tile::{INT16_ROWS, NARROW, WIDE, int16_tiles, panel_columns, tile_rows};
use crate::simd::{
    LANES, ROUNDER, constant, fma, horizontal_max, horizontal_sum, load, load_upto, opaque, select, splat, store,
    store_upto,
};

/// Largest norm of a line's integers: NORM² and what rounding them adds stay below 2³¹.
const NORM: f32 = 46_000.0;
const LARGEST: f32 = 32_767.0;
/// Between these, sums of squares neither overflow nor lose what counts.
const SQUARABLE: (f32, f32) = (1e-12, 1e12);
/// What is not larger is 0: 1/s would be infinite.
const TINY: f32 = 1e-30;

/// Words that a line of `depth` elements is packed into, its scale not counted.
pub fn words(depth: usize) -> usize {
    depth.next_multiple_of(4) / 2
}

/// 1/s and s of four lines from their largest |x| and their sums of squares. Of a line with an infinity or a NaN s is NaN.
#[inline(always)]
fn scales(largest: v128, squares: v128, depth: usize) -> (v128, v128) {
    let squarable = v128_and(f32x4_gt(largest, splat(SQUARABLE.0)), f32x4_lt(largest, splat(SQUARABLE.1)));
    let norm = select(squarable, f32x4_sqrt(squares), f32x4_mul(largest, splat((depth as f32).sqrt())));
    let inverse = f32x4_pmin(f32x4_div(splat(LARGEST), largest), f32x4_div(splat(NORM), norm));
    let finite = v128_and(f32x4_eq(squares, squares), f32x4_lt(largest, splat(f32::INFINITY)));
    // A sum of squares that overflowed is no NaN; one is where there is a NaN.
    let ordinary = v128_and(finite, f32x4_gt(largest, splat(TINY)));
    let inverse = select(ordinary, inverse, splat(0.0));
    (inverse, select(ordinary, f32x4_div(splat(1.0), inverse), select(finite, splat(0.0), splat(f32::NAN))))
}

/// round(x / s) of eight numbers.
#[inline(always)]
fn quantize(x: [v128; 2], inverse: [v128; 2]) -> v128 {
    let [low, high] = [0, 1].map(|i| {
        let rounded = fma(x[i], inverse[i], constant(&ROUNDER));
        i32x4_sub(rounded, constant(&ROUNDER))
    });
    i16x8_narrow_i32x4(low, high)
}

/// Packs depth `begin` … of the slivers that begin in `rows` of A, which is not transposed. Row i's sliver starts at word i · words(depth),
/// its scale is word M · words(depth) + i.
pub unsafe fn pack_left(left: Left, rows: Range<usize>, begin: usize, depth: usize, out: *mut f32) {
    let Left { data: a, m, k, .. } = left;
    let words = words(depth);
    let mut row = rows.start;
    while row < rows.end {
        let height = tile_rows(m - row, INT16_ROWS);
        unsafe {
            let inverse: [v128; INT16_ROWS] = core::array::from_fn(|i| {
                if i >= height {
                    return splat(0.0);
                }
                let (inverse, scale) = row_scale(a.add((row + i) * k + begin), depth);
                *out.add(m * words + row + i) = f32x4_extract_lane::<0>(scale);
                inverse
            });
            let (first, sliver) = (a.add(row * k + begin), out.add(row * words));
            match height {
                1 => pack_sliver::<1, 0>(first, k, depth, inverse, sliver),
                2 => pack_sliver::<2, 0>(first, k, depth, inverse, sliver),
                3 => pack_sliver::<3, 0>(first, k, depth, inverse, sliver),
                4 => pack_sliver::<4, 0>(first, k, depth, inverse, sliver),
                _ => pack_sliver::<4, 1>(first, k, depth, inverse, sliver),
            }
        }
        row += height;
    }
}

/// 1/s and s of a row of `depth` elements, in all lanes.
unsafe fn row_scale(x: *const f32, depth: usize) -> (v128, v128) {
    const UNROLL: usize = 4;
    let mut largest = [splat(0.0); UNROLL];
    let mut squares = [splat(0.0); UNROLL];
    let mut take = |i: usize, x: v128| {
        largest[i] = f32x4_pmax(largest[i], f32x4_abs(x));
        squares[i] = fma(x, x, squares[i]);
    };
    let whole = depth - depth % (UNROLL * LANES);
    unsafe {
        for d in (0..whole).step_by(UNROLL * LANES) {
            (0..UNROLL).for_each(|i| take(i, load(x.add(d + i * LANES))));
        }
        for d in (whole..depth).step_by(LANES) {
            take(0, load_upto(x.add(d), LANES.min(depth - d)));
        }
    }
    let join = |x: [v128; UNROLL], f: fn(v128, v128) -> v128| f(f(x[0], x[1]), f(x[2], x[3]));
    let largest = horizontal_max(join(largest, |a, b| f32x4_pmax(a, b)));
    let squares = horizontal_sum(join(squares, |a, b| f32x4_add(a, b)));
    scales(splat(largest), splat(squares), depth)
}

/// A sliver of HEAD + TAIL rows, `[words][HEAD + TAIL]`.
unsafe fn pack_sliver<const HEAD: usize, const TAIL: usize>(
    x: *const f32,
    stride: usize,
    depth: usize,
    inverse: [v128; INT16_ROWS],
    out: *mut f32,
) {
    let height = HEAD + TAIL;
    // Eight elements of each row, of which `vector` gives four; `count` words of each are stored.
    let put = |d: usize, count: usize, vector: &dyn Fn(usize, usize) -> v128| unsafe {
        let row = |i: usize| quantize([vector(i, d), vector(i, d + LANES)], [inverse[i]; 2]);
        // Rows that are missing are not stored.
        let head = transpose(core::array::from_fn(|i| if i < HEAD { row(i) } else { splat(0.0) }));
        let mut tail = if TAIL > 0 { row(HEAD) } else { splat(0.0) };
        let out = out.add(d / 2 * height);
        for i in 0..count {
            store_lanes::<HEAD>(out.add(i * height), head[i]);
            if TAIL > 0 {
                store_lanes::<1>(out.add(i * height + HEAD), tail);
                tail = i32x4_shuffle::<1, 2, 3, 0>(tail, tail);
            }
        }
    };
    let whole = depth - depth % (2 * LANES);
    for d in (0..whole).step_by(2 * LANES) {
        put(d, 4, &|i, d| unsafe { load(x.add(i * stride + d)) });
    }
    if whole < depth {
        put(whole, words(depth) - whole / 2, &|i, d| unsafe {
            load_upto(x.add(i * stride + d), depth.saturating_sub(d).min(LANES))
        });
    }
}

/// Packs at most COLUMNS columns of B from panels in f32 (`Right::pack`) into panels of integers: that of column j starts
/// at word j · words(depth), its scale is word COLUMNS · words(depth) + j.
pub unsafe fn pack_right(panels: *const f32, columns: usize, depth: usize, wide: bool, out: *mut f32) {
    let mut column = 0;
    while column < columns {
        let width = panel_columns(wide, columns - column);
        unsafe {
            let panel = panels.add(column * depth.next_multiple_of(2));
            let scales = out.add(COLUMNS * words(depth) + column);
            let out = out.add(column * words(depth));
            for i in (0..width).step_by(2 * LANES) {
                pack_columns(panel.add(i), width, depth, scales.add(i), out.add(i));
            }
        }
        column += width;
    }
}

/// Eight columns of a panel of `width`.
unsafe fn pack_columns(panel: *const f32, width: usize, depth: usize, scales_out: *mut f32, out: *mut f32) {
    unsafe {
        let row = |d: usize| [load(panel.add(d * width)), load(panel.add(d * width + LANES))];
        let mut largest = [splat(0.0); 2];
        let mut squares = [splat(0.0); 2];
        for d in 0..depth {
            let x = row(d);
            for half in 0..2 {
                largest[half] = f32x4_pmax(largest[half], f32x4_abs(x[half]));
                squares[half] = fma(x[half], x[half], squares[half]);
            }
        }
        let of_halves = [0, 1].map(|half| scales(largest[half], squares[half], depth));
        let inverse = of_halves.map(|(inverse, _)| inverse);
        (0..2).for_each(|half| store(scales_out.add(half * LANES), of_halves[half].1));
        // A panel's depth is even; here it goes on in zeros to a multiple of four.
        let padded = depth.next_multiple_of(2);
        for d in (0..2 * words(depth)).step_by(2) {
            let [even, odd] = match d < padded {
                true => [quantize(row(d), inverse), quantize(row(d + 1), inverse)],
                false => [splat(0.0); 2],
            };
            let out = out.add(d / 2 * width);
            store(out, i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(even, odd));
            store(out.add(LANES), i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(even, odd));
        }
    }
}

/// A panel of B times the slivers of `rows`.
pub struct Panel {
    /// Rows of A, columns of C.
    pub m: usize,
    pub n: usize,
    pub depth: usize,
    /// Columns of the panel, and those of them that C has.
    pub width: usize,
    pub valid: usize,
    /// Whether the product is added to C or takes its place.
    pub accumulate: bool,
    /// As `pack_left` gives it.
    pub a: *const f32,
    pub b: *const f32,
    /// Of the panel's columns.
    pub scales: *const f32,
    /// At the panel's first column.
    pub c: *mut f32,
}

impl Panel {
    pub unsafe fn multiply(&self, rows: Range<usize>) {
        let words = words(self.depth);
        let mut row = rows.start;
        while row < rows.end {
            let height = tile_rows(self.m - row, INT16_ROWS);
            let mut sums = MaybeUninit::<[f32; INT16_ROWS * WIDE]>::uninit();
            let sums = sums.as_mut_ptr().cast::<f32>();
            unsafe {
                let tile = int16_tiles(self.width)[height - 1];
                tile(words, self.a.add(row * words), self.b, sums, self.width * 4);
                for i in 0..height {
                    let scale = v128_load32_splat(self.a.add(self.m * words + row + i).cast());
                    self.put(sums.add(i * self.width), scale, self.c.add((row + i) * self.n));
                }
            }
            row += height;
        }
    }

    /// Writes a row of sums, or adds it.
    #[inline(always)]
    unsafe fn put(&self, sums: *const f32, scale: v128, c: *mut f32) {
        unsafe {
            match (self.valid, self.accumulate) {
                (WIDE, false) => self.put_whole::<4>(sums, scale, c, |_| splat(0.0)),
                (WIDE, true) => self.put_whole::<4>(sums, scale, c, |held| load(held)),
                (NARROW, false) => self.put_whole::<2>(sums, scale, c, |_| splat(0.0)),
                (NARROW, true) => self.put_whole::<2>(sums, scale, c, |held| load(held)),
                _ => (0..self.valid).step_by(LANES).for_each(|j| {
                    let lanes = LANES.min(self.valid - j);
                    let held = if self.accumulate { load_upto(c.add(j), lanes) } else { splat(0.0) };
                    store_upto(c.add(j), Self::scaled(load(sums.add(j)), scale, load(self.scales.add(j)), held), lanes);
                }),
            }
        }
    }

    /// VECTORS of them, as the revectorizer pairs them.
    #[inline(always)]
    unsafe fn put_whole<const VECTORS: usize>(
        &self,
        sums: *const f32,
        scale: v128,
        c: *mut f32,
        held: impl Fn(*const f32) -> v128,
    ) {
        let [sums, scales, from, to] = [sums, self.scales, c, c].map(|p| opaque(p));
        unsafe {
            let y: [v128; VECTORS] = core::array::from_fn(|i| {
                let at = i * LANES;
                Self::scaled(load(sums.add(at)), scale, load(scales.add(at)), held(from.add(at)))
            });
            (0..VECTORS).for_each(|i| store(to.cast_mut().add(i * LANES), y[i]));
        }
    }

    /// sum·scale·scales + held.
    #[inline(always)]
    fn scaled(sum: v128, scale: v128, scales: v128, held: v128) -> v128 {
        fma(f32x4_mul(f32x4_convert_i32x4(sum), scale), scales, held)
    }
}

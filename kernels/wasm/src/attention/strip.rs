//! The pieces of a pass: blocks of scores, sums over lines, panels of columns. V is the number of vectors in a strip.

use core::arch::wasm32::*;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

use super::operand::{Heads, pack_columns};
use super::{BLOCK, CACHE_LINE, Shape, TILE};
use crate::gemm::pack::{Lines, transpose};
use crate::gemm::tile::{ROWS, WIDE, tiles};
use crate::simd::{LANES, fma, load, splat, store, store_part};

/// A value for each column.
pub type Columns<const V: usize> = [v128; V];

/// What a thread works in: the blocks of the widest strip, the panels and sums of a whole tile.
#[derive(Clone, Copy)]
pub struct Space {
    /// Two blocks `[BLOCK][columns]`.
    pub blocks: [*mut f32; 2],
    /// Two panels `[depth][columns]` a strip.
    pub panels: [*mut f32; 2],
    /// Two sums `[D][columns]` a strip.
    pub sums: [*mut f32; 2],
}

impl Space {
    /// Elements of a panel or a sum, with the rows that whole tiles and whole vectors touch behind D.
    fn columns(shape: &Shape) -> usize {
        TILE * (shape.tiled() + LANES)
    }

    pub fn size(shape: &Shape) -> usize {
        (2 * BLOCK * WIDE + 4 * Self::columns(shape)).next_multiple_of(CACHE_LINE)
    }

    pub fn new(shape: &Shape, at: *mut f32) -> Space {
        let columns = |i: usize| at.wrapping_add(2 * BLOCK * WIDE + i * Self::columns(shape));
        Space {
            blocks: [at, at.wrapping_add(BLOCK * WIDE)],
            panels: [columns(0), columns(1)],
            sums: [columns(2), columns(3)],
        }
    }
}

/// The revectorizer pairs vectors only if no store stands between their loads: the fence, which is no instruction, keeps
/// the compiler from moving loads behind stores that it knows to be elsewhere.
#[inline(always)]
pub unsafe fn load_columns<const V: usize>(p: *const f32) -> Columns<V> {
    let x = core::array::from_fn(|i| unsafe { load(p.add(i * LANES)) });
    compiler_fence(SeqCst);
    x
}

#[inline(always)]
pub unsafe fn store_columns<const V: usize>(p: *mut f32, x: Columns<V>) {
    (0..V).for_each(|i| unsafe { store(p.add(i * LANES), x[i]) });
}

/// Which columns are at or behind `first`.
#[inline(always)]
pub fn columns_from<const V: usize>(first: isize) -> Columns<V> {
    let first = i32x4_splat(first as i32);
    core::array::from_fn(|i| i32x4_ge(i32x4_add(i32x4(0, 1, 2, 3), i32x4_splat((i * LANES) as i32)), first))
}

/// e^x for x up to 88, in half the operations of `simd::exp`: exact at 0, beyond it no more than 2 ulp from what rounding
/// x costs anyway, and 0 where the result would be denormal. NaN stays NaN.
#[inline(always)]
pub fn exp(x: v128) -> v128 {
    /// Adding this rounds a small number to an integer, which the low bits of the sum then hold: 1.5·2²³.
    const ROUNDER: f32 = 12_582_912.0;
    let rounded = fma(x, splat(core::f32::consts::LOG2_E), splat(ROUNDER));
    let n = f32x4_sub(rounded, splat(ROUNDER));
    let r = fma(n, splat(-core::f32::consts::LN_2), x);
    let mut p = splat(0.001_393_5);
    for c in [0.008_336_72, 0.041_665_8, 0.166_666_57, 0.5, 1.0, 1.0] {
        p = fma(p, r, splat(c));
    }
    let power = i32x4_add(i32x4_shl(rounded, 23), splat(1.0));
    v128_andnot(f32x4_mul(p, power), f32x4_lt(x, splat(-87.0)))
}

/// Packs `count` rows from `row` on, times `factor`, as the columns of a panel `[depth][4·V]`, zeros in the others.
pub unsafe fn load_panel<const V: usize>(
    x: Heads,
    head: usize,
    row: usize,
    count: usize,
    factor: f32,
    panel: *mut f32,
) {
    let width = V * LANES;
    unsafe {
        if count < width {
            core::ptr::write_bytes(panel, 0, width * x.d.next_multiple_of(2));
        }
        for i in (0..count).step_by(LANES) {
            let lines = Lines { first: x.row(row + i, head).cast(), stride: 4 * x.stride() };
            pack_columns(lines, LANES.min(count - i), x.d, width, panel.add(i));
        }
        if factor != 1.0 {
            for element in 0..x.d {
                let p = panel.add(element * width);
                store_columns::<V>(p, load_columns::<V>(p).map(|x| f32x4_mul(x, splat(factor))));
            }
        }
    }
}

/// Writes the first `count` columns of `sum` `[d][4·V]`, times their factor, as rows that are `stride` elements apart.
pub unsafe fn store_rows<const V: usize>(
    sum: *const f32,
    factor: Columns<V>,
    d: usize,
    count: usize,
    out: *mut f32,
    stride: usize,
) {
    for element in (0..d).step_by(LANES) {
        for (i, factor) in factor.iter().enumerate().take(count.div_ceil(LANES)) {
            unsafe {
                let at = |e: usize| f32x4_mul(load(sum.add((element + e) * V * LANES + i * LANES)), *factor);
                let rows = transpose([at(0), at(1), at(2), at(3)]);
                for (row, x) in rows.into_iter().enumerate().take(count - i * LANES) {
                    let out = out.add((i * LANES + row) * stride + element);
                    match d - element {
                        1..LANES => store_part(out, x, d - element),
                        _ => store(out, x),
                    }
                }
            }
        }
    }
}

/// block[line][column] = line · column for `count` lines, in whole sixes. `lines` is packed along D.
#[inline(always)]
pub unsafe fn scores<const V: usize>(
    depth: usize,
    lines: *const f32,
    count: usize,
    panel: *const f32,
    block: *mut f32,
) {
    let width = V * LANES;
    let tile = tiles(width)[ROWS - 1][0];
    for line in (0..count).step_by(ROWS) {
        unsafe { tile(depth, lines.add(line * depth), panel, block.add(line * width), 4 * width) };
    }
}

/// sum[element][column] += Σ over `count` lines (even) of line[element] · block[line][column]. `lines` is packed across D,
/// six elements of which are `stride` elements from the next six.
#[inline(always)]
pub unsafe fn accumulate<const V: usize>(
    tiled: usize,
    lines: *const f32,
    stride: usize,
    count: usize,
    block: *const f32,
    sum: *mut f32,
) {
    let width = V * LANES;
    let tile = tiles(width)[ROWS - 1][1];
    for element in (0..tiled).step_by(ROWS) {
        let sliver = unsafe { lines.add(element / ROWS * stride) };
        unsafe { tile(count, sliver, block, sum.add(element * width), 4 * width) };
    }
}

/// A block of lines: those from `visible` on up to `end` count; `begin` is a multiple of six, and `even` their number for
/// products over lines.
pub struct Block {
    pub begin: usize,
    pub visible: usize,
    pub end: usize,
}

impl Block {
    /// What is left of it when the lines before `visible` do not count.
    pub fn from(&self, visible: usize) -> Option<Block> {
        let visible = visible.max(self.visible);
        (visible < self.end).then(|| Block { begin: visible / ROWS * ROWS, visible, end: self.end })
    }

    /// Lines for products over D.
    pub fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Lines for products over lines, whose depth is even.
    pub fn even(&self) -> usize {
        self.len().next_multiple_of(2)
    }

    /// Sets the lines of `[even][4·V]` that do not count to 0.
    #[inline(always)]
    pub unsafe fn clear_rest<const V: usize>(&self, block: *mut f32) {
        let width = V * LANES;
        unsafe {
            core::ptr::write_bytes(block, 0, (self.visible - self.begin) * width);
            core::ptr::write_bytes(block.add(self.len() * width), 0, (self.even() - self.len()) * width);
        }
    }
}

/// Cuts lines [from, to) into blocks.
pub fn blocks(from: usize, to: usize) -> impl Iterator<Item = Block> {
    let first = from / ROWS * ROWS;
    let last = if from < to { to } else { first };
    (first..last).step_by(BLOCK).map(move |begin| Block { begin, visible: begin.max(from), end: to.min(begin + BLOCK) })
}

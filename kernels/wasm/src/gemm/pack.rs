//! Packing: copying operands into the order in which the micro-kernels read them.
//!
//! A sliver or panel of `width` lines is stored as `[depth][width]`, depth rounded up to even with zeros. What runs along
//! the depth in memory (rows of A, rows of a weight W[N, K] in x·Wᵀ) is transposed on the way; what runs across it (Aᵀ,
//! W in g·W) is copied. Stored weights become f32 here, a part at a time, so that they need no f32 copy in memory.

use core::arch::wasm32::*;
use core::marker::PhantomData;

use super::tile::{NARROW, WIDE, panel_columns, tile_rows};
use crate::simd::{load, store};
use crate::weight::{Eight, F32, Weight, decode_group, partial_eight};

/// Columns of B that are packed at a time: a group of a quantised type in either direction.
pub const COLUMNS: usize = 32;

/// Stores the first COUNT lanes (all for COUNT ≥ 4).
#[inline(always)]
unsafe fn store_lanes<const COUNT: usize>(p: *mut f32, x: v128) {
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
    fn line(self, i: usize) -> *const u8 {
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

/// The left operand: f32 `[M, K]`, or `[K, M]` if transposed.
#[derive(Clone, Copy)]
pub struct Left {
    pub data: *const f32,
    pub m: usize,
    pub k: usize,
    pub transposed: bool,
}

impl Left {
    /// Packs depth `begin` … of the slivers that begin in `rows`; row i's sliver starts at `out[i * padded depth]`.
    pub unsafe fn pack(&self, rows: core::ops::Range<usize>, begin: usize, depth: usize, out: *mut f32) {
        let mut row = rows.start;
        while row < rows.end {
            let height = tile_rows(self.m - row);
            unsafe {
                let sliver = out.add(row * depth.next_multiple_of(2));
                match height {
                    1 => self.pack_sliver::<1, 0>(row, begin, depth, sliver),
                    2 => self.pack_sliver::<2, 0>(row, begin, depth, sliver),
                    3 => self.pack_sliver::<3, 0>(row, begin, depth, sliver),
                    4 => self.pack_sliver::<4, 0>(row, begin, depth, sliver),
                    5 => self.pack_sliver::<4, 1>(row, begin, depth, sliver),
                    _ => self.pack_sliver::<4, 2>(row, begin, depth, sliver),
                }
            }
            row += height;
        }
    }

    /// A sliver of HEAD + TAIL rows.
    unsafe fn pack_sliver<const HEAD: usize, const TAIL: usize>(
        &self,
        row: usize,
        begin: usize,
        depth: usize,
        out: *mut f32,
    ) {
        let width = HEAD + TAIL;
        let line = if self.transposed { self.m } else { self.k };
        unsafe {
            let first = if self.transposed { self.data.add(begin * line + row) } else { self.data.add(row * line) };
            let head = Lines { first: first.cast(), stride: 4 * line };
            let tail =
                Lines { first: first.wrapping_add(if self.transposed { HEAD } else { HEAD * line }).cast(), ..head };
            match self.transposed {
                true => pack_across::<HEAD>(head, depth, width, out),
                false => pack_along::<F32, HEAD>(head, begin, depth, width, out),
            }
            match (TAIL > 0, self.transposed) {
                (true, true) => pack_across::<TAIL>(tail, depth, width, out.add(HEAD)),
                (true, false) => pack_along::<F32, TAIL>(tail, begin, depth, width, out.add(HEAD)),
                (false, _) => (),
            }
        }
    }
}

/// The right operand B `[K, N]`, packed 32 columns at a time.
pub trait Right {
    /// Packs depth `begin` … of at most COLUMNS columns from `column` into panels as `panel_columns` divides them, zeros
    /// in the last panel's missing columns; the panel of column j starts at `out[(j - column) * padded depth]`.
    unsafe fn pack(&self, columns: core::ops::Range<usize>, begin: usize, depth: usize, wide: bool, out: *mut f32);
}

/// B = Wᵀ: rows of W[N, K] run along the depth.
pub struct RowsAlongDepth<W> {
    lines: Lines,
    weight: PhantomData<W>,
}

/// B = W[K, N]: rows of W run across the depth.
pub struct RowsAcrossDepth<W> {
    lines: Lines,
    weight: PhantomData<W>,
}

impl<W: Weight> RowsAlongDepth<W> {
    pub fn new(weight: *const u8, k: usize) -> Self {
        Self { lines: Lines { first: weight, stride: W::row_bytes(k) }, weight: PhantomData }
    }
}

impl<W: Weight> RowsAcrossDepth<W> {
    pub fn new(weight: *const u8, n: usize) -> Self {
        Self { lines: Lines { first: weight, stride: W::row_bytes(n) }, weight: PhantomData }
    }
}

impl<W: Weight> Right for RowsAlongDepth<W> {
    unsafe fn pack(&self, columns: core::ops::Range<usize>, begin: usize, depth: usize, wide: bool, out: *mut f32) {
        let mut column = columns.start;
        while column < columns.end {
            let left = columns.end - column;
            let width = panel_columns(wide, left);
            let panel = out.wrapping_add((column - columns.start) * depth.next_multiple_of(2));
            unsafe {
                match width {
                    WIDE => self.pack_panel::<WIDE>(column, left, begin, depth, panel),
                    _ => self.pack_panel::<NARROW>(column, left, begin, depth, panel),
                }
            }
            column += width;
        }
    }
}

impl<W: Weight> RowsAlongDepth<W> {
    /// The panel of WIDTH columns from `column`, of which `left` remain.
    unsafe fn pack_panel<const WIDTH: usize>(
        &self,
        column: usize,
        left: usize,
        begin: usize,
        depth: usize,
        out: *mut f32,
    ) {
        unsafe {
            if left < WIDTH {
                out.write_bytes(0, WIDTH * depth.next_multiple_of(2));
            }
            for i in (0..left.min(WIDTH)).step_by(4) {
                let (lines, out) = (Lines { first: self.lines.line(column + i), ..self.lines }, out.add(i));
                match left - i {
                    1 => pack_along::<W, 1>(lines, begin, depth, WIDTH, out),
                    2 => pack_along::<W, 2>(lines, begin, depth, WIDTH, out),
                    3 => pack_along::<W, 3>(lines, begin, depth, WIDTH, out),
                    _ => pack_along::<W, 4>(lines, begin, depth, WIDTH, out),
                }
            }
        }
    }
}

impl<W: Weight> Right for RowsAcrossDepth<W> {
    unsafe fn pack(&self, columns: core::ops::Range<usize>, begin: usize, depth: usize, wide: bool, out: *mut f32) {
        unsafe {
            match (columns.len(), wide) {
                (COLUMNS, true) => self.pack_whole::<WIDE>(columns.start, begin, depth, out),
                (COLUMNS, false) => self.pack_whole::<NARROW>(columns.start, begin, depth, out),
                _ => self.pack_edge(columns, begin, depth, wide, out),
            }
        }
    }
}

impl<W: Weight> RowsAcrossDepth<W> {
    /// COLUMNS columns.
    unsafe fn pack_whole<const WIDTH: usize>(&self, column: usize, begin: usize, depth: usize, out: *mut f32) {
        let padded = depth.next_multiple_of(2);
        let put = |i: usize, d: usize, x: Eight| unsafe {
            let p = out.add(i / WIDTH * WIDTH * padded + d * WIDTH + i % WIDTH);
            store(p, x[0]);
            store(p.add(4), x[1]);
        };
        for d in 0..depth {
            let row = [self.lines.line(begin + d)];
            for i in (0..COLUMNS).step_by(W::GROUP) {
                unsafe { decode_group::<W, 1>(row, (column + i) / W::GROUP, |e, x| put(i + e, d, x[0])) };
            }
        }
        if padded > depth {
            (0..COLUMNS).step_by(8).for_each(|i| put(i, depth, [f32x4_splat(0.0); 2]));
        }
    }

    /// The last columns, fewer than COLUMNS, of plain floats: K of a quantised W is a multiple of COLUMNS.
    unsafe fn pack_edge(
        &self,
        columns: core::ops::Range<usize>,
        begin: usize,
        depth: usize,
        wide: bool,
        out: *mut f32,
    ) {
        let padded = depth.next_multiple_of(2);
        let mut panel = columns.start;
        while panel < columns.end {
            let width = panel_columns(wide, columns.end - panel);
            for column in (panel..panel + width).step_by(8) {
                for d in 0..padded {
                    let row = self.lines.line(begin + d);
                    let x = unsafe {
                        match columns.end.saturating_sub(column) {
                            left if d < depth && left >= 8 => W::eight::<0>(row, column / 8, W::scale(row, column / 8)),
                            left if d < depth => partial_eight::<W>(row, column, left),
                            _ => [f32x4_splat(0.0); 2],
                        }
                    };
                    unsafe {
                        let p = out.add((panel - columns.start) * padded + d * width + column - panel);
                        store(p, x[0]);
                        store(p.add(4), x[1]);
                    }
                }
            }
            panel += width;
        }
    }
}

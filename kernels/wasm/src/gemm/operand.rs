//! The operands of a product and how their slivers and panels are packed.

use core::arch::wasm32::f32x4_splat;
use core::marker::PhantomData;

use super::pack::{Lines, pack_across, pack_along};
use super::tile::{NARROW, ROWS, WIDE, panel_columns, tile_rows};
use crate::simd::store;
use crate::weight::{Eight, F32, Weight, decode_group, partial_eight};

/// Columns of B that are packed at a time: a group of a quantised type in either direction.
pub const COLUMNS: usize = 32;

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
            let height = tile_rows(self.m - row, ROWS);
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

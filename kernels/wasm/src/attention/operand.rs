//! What the passes read: heads of q, k, v and g, and how they are packed for the micro-kernels.

use core::ops::Range;

use super::CACHE_LINE;
use crate::gemm::pack::{Lines, pack_across, pack_along};
use crate::gemm::tile::ROWS;
use crate::weight::F32;

/// `[rows, heads, d]` of which one head is an operand.
#[derive(Clone, Copy)]
pub struct Heads {
    pub data: *const f32,
    pub rows: usize,
    pub heads: usize,
    pub d: usize,
}

impl Heads {
    pub fn stride(&self) -> usize {
        self.heads * self.d
    }

    /// Row `row` of head `head`.
    pub fn row(&self, row: usize, head: usize) -> *const f32 {
        self.data.wrapping_add(row * self.stride() + head * self.d)
    }
}

/// How the lines of a matrix are packed; missing lines and elements are 0.
#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    /// For scores: per 6 lines `[depth of D][6]`.
    Along,
    /// For sums over lines: per 6 elements of D `[lines, whole sixes][6]`.
    Across,
}

/// A matrix that a pass packs.
#[derive(Clone, Copy)]
pub struct Operand {
    pub x: Heads,
    pub order: Order,
}

impl Operand {
    /// Lines with those that fill the last six.
    pub fn lines(&self) -> usize {
        self.x.rows.next_multiple_of(ROWS)
    }

    /// Elements of a packed head.
    pub fn size(&self) -> usize {
        let width =
            if self.order == Order::Along { self.x.d.next_multiple_of(2) } else { self.x.d.next_multiple_of(ROWS) };
        (self.lines() * width).next_multiple_of(CACHE_LINE)
    }

    /// Packs lines that begin at a multiple of six.
    pub unsafe fn pack(&self, head: usize, lines: Range<usize>, out: *mut f32) {
        let Operand { x, order } = *self;
        let stride = 4 * x.stride();
        let at = |line: usize, element: usize| Lines { first: x.row(line, head).wrapping_add(element).cast(), stride };
        unsafe {
            match order {
                Order::Along => {
                    let depth = x.d.next_multiple_of(2);
                    for line in lines.step_by(ROWS) {
                        let sliver = out.add(line * depth);
                        let count = ROWS.min(x.rows - line);
                        if count < ROWS {
                            core::ptr::write_bytes(sliver, 0, ROWS * depth);
                        }
                        pack_columns(at(line, 0), count.min(4), x.d, ROWS, sliver);
                        if count > 4 {
                            pack_columns(at(line + 4, 0), count - 4, x.d, ROWS, sliver.add(4));
                        }
                    }
                }
                Order::Across => {
                    let count = lines.len();
                    let filled = count.next_multiple_of(ROWS);
                    for element in (0..x.d).step_by(ROWS) {
                        let sliver = out.add(element * self.lines() + lines.start * ROWS);
                        let width = x.d - element;
                        if width < ROWS {
                            core::ptr::write_bytes(sliver, 0, filled * ROWS);
                        } else {
                            core::ptr::write_bytes(sliver.add(count * ROWS), 0, (filled - count) * ROWS);
                        }
                        copy_columns(at(lines.start, element), width.min(4), count, sliver);
                        if width > 4 {
                            copy_columns(at(lines.start, element + 4), width.min(ROWS) - 4, count, sliver.add(4));
                        }
                    }
                }
            }
        }
    }
}

/// Transposes `count` ≤ 4 lines of `depth` elements into columns of `[depth][width]`.
pub unsafe fn pack_columns(lines: Lines, count: usize, depth: usize, width: usize, out: *mut f32) {
    unsafe {
        match count {
            0 => (),
            1 => pack_along::<F32, 1>(lines, 0, depth, width, out),
            2 => pack_along::<F32, 2>(lines, 0, depth, width, out),
            3 => pack_along::<F32, 3>(lines, 0, depth, width, out),
            _ => pack_along::<F32, 4>(lines, 0, depth, width, out),
        }
    }
}

/// Copies `width` ≤ 4 elements of each line into `[count][6]`.
unsafe fn copy_columns(lines: Lines, width: usize, count: usize, out: *mut f32) {
    unsafe {
        match width {
            1 => pack_across::<1>(lines, count, ROWS, out),
            2 => pack_across::<2>(lines, count, ROWS, out),
            3 => pack_across::<3>(lines, count, ROWS, out),
            _ => pack_across::<4>(lines, count, ROWS, out),
        }
    }
}

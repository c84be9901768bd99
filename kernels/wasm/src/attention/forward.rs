//! o = softmax(scale·q·kᵀ)·v and the log-sum-exp of every row. Columns are queries, lines are keys; a running maximum lets
//! the softmax be taken block by block.

use core::arch::wasm32::*;

use super::operand::{Heads, Operand, Order};
use super::strip::{
    Block, Columns, Space, accumulate, blocks, columns_from, exp, load_columns, load_panel, scores, store_columns,
    store_rows,
};
use super::{Pass, Shape, direct, packed};
use crate::gemm::tile::ROWS;
use crate::simd::{LANES, splat};
use crate::table::Job;

/// buffers: o, lse, q, k, v, queryTiles, keySpans. floats: scale.
pub struct Forward;

/// Rows of the plan's queryTiles: first query, count, key row of the first query, first span, number of spans.
pub unsafe fn query_tile(tiles: *const i32, i: usize) -> [usize; 5] {
    core::array::from_fn(|field| unsafe { *tiles.add(5 * i + field) as usize })
}

/// The part of key span `i` that is at or before key row `last`.
pub unsafe fn key_span(spans: *const i32, i: usize, last: usize) -> (usize, usize) {
    let (begin, end) = unsafe { (*spans.add(2 * i) as usize, *spans.add(2 * i + 1) as usize) };
    (begin, end.min(last + 1))
}

impl Forward {
    fn query(job: &Job, shape: &Shape) -> Heads {
        Heads { data: job.buffer(2), rows: shape.queries, heads: shape.heads, d: shape.d }
    }
}

impl Pass for Forward {
    const OPERANDS: usize = 2;

    fn operand(job: &Job, i: usize) -> Operand {
        let Shape { keys, kv_heads, d, .. } = Shape::of(job);
        let x = Heads { data: job.buffer(3 + i), rows: keys, heads: kv_heads, d };
        Operand { x, order: [Order::Along, Order::Across][i] }
    }

    fn tile_heads(shape: &Shape) -> usize {
        shape.heads
    }

    fn direct(shape: &Shape) -> bool {
        shape.queries <= direct::MAX_QUERIES * shape.tiles
    }

    unsafe fn tile_direct(job: &Job, tile: usize, head: usize, space: Space) {
        let shape = Shape::of(job);
        let [first, count, row, span, spans] = unsafe { query_tile(job.buffer(5), tile) };
        let key = |i: usize| Self::operand(job, i).x;
        for i in 0..count {
            let visible = (span..span + spans).map(|s| unsafe { key_span(job.buffer(6), s, row + i) });
            let at = (first + i) * shape.heads + head;
            unsafe {
                let o = job.buffer::<f32>(0).add(at * shape.d);
                let q = Self::query(job, &shape).row(first + i, head);
                let (k, v) = (key(0), key(1));
                *job.buffer::<f32>(1).add(at) =
                    direct::query(q, k, v, head / shape.group(), visible, job.floats[0], o, space);
            }
        }
    }

    unsafe fn tile<const V: usize>(job: &Job, tile: usize, head: usize, space: Space) {
        let shape = Shape::of(job);
        let width = V * LANES;
        unsafe {
            let [first, count, row, span, spans] = query_tile(job.buffer(5), tile);
            let kv_head = head / shape.group();
            let (k, v) = (packed::<Self>(job, 0, kv_head), packed::<Self>(job, 1, kv_head));
            let stride = Self::operand(job, 1).lines() * ROWS;
            for column in (0..count).step_by(width) {
                let (first, row, count) = (first + column, row + column, width.min(count - column));
                load_panel::<V>(Self::query(job, &shape), head, first, count, job.floats[0], space.panels[0]);
                let mut softmax = Softmax::<V>::new(shape.tiled(), space);
                for s in span..span + spans {
                    let (begin, end) = key_span(job.buffer(6), s, row + count - 1);
                    for block in blocks(begin, end) {
                        let lines = k.add(block.begin * shape.depth());
                        scores::<V>(shape.depth(), lines, block.len(), space.panels[0], space.blocks[0]);
                        softmax.block(&block, row);
                        let lines = v.add(block.begin * ROWS);
                        accumulate::<V>(shape.tiled(), lines, stride, block.even(), space.blocks[0], space.sums[0]);
                    }
                }
                let at = first * shape.heads + head;
                let o = job.buffer::<f32>(0).add(at * shape.d);
                softmax.finish(shape.d, count, o, job.buffer::<f32>(1).add(at), shape.heads);
            }
        }
    }
}

/// The running softmax of a strip: its weights are relative to the largest score so far.
struct Softmax<const V: usize> {
    tiled: usize,
    max: Columns<V>,
    total: Columns<V>,
    weights: *mut f32,
    sums: *mut f32,
}

impl<const V: usize> Softmax<V> {
    unsafe fn new(tiled: usize, space: Space) -> Self {
        unsafe { core::ptr::write_bytes(space.sums[0], 0, tiled * V * LANES) };
        let [max, total] = [f32::NEG_INFINITY, 0.0].map(|x| [splat(x); V]);
        Softmax { tiled, max, total, weights: space.blocks[0], sums: space.sums[0] }
    }

    /// Turns the scores of a block into weights; column 0 is the query at key row `row`.
    #[inline(always)]
    unsafe fn block(&mut self, block: &Block, row: usize) {
        let width = V * LANES;
        let line = |line: usize| self.weights.wrapping_add((line - block.begin) * width);
        // Keys that every column sees, then those that only later columns do.
        let whole = (row + 1).clamp(block.visible, block.end);
        let mut max = self.max;
        unsafe {
            for key in block.visible..whole {
                let s = load_columns::<V>(line(key));
                (0..V).for_each(|i| max[i] = f32x4_pmax(max[i], s[i]));
            }
            for key in whole..block.end {
                let (s, visible) = (load_columns::<V>(line(key)), columns_from::<V>(key as isize - row as isize));
                for i in 0..V {
                    max[i] = v128_bitselect(f32x4_pmax(max[i], s[i]), max[i], visible[i]);
                }
            }
            let shrink: Columns<V> = core::array::from_fn(|i| exp(f32x4_sub(self.max[i], max[i])));
            let mut total: Columns<V> = core::array::from_fn(|i| f32x4_mul(self.total[i], shrink[i]));
            for element in 0..self.tiled {
                let p = self.sums.add(element * width);
                let sum = load_columns::<V>(p);
                store_columns::<V>(p, core::array::from_fn(|i| f32x4_mul(sum[i], shrink[i])));
            }
            let weight = |key: usize, max: &Columns<V>| -> Columns<V> {
                let s = load_columns::<V>(line(key));
                core::array::from_fn(|i| exp(f32x4_sub(s[i], max[i])))
            };
            for key in block.visible..whole {
                let p = weight(key, &max);
                (0..V).for_each(|i| total[i] = f32x4_add(total[i], p[i]));
                store_columns::<V>(line(key), p);
            }
            for key in whole..block.end {
                let (p, visible) = (weight(key, &max), columns_from::<V>(key as isize - row as isize));
                let p: Columns<V> = core::array::from_fn(|i| v128_and(p[i], visible[i]));
                (0..V).for_each(|i| total[i] = f32x4_add(total[i], p[i]));
                store_columns::<V>(line(key), p);
            }
            block.clear_rest::<V>(self.weights);
            self.max = max;
            self.total = total;
        }
    }

    /// Writes o of `count` queries and their log-sum-exps, both with `heads` rows from one query to the next.
    unsafe fn finish(&self, d: usize, count: usize, o: *mut f32, lse: *mut f32, heads: usize) {
        let factor = core::array::from_fn(|i| f32x4_div(splat(1.0), self.total[i]));
        let (mut max, mut total) = ([0f32; 16], [0f32; 16]);
        unsafe {
            store_rows::<V>(self.sums, factor, d, count, o, heads * d);
            store_columns::<V>(max.as_mut_ptr(), self.max);
            store_columns::<V>(total.as_mut_ptr(), self.total);
            (0..count).for_each(|i| *lse.add(i * heads) = max[i] + total[i].ln());
        }
    }
}

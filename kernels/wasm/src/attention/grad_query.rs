//! dq = scale·dS·k. Columns are queries, lines are keys.

use core::arch::wasm32::*;

use super::backward::{deltas, deltas_size, grad_scores, like_key, like_query};
use super::forward::{key_span, query_tile};
use super::operand::{Operand, Order};
use super::strip::{
    Space, accumulate, blocks, columns_from, load_columns, load_panel, scores, store_columns, store_rows,
};
use super::{Pass, Shape, packed};
use crate::gemm::tile::ROWS;
use crate::simd::{LANES, splat};
use crate::table::Job;

/// buffers: dq, g, q, k, v, o, lse, queryTiles, keySpans. floats: scale.
pub struct GradQuery;

impl Pass for GradQuery {
    const OPERANDS: usize = 3;

    fn operand(job: &Job, i: usize) -> Operand {
        let (buffer, order) = [(3, Order::Along), (4, Order::Along), (3, Order::Across)][i];
        Operand { x: like_key(job, buffer), order }
    }

    fn shared(job: &Job) -> usize {
        deltas_size(job)
    }

    fn tile_heads(shape: &Shape) -> usize {
        shape.heads
    }

    unsafe fn tile<const V: usize>(job: &Job, tile: usize, head: usize, space: Space) {
        let shape = Shape::of(job);
        let width = V * LANES;
        let scale = splat(job.floats[0]);
        let [s, dp] = space.blocks;
        unsafe {
            let [first, count, row, span, spans] = query_tile(job.buffer(7), tile);
            let [k, v, k_across] = core::array::from_fn(|i| packed::<Self>(job, i, head / shape.group()));
            let stride = Self::operand(job, 2).lines() * ROWS;
            for column in (0..count).step_by(width) {
                let (first, row, count) = (first + column, row + column, width.min(count - column));
                load_panel::<V>(like_query(job, 2), head, first, count, job.floats[0], space.panels[0]);
                load_panel::<V>(like_query(job, 1), head, first, count, 1.0, space.panels[1]);
                core::ptr::write_bytes(space.sums[0], 0, shape.tiled() * width);
                let [delta, lse] = deltas::<Self>(job, head).map(|x| load_columns::<V>(x.add(first)));
                for span in span..span + spans {
                    let (begin, end) = key_span(job.buffer(8), span, row + count - 1);
                    for block in blocks(begin, end) {
                        let at = block.begin * shape.depth();
                        scores::<V>(shape.depth(), k.add(at), block.len(), space.panels[0], s);
                        scores::<V>(shape.depth(), v.add(at), block.len(), space.panels[1], dp);
                        let line = |key: usize| (key - block.begin) * width;
                        let ds = |key: usize| {
                            grad_scores(load_columns(s.add(line(key))), load_columns(dp.add(line(key))), lse, delta).1
                        };
                        // Keys that every column sees, then those that only later columns do.
                        let whole = (row + 1).clamp(block.visible, block.end);
                        for key in block.visible..whole {
                            store_columns::<V>(s.add(line(key)), ds(key));
                        }
                        for key in whole..block.end {
                            let (ds, visible) = (ds(key), columns_from::<V>(key as isize - row as isize));
                            store_columns::<V>(s.add(line(key)), core::array::from_fn(|i| v128_and(ds[i], visible[i])));
                        }
                        block.clear_rest::<V>(s);
                        let lines = k_across.add(block.begin * ROWS);
                        accumulate::<V>(shape.tiled(), lines, stride, block.even(), s, space.sums[0]);
                    }
                }
                let dq = job.buffer::<f32>(0).add((first * shape.heads + head) * shape.d);
                store_rows::<V>(space.sums[0], [scale; V], shape.d, count, dq, shape.heads * shape.d);
            }
        }
    }
}

//! dk = scale·dSᵀ·q and dv = Pᵀ·g, summed over the heads that share a key head. Columns are keys, lines are queries.

use core::arch::wasm32::*;
use core::ops::Range;

use super::backward::{deltas, deltas_size, grad_scores, like_key, like_query};
use super::operand::{Operand, Order};
use super::strip::{
    Block, Space, accumulate, blocks, columns_from, load_columns, load_panel, scores, store_columns, store_rows,
};
use super::{Pass, Shape, TILE, packed};
use crate::gemm::tile::ROWS;
use crate::simd::{LANES, splat};
use crate::table::Job;

/// buffers: dk and dv `[2, key_rows, kv_heads, d]`, g, q, k, v, o, lse, keyTiles, querySpans. floats: scale.
pub struct GradKeyValue;

/// Strips of a tile, at most.
const MAX_STRIPS: usize = TILE / (2 * LANES);

/// Sets the rows of dk and dv to 0 that no key tile covers: a cache's unused ones, few or none where gradients are asked.
pub unsafe fn clear_unused(job: &Job, _chunk: usize, _thread: usize) {
    let Shape { key_rows, kv_heads, d, keys, .. } = Shape::of(job);
    for half in 0..2 {
        let first = (half * key_rows + keys) * kv_heads * d;
        unsafe { core::ptr::write_bytes(job.buffer::<f32>(0).add(first), 0, (key_rows - keys) * kv_heads * d) };
    }
}

impl Pass for GradKeyValue {
    const OPERANDS: usize = 4;

    fn operand(job: &Job, i: usize) -> Operand {
        let (buffer, order) = [(2, Order::Along), (1, Order::Along), (2, Order::Across), (1, Order::Across)][i];
        Operand { x: like_query(job, buffer), order }
    }

    fn shared(job: &Job) -> usize {
        deltas_size(job)
    }

    fn tile_heads(shape: &Shape) -> usize {
        shape.kv_heads
    }

    unsafe fn tile<const V: usize>(job: &Job, tile: usize, kv_head: usize, space: Space) {
        let shape = Shape::of(job);
        let width = V * LANES;
        unsafe {
            let [first, count, span, spans] =
                core::array::from_fn(|field| *job.buffer::<i32>(7).add(4 * tile + field) as usize);
            let keys = first..first + count;
            let strips: [KeyStrip<V>; MAX_STRIPS] =
                core::array::from_fn(|i| KeyStrip::new(&shape, first + i * width, i, space));
            let strips = &strips[..count.div_ceil(width)];
            strips.iter().for_each(|strip| strip.load(job, &shape, kv_head, &keys));
            for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
                for span in span..span + spans {
                    let [q0, q1, row] =
                        core::array::from_fn(|field| *job.buffer::<i32>(8).add(3 * span + field) as usize);
                    // Query q is at key row q + row - q0: the first that sees the first key.
                    for block in blocks(q0 + first.saturating_sub(row), q1) {
                        strips.iter().for_each(|strip| strip.add(job, &shape, head, &block, q0, row, space.blocks));
                    }
                }
            }
            strips.iter().for_each(|strip| strip.store(job, &shape, kv_head, &keys));
        }
    }
}

/// A strip of keys. All strips of a tile go past a block of queries while it is in the cache.
#[derive(Clone, Copy)]
struct KeyStrip<const V: usize> {
    first: usize,
    /// k, times the scale, and v: `[depth][4·V]`.
    panels: [*mut f32; 2],
    /// dk, without the scale, and dv: `[D][4·V]`.
    sums: [*mut f32; 2],
}

impl<const V: usize> KeyStrip<V> {
    const WIDTH: usize = V * LANES;

    fn new(shape: &Shape, first: usize, i: usize, space: Space) -> Self {
        KeyStrip {
            first,
            panels: space.panels.map(|panel| panel.wrapping_add(i * shape.depth() * Self::WIDTH)),
            sums: space.sums.map(|sum| sum.wrapping_add(i * shape.tiled() * Self::WIDTH)),
        }
    }

    /// How many of the tile's keys are in this strip.
    fn count(&self, keys: &Range<usize>) -> usize {
        Self::WIDTH.min(keys.end - self.first)
    }

    unsafe fn load(&self, job: &Job, shape: &Shape, kv_head: usize, keys: &Range<usize>) {
        for (i, factor) in [job.floats[0], 1.0].into_iter().enumerate() {
            unsafe {
                load_panel::<V>(like_key(job, 3 + i), kv_head, self.first, self.count(keys), factor, self.panels[i]);
                core::ptr::write_bytes(self.sums[i], 0, shape.tiled() * Self::WIDTH);
            }
        }
    }

    unsafe fn store(&self, job: &Job, shape: &Shape, kv_head: usize, keys: &Range<usize>) {
        for (half, factor) in [job.floats[0], 1.0].into_iter().enumerate() {
            let row = half * shape.key_rows + self.first;
            let stride = shape.kv_heads * shape.d;
            unsafe {
                let out = job.buffer::<f32>(0).add(row * stride + kv_head * shape.d);
                store_rows::<V>(self.sums[half], [splat(factor); V], shape.d, self.count(keys), out, stride);
            }
        }
    }

    /// Adds what a block of a head's queries contributes; query q0 is at key row `row`.
    #[inline(always)]
    unsafe fn add(
        &self,
        job: &Job,
        shape: &Shape,
        head: usize,
        block: &Block,
        q0: usize,
        row: usize,
        [s, dp]: [*mut f32; 2],
    ) {
        let Some(block) = block.from(q0 + self.first.saturating_sub(row)) else { return };
        let stride = GradKeyValue::operand(job, 2).lines() * ROWS;
        let [q, g, q_across, g_across] = core::array::from_fn(|i| packed::<GradKeyValue>(job, i, head));
        let [deltas, lses] = deltas::<GradKeyValue>(job, head);
        unsafe {
            let at = block.begin * shape.depth();
            scores::<V>(shape.depth(), q.add(at), block.len(), self.panels[0], s);
            scores::<V>(shape.depth(), g.add(at), block.len(), self.panels[1], dp);
            let line = |query: usize| (query - block.begin) * Self::WIDTH;
            let p_and_ds = |query: usize| {
                let [lse, delta] = [lses, deltas].map(|x| [v128_load32_splat(x.add(query).cast()); V]);
                grad_scores(load_columns::<V>(s.add(line(query))), load_columns(dp.add(line(query))), lse, delta)
            };
            // Queries that do not see the last columns yet, then those that see all.
            let whole = (q0 + (self.first + Self::WIDTH - 1).saturating_sub(row)).clamp(block.visible, block.end);
            for query in block.visible..whole {
                let (p, ds) = p_and_ds(query);
                let hidden = columns_from::<V>((row + query - q0 + 1) as isize - self.first as isize);
                store_columns::<V>(s.add(line(query)), core::array::from_fn(|i| v128_andnot(p[i], hidden[i])));
                store_columns::<V>(dp.add(line(query)), core::array::from_fn(|i| v128_andnot(ds[i], hidden[i])));
            }
            for query in whole..block.end {
                let (p, ds) = p_and_ds(query);
                store_columns::<V>(s.add(line(query)), p);
                store_columns::<V>(dp.add(line(query)), ds);
            }
            block.clear_rest::<V>(s);
            block.clear_rest::<V>(dp);
            let at = block.begin * ROWS;
            accumulate::<V>(shape.tiled(), q_across.add(at), stride, block.even(), dp, self.sums[0]);
            accumulate::<V>(shape.tiled(), g_across.add(at), stride, block.even(), s, self.sums[1]);
        }
    }
}

//! The gradients of attention. P is computed again from the scores and the log-sum-exps; dS = P ⊙ (g·vᵀ − rowsum(g ⊙ o)).

use core::arch::wasm32::*;
use core::ops::Range;

use super::forward::{key_span, query_tile};
use super::strip::{
    Block, Columns, Space, accumulate, blocks, columns_from, exp, load_columns, load_panel, scores, store_columns,
    store_rows,
};
use super::{CACHE_LINE, Heads, Operand, Order, Pass, Shape, TILE, packed, shared};
use crate::gemm::tile::{ROWS, WIDE};
use crate::simd::{LANES, fma, horizontal_sum, load, load_part, splat};
use crate::table::Job;

/// dq = scale·dS·k. Columns are queries, lines are keys.
/// buffers: dq, g, q, k, v, o, lse, queryTiles, keySpans. floats: scale.
pub struct GradQuery;

/// dk = scale·dSᵀ·q and dv = Pᵀ·g, summed over the heads that share a key head, stacked `[2, key_rows, kv_heads, d]`.
/// Columns are keys, lines are queries.
/// buffers: dk and dv, g, q, k, v, o, lse, keyTiles, querySpans. floats: scale.
pub struct GradKeyValue;

/// Buffer `i` that is shaped like q or like k.
fn like_query(job: &Job, i: usize) -> Heads {
    let Shape { queries, heads, d, .. } = Shape::of(job);
    Heads { data: job.buffer(i), rows: queries, heads, d }
}

fn like_key(job: &Job, i: usize) -> Heads {
    let Shape { keys, kv_heads, d, .. } = Shape::of(job);
    Heads { data: job.buffer(i), rows: keys, heads: kv_heads, d }
}

/// Queries that are summed in a chunk.
const SUM_QUERIES: usize = 64;

/// Elements of one number a head and query, and what a strip reads behind them.
fn per_query(shape: &Shape) -> usize {
    (shape.heads * shape.queries + WIDE).next_multiple_of(CACHE_LINE)
}

/// Elements for the row sums of g ⊙ o and the log-sum-exps, both `[heads, queries]`.
fn sums_size(job: &Job) -> usize {
    2 * per_query(&Shape::of(job))
}

/// Where the row sums and the log-sum-exps of a head are.
fn sums_of<P: Pass>(job: &Job, head: usize) -> (*mut f32, *mut f32) {
    let shape = Shape::of(job);
    let sums = shared::<P>(job).wrapping_add(head * shape.queries);
    (sums, sums.wrapping_add(per_query(&shape)))
}

pub fn sum_chunks(job: &Job) -> usize {
    Shape::of(job).queries.div_ceil(SUM_QUERIES)
}

pub unsafe fn sums<P: Pass>(job: &Job, chunk: usize, _thread: usize) {
    let shape = Shape::of(job);
    let (g, o) = (like_query(job, 1), like_query(job, 5));
    for query in chunk * SUM_QUERIES..shape.queries.min((chunk + 1) * SUM_QUERIES) {
        for head in 0..shape.heads {
            let (sums, lses) = sums_of::<P>(job, head);
            unsafe {
                *sums.add(query) = dot(g.row(query, head), o.row(query, head), shape.d);
                *lses.add(query) = *job.buffer::<f32>(6).add(query * shape.heads + head);
            }
        }
    }
}

unsafe fn dot(a: *const f32, b: *const f32, d: usize) -> f32 {
    let whole = d / LANES * LANES;
    let mut sum = splat(0.0);
    unsafe {
        for i in (0..whole).step_by(LANES) {
            sum = fma(load(a.add(i)), load(b.add(i)), sum);
        }
        sum = fma(load_part(a.add(whole), d - whole), load_part(b.add(whole), d - whole), sum);
    }
    horizontal_sum(sum)
}

impl Pass for GradQuery {
    const OPERANDS: usize = 3;

    fn operand(job: &Job, i: usize) -> Operand {
        let (buffer, order) = [(3, Order::Along), (4, Order::Along), (3, Order::Across)][i];
        Operand { x: like_key(job, buffer), order }
    }

    fn shared(job: &Job) -> usize {
        sums_size(job)
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
                let (sums, lses) = sums_of::<Self>(job, head);
                let (sums, lses) = (load_columns::<V>(sums.add(first)), load_columns::<V>(lses.add(first)));
                for span in span..span + spans {
                    let (begin, end) = key_span(job.buffer(8), span, row + count - 1);
                    for block in blocks(begin, end) {
                        let at = block.begin * shape.depth();
                        scores::<V>(shape.depth(), k.add(at), block.len(), space.panels[0], s);
                        scores::<V>(shape.depth(), v.add(at), block.len(), space.panels[1], dp);
                        let line = |key: usize| (key - block.begin) * width;
                        let ds = |key: usize| {
                            grad_scores(load_columns(s.add(line(key))), load_columns(dp.add(line(key))), lses, sums).1
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

/// P and dS of a line.
#[inline(always)]
fn grad_scores<const V: usize>(
    s: Columns<V>,
    dp: Columns<V>,
    lses: Columns<V>,
    sums: Columns<V>,
) -> (Columns<V>, Columns<V>) {
    let p: Columns<V> = core::array::from_fn(|i| exp(f32x4_sub(s[i], lses[i])));
    (p, core::array::from_fn(|i| f32x4_mul(p[i], f32x4_sub(dp[i], sums[i]))))
}

/// Rows of dk and dv that no key tile covers are few or none: they are unused rows of a cache.
pub fn clear_chunks(_: &Job) -> usize {
    1
}

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
        sums_size(job)
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
            let mut strips: [KeyStrip<V>; MAX_STRIPS] =
                core::array::from_fn(|i| KeyStrip::new(&shape, first + i * width, i, space));
            let strips = &mut strips[..count.div_ceil(width)];
            for strip in strips.iter_mut() {
                strip.load(job, &shape, kv_head, &keys);
            }
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

/// Strips of a tile, at most.
const MAX_STRIPS: usize = TILE / (2 * LANES);

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
        let (sums, lses) = sums_of::<GradKeyValue>(job, head);
        unsafe {
            let at = block.begin * shape.depth();
            scores::<V>(shape.depth(), q.add(at), block.len(), self.panels[0], s);
            scores::<V>(shape.depth(), g.add(at), block.len(), self.panels[1], dp);
            let line = |query: usize| (query - block.begin) * Self::WIDTH;
            let p_and_ds = |query: usize| {
                let [lse, sum] = [lses, sums].map(|x| [v128_load32_splat(x.add(query).cast()); V]);
                grad_scores(load_columns::<V>(s.add(line(query))), load_columns(dp.add(line(query))), lse, sum)
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

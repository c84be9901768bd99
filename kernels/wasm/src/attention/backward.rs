//! The gradients of attention. P is computed again from the scores and the log-sum-exps; dS = P ⊙ (g·vᵀ − rowsum(g ⊙ o)).

use core::arch::wasm32::*;

use super::forward::{key_span, query_tile};
use super::strip::{
    Columns, Space, accumulate, blocks, columns_from, exp, load_columns, load_panel, scores, store_columns, store_rows,
};
use super::{CACHE_LINE, Heads, Operand, Order, Pass, Shape, packed, shared};
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
                        for key in block.visible..block.end {
                            let line = (key - block.begin) * width;
                            let mut ds =
                                grad_scores(load_columns(s.add(line)), load_columns(dp.add(line)), lses, sums).1;
                            if key > row {
                                let visible = columns_from::<V>(key as isize - row as isize);
                                (0..V).for_each(|i| ds[i] = v128_and(ds[i], visible[i]));
                            }
                            store_columns::<V>(s.add(line), ds);
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
            for column in (0..count).step_by(width) {
                let (first, count) = (first + column, width.min(count - column));
                load_panel::<V>(like_key(job, 3), kv_head, first, count, job.floats[0], space.panels[0]);
                load_panel::<V>(like_key(job, 4), kv_head, first, count, 1.0, space.panels[1]);
                space.sums.iter().for_each(|sum| core::ptr::write_bytes(*sum, 0, shape.tiled() * width));
                for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
                    for span in span..span + spans {
                        let [q0, q1, row] =
                            core::array::from_fn(|field| *job.buffer::<i32>(8).add(3 * span + field) as usize);
                        Self::add_queries::<V>(job, &shape, head, first, [q0, q1, row], space);
                    }
                }
                for (half, factor) in [job.floats[0], 1.0].into_iter().enumerate() {
                    let row = half * shape.key_rows + first;
                    let out = job.buffer::<f32>(0).add((row * shape.kv_heads + kv_head) * shape.d);
                    let stride = shape.kv_heads * shape.d;
                    store_rows::<V>(space.sums[half], [splat(factor); V], shape.d, count, out, stride);
                }
            }
        }
    }
}

impl GradKeyValue {
    /// Adds what queries [q0, q1) of a head, at key rows from `row` on, contribute to the keys from `first` on.
    #[inline(always)]
    unsafe fn add_queries<const V: usize>(
        job: &Job,
        shape: &Shape,
        head: usize,
        first: usize,
        [q0, q1, row]: [usize; 3],
        space: Space,
    ) {
        let width = V * LANES;
        let [s, dp] = space.blocks;
        let stride = Self::operand(job, 2).lines() * ROWS;
        let [q, g, q_across, g_across] = core::array::from_fn(|i| packed::<Self>(job, i, head));
        let (sums, lses) = sums_of::<Self>(job, head);
        unsafe {
            for block in blocks(q0 + first.saturating_sub(row), q1) {
                let at = block.begin * shape.depth();
                scores::<V>(shape.depth(), q.add(at), block.len(), space.panels[0], s);
                scores::<V>(shape.depth(), g.add(at), block.len(), space.panels[1], dp);
                for query in block.visible..block.end {
                    let line = (query - block.begin) * width;
                    let [lse, sum] = [lses, sums].map(|x| [v128_load32_splat(x.add(query).cast()); V]);
                    let (mut p, mut ds) =
                        grad_scores(load_columns::<V>(s.add(line)), load_columns(dp.add(line)), lse, sum);
                    let key_row = row + query - q0;
                    if key_row < first + width - 1 {
                        let hidden = columns_from::<V>(key_row as isize + 1 - first as isize);
                        (0..V).for_each(|i| p[i] = v128_andnot(p[i], hidden[i]));
                        (0..V).for_each(|i| ds[i] = v128_andnot(ds[i], hidden[i]));
                    }
                    store_columns::<V>(s.add(line), p);
                    store_columns::<V>(dp.add(line), ds);
                }
                block.clear_rest::<V>(s);
                block.clear_rest::<V>(dp);
                let at = block.begin * ROWS;
                accumulate::<V>(shape.tiled(), q_across.add(at), stride, block.even(), dp, space.sums[0]);
                accumulate::<V>(shape.tiled(), g_across.add(at), stride, block.even(), s, space.sums[1]);
            }
        }
    }
}

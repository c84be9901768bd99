//! What both gradients of attention need: P is computed again from the scores and the log-sum-exps, and
//! dS = P ⊙ (g·vᵀ − δ) with δ = rowsum(g ⊙ o).

use core::arch::wasm32::*;

use super::operand::Heads;
use super::strip::{Columns, exp};
use super::{CACHE_LINE, Pass, Shape, shared};
use crate::gemm::tile::WIDE;
use crate::simd::{LANES, fma, horizontal_sum, load, load_part, splat};
use crate::table::Job;

/// Queries whose δ makes a chunk.
const DELTA_QUERIES: usize = 64;

/// Buffer `i`, shaped like q.
pub fn like_query(job: &Job, i: usize) -> Heads {
    let Shape { queries, heads, d, .. } = Shape::of(job);
    Heads { data: job.buffer(i), rows: queries, heads, d }
}

/// The rows in use of buffer `i`, shaped like k.
pub fn like_key(job: &Job, i: usize) -> Heads {
    let Shape { keys, kv_heads, d, .. } = Shape::of(job);
    Heads { data: job.buffer(i), rows: keys, heads: kv_heads, d }
}

/// Elements of `[heads, queries]` with those that a strip reads behind them.
fn per_query(shape: &Shape) -> usize {
    (shape.heads * shape.queries + WIDE).next_multiple_of(CACHE_LINE)
}

/// Shared scratch memory: δ and the log-sum-exps as `[heads, queries]`.
pub fn deltas_size(job: &Job) -> usize {
    2 * per_query(&Shape::of(job))
}

/// δ and the log-sum-exps of a head.
pub fn deltas<P: Pass>(job: &Job, head: usize) -> [*mut f32; 2] {
    let shape = Shape::of(job);
    let delta = shared::<P>(job).wrapping_add(head * shape.queries);
    [delta, delta.wrapping_add(per_query(&shape))]
}

pub fn delta_chunks(job: &Job) -> usize {
    Shape::of(job).queries.div_ceil(DELTA_QUERIES)
}

pub unsafe fn run_deltas<P: Pass>(job: &Job, chunk: usize, _thread: usize) {
    let shape = Shape::of(job);
    let (g, o) = (like_query(job, 1), like_query(job, 5));
    for query in chunk * DELTA_QUERIES..shape.queries.min((chunk + 1) * DELTA_QUERIES) {
        for head in 0..shape.heads {
            let [delta, lse] = deltas::<P>(job, head);
            unsafe {
                *delta.add(query) = dot(g.row(query, head), o.row(query, head), shape.d);
                *lse.add(query) = *job.buffer::<f32>(6).add(query * shape.heads + head);
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

/// P and dS of a line.
#[inline(always)]
pub fn grad_scores<const V: usize>(
    s: Columns<V>,
    dp: Columns<V>,
    lse: Columns<V>,
    delta: Columns<V>,
) -> (Columns<V>, Columns<V>) {
    let p: Columns<V> = core::array::from_fn(|i| exp(f32x4_sub(s[i], lse[i])));
    (p, core::array::from_fn(|i| f32x4_mul(p[i], f32x4_sub(dp[i], delta[i]))))
}

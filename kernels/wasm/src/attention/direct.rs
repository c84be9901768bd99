//! Attention for a few queries (generation): k and v are read once, as they are.

use core::arch::wasm32::*;

use super::BLOCK;
use super::operand::Heads;
use super::strip::{Space, blocks, exp};
use crate::gemm::pack::transpose;
use crate::simd::{LANES, fma, horizontal_max, horizontal_sum, load, load_part, splat, store, store_part};

/// Queries a tile, on average, up to which this beats packing.
pub const MAX_QUERIES: usize = 3;

/// Vectors of o that are summed at a time: eight chains of multiply-adds.
const CHAINS: usize = 8;

/// Writes o = softmax(scale·q·kᵀ)·v over the key spans and returns the log-sum-exp.
pub unsafe fn query(
    q: *const f32,
    k: Heads,
    v: Heads,
    head: usize,
    spans: impl Iterator<Item = (usize, usize)>,
    scale: f32,
    o: *mut f32,
    space: Space,
) -> f32 {
    let (weights, sum, d) = (space.blocks[0], space.sums[0], k.d);
    let (mut max, mut total) = (f32::NEG_INFINITY, 0f32);
    unsafe {
        core::ptr::write_bytes(sum, 0, d.next_multiple_of(LANES));
        for (begin, end) in spans {
            for block in blocks(begin, end) {
                let keys = block.visible..block.end;
                let filled = keys.len().next_multiple_of(LANES);
                let before = max;
                for i in (0..keys.len()).step_by(LANES) {
                    // Keys that are missing repeat the last; their lanes become −∞.
                    let rows = core::array::from_fn(|j| k.row((keys.start + i + j).min(keys.end - 1), head));
                    let missing = i32x4_ge(i32x4(0, 1, 2, 3), i32x4_splat((keys.len() - i) as i32));
                    let s = f32x4_mul(dots(q, rows, d), splat(scale));
                    let s = v128_bitselect(splat(f32::NEG_INFINITY), s, missing);
                    max = max.max(horizontal_max(s));
                    store(weights.add(i), s);
                }
                let mut totals = splat(0.0);
                for i in (0..filled).step_by(LANES) {
                    let p = exp(f32x4_sub(load(weights.add(i)), splat(max)));
                    totals = f32x4_add(totals, p);
                    store(weights.add(i), p);
                }
                let shrink = exp(splat(before - max));
                total = total * f32x4_extract_lane::<0>(shrink) + horizontal_sum(totals);
                for element in (0..d).step_by(CHAINS * LANES) {
                    add_rows(
                        weights,
                        v.row(keys.start, head).add(element),
                        v.stride(),
                        keys.len(),
                        shrink,
                        d - element,
                        sum.add(element),
                    );
                }
            }
        }
        let factor = splat(1.0 / total);
        for element in (0..d).step_by(LANES) {
            let x = f32x4_mul(load(sum.add(element)), factor);
            store_part(o.add(element), x, LANES.min(d - element));
        }
    }
    max + total.ln()
}

/// q · each of four rows.
#[inline(always)]
unsafe fn dots(q: *const f32, rows: [*const f32; 4], d: usize) -> v128 {
    let mut sums = [splat(0.0); 4];
    let whole = d / LANES * LANES;
    unsafe {
        for element in (0..whole).step_by(LANES) {
            let x = load(q.add(element));
            (0..4).for_each(|j| sums[j] = fma(load(rows[j].add(element)), x, sums[j]));
        }
        if whole < d {
            let x = load_part(q.add(whole), d - whole);
            (0..4).for_each(|j| sums[j] = fma(load_part(rows[j].add(whole), d - whole), x, sums[j]));
        }
    }
    let [a, b, c, d] = transpose(sums);
    f32x4_add(f32x4_add(a, c), f32x4_add(b, d))
}

/// sum = sum·shrink + Σ weights[row]·rows[row], for at most CHAINS vectors of `left` elements.
#[inline(always)]
unsafe fn add_rows(
    weights: *const f32,
    rows: *const f32,
    stride: usize,
    count: usize,
    shrink: v128,
    left: usize,
    sum: *mut f32,
) {
    unsafe {
        if left >= CHAINS * LANES {
            let mut x: [v128; CHAINS] = core::array::from_fn(|i| f32x4_mul(load(sum.add(i * LANES)), shrink));
            for row in 0..count {
                let (p, row) = (v128_load32_splat(weights.add(row).cast()), rows.add(row * stride));
                (0..CHAINS).for_each(|i| x[i] = fma(p, load(row.add(i * LANES)), x[i]));
            }
            (0..CHAINS).for_each(|i| store(sum.add(i * LANES), x[i]));
            return;
        }
        for element in (0..left).step_by(LANES) {
            let here = LANES.min(left - element);
            let mut x = f32x4_mul(load(sum.add(element)), shrink);
            for row in 0..count {
                x = fma(splat(*weights.add(row)), load_part(rows.add(row * stride + element), here), x);
            }
            store(sum.add(element), x);
        }
    }
}

const _: () = assert!(BLOCK % LANES == 0);

//! What the start-up probe of V8's revectorizer runs (engine/backends/wasm-probe.ts).

use core::arch::wasm32::*;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::gemm::tile::tiles;
use crate::simd::{LANES, fma, splat, store};

/// Runs the micro-kernel for `rows` × `columns` on the same operands `turns` times (`gemm/tile.rs`). `accumulate` adds to C.
#[wasm_bindgen]
#[allow(clippy::too_many_arguments)]
pub unsafe fn run_tile(
    rows: usize,
    columns: usize,
    accumulate: bool,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    turns: usize,
) {
    let tile = tiles(columns)[rows - 1][accumulate as usize];
    (0..turns).for_each(|_| unsafe { tile(depth, a, b, c, stride) });
}

/// Keeps CHAINS independent results of `step` going for `turns` turns, then writes each to `out`, `apart` vectors from the
/// one before.
#[inline(always)]
unsafe fn keep_busy<const CHAINS: usize>(turns: usize, out: *mut f32, apart: usize, step: impl Fn(v128) -> v128) {
    let mut sums: [v128; CHAINS] = core::array::from_fn(|i| splat(i as f32));
    for _ in 0..turns {
        sums = sums.map(&step);
    }
    sums.into_iter().enumerate().for_each(|(i, sum)| unsafe { store(out.add(LANES * apart * i), sum) });
}

#[inline(always)]
fn multiply_add(sum: v128) -> v128 {
    fma(sum, splat(0.999), splat(0.001))
}

/// Keeps the multipliers of 128-bit vectors busy and nothing else: `turns` × 48 multiply-adds. With neighbouring stores V8
/// would pair the chains into 256-bit ones.
#[wasm_bindgen]
pub unsafe fn run_multiply_adds(turns: usize, out: *mut f32) {
    unsafe { keep_busy::<12>(turns, out, 2, multiply_add) };
}

/// `turns` × 64 multiply-adds, for V8 to pair.
#[wasm_bindgen]
pub unsafe fn run_wide_multiply_adds(turns: usize, out: *mut f32) {
    unsafe { keep_busy::<16>(turns, out, 1, multiply_add) };
}

/// `turns` × 256 multiply-adds of 8-bit integers, for V8 to pair: what products in int8 could reach.
#[cfg(target_feature = "relaxed-simd")]
#[wasm_bindgen]
pub unsafe fn run_wide_dots(turns: usize, out: *mut f32) {
    let (a, b) = (i8x16_splat(-3), i8x16_splat(5));
    unsafe { keep_busy::<16>(turns, out, 1, |sum| i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum)) };
}

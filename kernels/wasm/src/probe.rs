//! What the start-up probe of V8's revectorizer runs (engine/backends/wasm-probe.ts).

use core::arch::wasm32::*;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::gemm::tile::tiles;
use crate::simd::{fma, splat, store};

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

/// Independent multiply-adds of a turn: enough for their latency, few enough for the registers.
const CHAINS: usize = 12;

/// Keeps the multipliers of 128-bit vectors busy and nothing else: `turns` × 96 floating-point operations. Writes one
/// vector to `out` in every 32 bytes: with neighbouring stores V8 would pair the chains into 256-bit ones.
#[wasm_bindgen]
pub unsafe fn run_multiply_adds(turns: usize, out: *mut f32) {
    let mut sums: [v128; CHAINS] = core::array::from_fn(|i| splat(i as f32));
    let (a, b) = (splat(0.999), splat(0.001));
    for _ in 0..turns {
        sums = sums.map(|sum| fma(sum, a, b));
    }
    sums.into_iter().enumerate().for_each(|(i, sum)| unsafe { store(out.add(8 * i), sum) });
}

//! What the start-up probe of V8's revectorizer runs (engine/backends/wasm-probe.ts).

use core::arch::wasm32::*;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::gemm::tile::{int16_tiles, tiles};
use crate::simd::{LANES, fma, load, opaque, store};

/// Runs the micro-kernel for `rows` × `columns` on the same operands `turns` times (`gemm/tile.rs`). `kind`: 0 writes C,
/// 1 adds to it, 2 is for 16-bit integers.
#[wasm_bindgen]
#[allow(clippy::too_many_arguments)]
pub unsafe fn run_tile(
    rows: usize,
    columns: usize,
    kind: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    turns: usize,
) {
    let tile = match kind {
        2 => int16_tiles(columns)[rows - 1],
        _ => tiles(columns)[rows - 1][kind],
    };
    (0..turns).for_each(|_| unsafe { tile(depth, a, b, c, stride) });
}

/// Rounds of the chains in a turn, against the cost of the jump.
const ROUNDS: usize = 8;

/// Keeps CHAINS independent results c ← step(c, a, b) going, ROUNDS × CHAINS steps a turn. Everything comes from memory, so
/// that nothing is made anew of a constant: a at `data`, in all lanes; then FACTORS vectors b, which take turns; then the
/// c's, `apart` vectors from one to the next, which are written back.
#[inline(always)]
unsafe fn keep_busy<const CHAINS: usize, const FACTORS: usize>(
    turns: usize,
    data: *mut f32,
    apart: usize,
    step: impl Fn(v128, v128, v128) -> v128,
) {
    unsafe {
        let a = v128_load32_splat(data.cast());
        let b: [v128; FACTORS] = core::array::from_fn(|i| load(data.add(LANES * (1 + i))));
        let chains = data.add(LANES * (1 + FACTORS));
        // Loads and stores of one pointer would share addresses that LLVM computes, instead of differing in offsets.
        let [from, to] = [opaque(chains), opaque(chains)];
        let mut c: [v128; CHAINS] = core::array::from_fn(|i| load(from.add(LANES * apart * i)));
        for _ in 0..turns {
            for _ in 0..ROUNDS {
                c = core::array::from_fn(|i| step(c[i], a, b[i % FACTORS]));
            }
        }
        c.into_iter().enumerate().for_each(|(i, c)| store(to.cast_mut().add(LANES * apart * i), c));
    }
}

/// Keeps the multipliers of 128-bit vectors busy and nothing else: `turns` × 384 multiply-adds. With neighbouring loads and
/// stores V8 would pair the chains into 256-bit ones. `data`: 400 bytes.
#[wasm_bindgen]
pub unsafe fn run_multiply_adds(turns: usize, data: *mut f32) {
    unsafe { keep_busy::<12, 1>(turns, data, 2, |c, a, b| fma(c, a, b)) };
}

/// `turns` × 768 multiply-adds, for V8 to pair. `data`: 432 bytes.
#[wasm_bindgen]
pub unsafe fn run_wide_multiply_adds(turns: usize, data: *mut f32) {
    unsafe { keep_busy::<24, 2>(turns, data, 1, |c, a, b| fma(c, a, b)) };
}

/// `turns` × 3072 multiply-adds of 8-bit integers, for V8 to pair: what products in int8 could reach. `data`: 432 bytes.
#[cfg(target_feature = "relaxed-simd")]
#[wasm_bindgen]
pub unsafe fn run_wide_dots(turns: usize, data: *mut f32) {
    unsafe { keep_busy::<24, 2>(turns, data, 1, |c, a, b| i32x4_relaxed_dot_i8x16_i7x16_add(a, b, c)) };
}

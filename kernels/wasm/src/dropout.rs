//! Dropout masks, which are a pure function of seed, step, module, owner, position and feature, and their application.
//!
//! A mask has a bit for each element, ⌈columns/32⌉ words a row: bit c mod 32 of word ⌊c/32⌋ is 1 where element c is kept.

use core::arch::wasm32::*;

use crate::rows;
use crate::simd::{LANES, load_upto, splat, store_upto};
use crate::table::{Job, Kernel, Phase};

/// Elements of a mask word.
pub const WORD: usize = 32;

/// Words in a mask's row.
pub fn words(columns: usize) -> usize {
    columns.div_ceil(WORD)
}

/// Vectors of a word's elements.
pub const VECTORS: usize = WORD / LANES;

/// Lanes with all bits set where the elements of vector `i` of the word are kept.
#[inline(always)]
pub fn kept(word: u32, i: usize) -> v128 {
    let bits = u32x4_shl(u32x4(1, 2, 4, 8), (LANES * i) as u32);
    i32x4_eq(v128_and(u32x4_splat(word), bits), bits)
}

/// Low and high halves of the 64-bit products.
#[inline(always)]
fn multiply_wide(x: v128, by: u32) -> (v128, v128) {
    let by = u32x4_splat(by);
    let (first, last) = (u64x2_extmul_low_u32x4(x, by), u64x2_extmul_high_u32x4(x, by));
    (i32x4_shuffle::<0, 2, 4, 6>(first, last), i32x4_shuffle::<1, 3, 5, 7>(first, last))
}

const ROUNDS: usize = 10;

/// The keys of Philox's rounds in all lanes.
fn round_keys(key: [u32; 2]) -> [[v128; 2]; ROUNDS] {
    let weyl = |i: usize, j: usize, step: u32| u32x4_splat(key[j].wrapping_add(step.wrapping_mul(i as u32)));
    core::array::from_fn(|i| [weyl(i, 0, 0x9e37_79b9), weyl(i, 1, 0xbb67_ae85)])
}

/// Philox4x32-10 (Salmon et al., SC 2011; engine/random.ts) of four counters at once: word j of counter i is lane i of
/// vector j.
#[inline(always)]
fn philox(mut x: [v128; 4], keys: &[[v128; 2]; ROUNDS]) -> [v128; 4] {
    for [key0, key1] in keys {
        let (low0, high0) = multiply_wide(x[0], 0xd251_1f53);
        let (low1, high1) = multiply_wide(x[2], 0xcd9e_8d57);
        x = [v128_xor(v128_xor(high1, x[1]), *key0), low1, v128_xor(v128_xor(high0, x[3]), *key1), low0];
    }
    x
}

/// Sixteen bits: bit 4i + j says whether lane i of vector j is at least the threshold.
#[inline(always)]
fn at_least(words: [v128; 4], threshold: v128) -> u32 {
    let [a, b, c, d] = words.map(|word| u32x4_ge(word, threshold));
    let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    i8x16_bitmask(i8x16_shuffle::<0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15>(bytes, bytes)) as u32
}

/// Buffers: mask u32 [T, words]; rng u32 [2] = (seed, step), rows u32 [T, 2] = (owner, position). ints: T, columns,
/// module, threshold.
unsafe fn mask(job: &Job, chunk: usize, _: usize) {
    let columns = job.size(1);
    let (module, threshold) = (u32x4_splat(job.ints[2] as u32), u32x4_splat(job.ints[3] as u32));
    let keys = round_keys(unsafe { *job.buffer::<[u32; 2]>(1) });
    for row in rows::range(chunk, job.size(0), columns) {
        let [owner, position] = unsafe { *job.buffer::<[u32; 2]>(2).add(row) }.map(|word| u32x4_splat(word));
        for word in 0..words(columns) {
            // A counter serves four elements.
            let sixteen = |half: u32| {
                let counters = u32x4_add(u32x4_splat(word as u32 * 8 + half * 4), u32x4(0, 1, 2, 3));
                at_least(philox([counters, position, owner, module], &keys), threshold)
            };
            let bits = sixteen(0) | sixteen(1) << 16;
            let inside = WORD.min(columns - word * WORD);
            unsafe { *job.buffer::<u32>(0).add(row * words(columns) + word) = bits & u32::MAX >> (WORD - inside) };
        }
    }
}

/// y = x·scale where the element is kept, else 0. Buffers: y [T, C]; x, mask. ints: T, C. floats: scale.
unsafe fn apply(job: &Job, chunk: usize, _: usize) {
    let columns = job.size(1);
    let scale = splat(job.floats[0]);
    for row in rows::range(chunk, job.size(0), columns) {
        for word in 0..words(columns) {
            let bits = unsafe { *job.buffer::<u32>(2).add(row * words(columns) + word) };
            for i in 0..VECTORS {
                let column = word * WORD + i * LANES;
                let lanes = columns.saturating_sub(column).min(LANES);
                unsafe {
                    let [y, x] = [0, 1].map(|i| job.buffer::<f32>(i).add(row * columns + column));
                    store_upto(y, v128_and(f32x4_mul(load_upto(x, lanes), scale), kept(bits, i)), lanes);
                }
            }
        }
    }
}

pub const KERNELS: &[Kernel] = &[
    Kernel::new("dropoutMask_i32", &[Phase { chunks: |job| rows::chunks(job.size(0), job.size(1)), run: mask }]),
    Kernel::new("dropout_f32", &[Phase { chunks: |job| rows::chunks(job.size(0), job.size(1)), run: apply }]),
];

//! Dropout with a mask that is a pure function of seed, step, module, owner, position and feature.

use core::arch::wasm32::*;

use crate::gemm::pack::transpose;
use crate::rows;
use crate::simd::{LANES, load_upto, splat, store_part};
use crate::table::{Job, Kernel, Phase};

/// Low and high halves of the 64-bit products.
#[inline(always)]
fn multiply_wide(x: v128, by: u32) -> (v128, v128) {
    let by = u32x4_splat(by);
    let (first, last) = (u64x2_extmul_low_u32x4(x, by), u64x2_extmul_high_u32x4(x, by));
    (i32x4_shuffle::<0, 2, 4, 6>(first, last), i32x4_shuffle::<1, 3, 5, 7>(first, last))
}

/// Philox4x32-10 (Salmon et al., SC 2011; engine/random.ts) of four counters at once: word j of counter i is lane i of
/// vector j.
#[inline(always)]
fn philox(mut x: [v128; 4], mut key: [u32; 2]) -> [v128; 4] {
    for _ in 0..10 {
        let (low0, high0) = multiply_wide(x[0], 0xd251_1f53);
        let (low1, high1) = multiply_wide(x[2], 0xcd9e_8d57);
        let left = v128_xor(v128_xor(high1, x[1]), u32x4_splat(key[0]));
        let right = v128_xor(v128_xor(high0, x[3]), u32x4_splat(key[1]));
        x = [left, low1, right, low0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    x
}

/// y = x·scale where the element's word is at least the threshold, else 0.
/// Buffers: y [T, C]; x, rng u32 [2] = (seed, step), rows u32 [T, 2] = (owner, position). ints: T, C, module, threshold.
/// floats: scale.
unsafe fn dropout(job: &Job, chunk: usize, _: usize) {
    let columns = job.size(1);
    let (module, threshold) = (u32x4_splat(job.ints[2] as u32), u32x4_splat(job.ints[3] as u32));
    let scale = splat(job.floats[0]);
    let key = unsafe { *job.buffer::<[u32; 2]>(2) };
    for row in rows::range(chunk, job.size(0), columns) {
        unsafe {
            let [owner, position] = (*job.buffer::<[u32; 2]>(3).add(row)).map(|word| u32x4_splat(word));
            let y = job.buffer::<f32>(0).add(row * columns);
            let x = job.buffer::<f32>(1).add(row * columns);
            // A counter serves four elements, four counters sixteen.
            for first in (0..columns).step_by(4 * LANES) {
                let counters = u32x4_add(u32x4_splat(first as u32 / 4), u32x4(0, 1, 2, 3));
                let words = transpose(philox([counters, position, owner, module], key));
                for (i, words) in words.into_iter().enumerate() {
                    let at = first + i * LANES;
                    if at >= columns {
                        break;
                    }
                    let lanes = LANES.min(columns - at);
                    let kept = v128_and(f32x4_mul(load_upto(x.add(at), lanes), scale), u32x4_ge(words, threshold));
                    match lanes {
                        LANES => v128_store(y.add(at).cast(), kept),
                        _ => store_part(y.add(at), kept, lanes),
                    }
                }
            }
        }
    }
}

pub const KERNELS: &[Kernel] =
    &[Kernel::new("dropout_f32", &[Phase { chunks: |job| rows::chunks(job.size(0), job.size(1)), run: dropout }])];

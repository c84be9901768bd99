//! Optimizer steps, in place on flat parameters. `state` is f32 [8]; engine/optim.ts names its slots.

use core::arch::wasm32::*;

use crate::elementwise::{flat, flat_chunks};
use crate::rows;
use crate::simd::{fma, load_upto, splat};
use crate::table::{Job, Kernel, Phase};

const LR: usize = 0;
const BIAS_CORRECTION_1: usize = 1;
const BIAS_CORRECTION_2: usize = 2;
const NORM: usize = 3;
const CLIP: usize = 4;
const BAD: usize = 5;
const LOSS: usize = 6;

/// Σ g² of a chunk, in float64. Buffers: state; gradient. ints: n. floats: the largest norm that is not scaled down.
unsafe fn squares(job: &Job, chunk: usize, _: usize) {
    let mut sums = [f64x2_splat(0.0); 2];
    let mut square = |x: v128, i: usize| {
        let x = f64x2_promote_low_f32x4(x);
        sums[i] = f64x2_add(sums[i], f64x2_mul(x, x));
    };
    let own = rows::range(chunk, job.size(0), 1);
    for i in own.clone().step_by(4) {
        let x = unsafe { load_upto(job.buffer::<f32>(1).add(i), (own.end - i).min(4)) };
        square(x, 0);
        square(i64x2_shuffle::<1, 0>(x, x), 1);
    }
    let sum = f64x2_add(sums[0], sums[1]);
    unsafe { *job.scratch.cast::<f64>().add(chunk) = f64x2_extract_lane::<0>(sum) + f64x2_extract_lane::<1>(sum) };
}

/// Writes the norm and the factor that clips the gradient, and raises the flag when norm or loss is not finite.
unsafe fn finish_norm(job: &Job, _: usize, _: usize) {
    let state = job.buffer::<f32>(0);
    let sum: f64 = (0..norm_chunks(job)).map(|i| unsafe { *job.scratch.cast::<f64>().add(i) }).sum();
    let norm = sum.sqrt();
    unsafe {
        *state.add(NORM) = norm as f32;
        *state.add(CLIP) = (f64::from(job.floats[0]) / (norm + 1e-6)).min(1.0) as f32;
        if !(*state.add(NORM)).is_finite() || !(*state.add(LOSS)).is_finite() {
            *state.add(BAD) = 1.0;
        }
    }
}

fn norm_chunks(job: &Job) -> usize {
    rows::chunks(job.size(0), 1)
}

/// Buffers: p, m, v; g, state. ints: n. floats: 1 − β₁, β₂, 1 − β₂, ε, weight decay, factor of the learning rate.
unsafe fn adamw(job: &Job, chunk: usize, _: usize) {
    let state = |i: usize| unsafe { *job.buffer::<f32>(4).add(i) };
    if state(BAD) != 0.0 {
        return;
    }
    let [rest1, beta2, rest2, eps, decay, factor, ..] = job.floats;
    let lr = state(LR) * factor;
    let keep = splat(1.0 - lr * decay);
    let step = splat(-lr / state(BIAS_CORRECTION_1));
    let root = splat(state(BIAS_CORRECTION_2).sqrt());
    let clip = splat(state(CLIP));
    unsafe {
        flat(job, chunk, 0, |[p, m, v, g]| {
            let g = f32x4_mul(g, clip);
            let m = fma(splat(rest1), f32x4_sub(g, m), m);
            let v = fma(splat(rest2), f32x4_mul(g, g), f32x4_mul(v, splat(beta2)));
            let denominator = f32x4_add(f32x4_div(f32x4_sqrt(v), root), splat(eps));
            [fma(step, f32x4_div(m, denominator), f32x4_mul(p, keep)), m, v]
        })
    }
}

/// Buffers: p, momentum; g, state. ints: n. floats: momentum, weight decay, factor of the learning rate, 1 for Nesterov's.
unsafe fn sgd(job: &Job, chunk: usize, _: usize) {
    let state = |i: usize| unsafe { *job.buffer::<f32>(3).add(i) };
    if state(BAD) != 0.0 {
        return;
    }
    let [momentum, decay, factor, nesterov, ..] = job.floats.map(splat);
    let step = f32x4_mul(splat(-state(LR)), factor);
    let clip = splat(state(CLIP));
    unsafe {
        flat(job, chunk, 0, |[p, buffer, g]| {
            let d = fma(decay, p, f32x4_mul(g, clip));
            let buffer = fma(momentum, buffer, d);
            // Nesterov's looks one step ahead: d + momentum·buffer.
            let ahead = fma(momentum, buffer, d);
            let d = v128_bitselect(ahead, buffer, f32x4_ne(nesterov, splat(0.0)));
            [fma(step, d, p), buffer]
        })
    }
}

pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "globalNorm_f32",
        phases: &[Phase { chunks: norm_chunks, run: squares }, Phase { chunks: |_| 1, run: finish_norm }],
        scratch: |job, _| 8 * norm_chunks(job),
    },
    Kernel::new("adamwStep_f32", &[Phase { chunks: flat_chunks, run: adamw }]),
    Kernel::new("sgdStep_f32", &[Phase { chunks: flat_chunks, run: sgd }]),
];

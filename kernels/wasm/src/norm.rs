//! Normalisation of rows of C columns: by root mean square (rmsNorm), or by mean and standard deviation (layerNorm, where
//! CENTRED). ints: rows, C.

use core::arch::wasm32::*;

use crate::rows;
use crate::simd::{fma, load_upto, map, splat, sum};
use crate::table::{Job, Kernel, Phase};

/// Buffers: y, the mean of each row if CENTRED, its 1/σ; x, weight, bias if CENTRED. floats: eps.
unsafe fn forward<const CENTRED: bool>(job: &Job, chunk: usize, _: usize) {
    let columns = job.size(1);
    let statistics = 1 + CENTRED as usize;
    let [x, weight, bias] = [1, 2, 3].map(|i| job.buffer::<f32>(statistics + i).cast_const());
    for row in rows::range(chunk, job.size(0), columns) {
        unsafe {
            let y = job.buffer::<f32>(0).add(row * columns);
            let x = x.add(row * columns);
            let mean = match CENTRED {
                true => sum(columns, |i, lanes| load_upto(x.add(i), lanes)) / columns as f32,
                false => 0.0,
            };
            // As many copies as there are lanes, so that the others stay 0.
            let means = [mean; 4];
            let squares = sum(columns, |i, lanes| {
                let deviation = f32x4_sub(load_upto(x.add(i), lanes), load_upto(means.as_ptr(), lanes));
                f32x4_mul(deviation, deviation)
            });
            let rstd = 1.0 / (squares / columns as f32 + job.floats[0]).sqrt();
            *job.buffer::<f32>(statistics).add(row) = rstd;
            let rstd = splat(rstd);
            if CENTRED {
                *job.buffer::<f32>(1).add(row) = mean;
                map([y], [x, weight, bias], columns, |[x, w, b]| {
                    [fma(f32x4_mul(f32x4_sub(x, splat(mean)), rstd), w, b)]
                });
            } else {
                map([y], [x, weight], columns, |[x, w]| [f32x4_mul(f32x4_mul(x, rstd), w)]);
            }
        }
    }
}

/// dx = rstd·(g⊙w − x̂·mean(g⊙w⊙x̂)), less mean(g⊙w) in the parentheses if CENTRED.
/// Buffers: dx; g, x, weight, the mean of each row if CENTRED, its 1/σ.
unsafe fn grad_input<const CENTRED: bool>(job: &Job, chunk: usize, _: usize) {
    let columns = job.size(1);
    for row in rows::range(chunk, job.size(0), columns) {
        unsafe {
            let dx = job.buffer::<f32>(0).add(row * columns);
            let [g, x] = [1, 2].map(|i| job.buffer::<f32>(i).add(row * columns).cast_const());
            let weight = job.buffer::<f32>(3).cast_const();
            let mean = splat(if CENTRED { *job.buffer::<f32>(4).add(row) } else { 0.0 });
            let rstd = splat(*job.buffer::<f32>(4 + CENTRED as usize).add(row));
            let normalized = |x| f32x4_mul(f32x4_sub(x, mean), rstd);
            let weighted = |i: usize, lanes| f32x4_mul(load_upto(g.add(i), lanes), load_upto(weight.add(i), lanes));
            let average = splat(if CENTRED { sum(columns, weighted) / columns as f32 } else { 0.0 });
            let dot = sum(columns, |i, lanes| f32x4_mul(weighted(i, lanes), normalized(load_upto(x.add(i), lanes))));
            let dot = splat(dot / columns as f32);
            map([dx], [g, x, weight], columns, |[g, x, w]| {
                let direct = f32x4_sub(f32x4_mul(g, w), average);
                [f32x4_mul(rstd, f32x4_sub(direct, f32x4_mul(normalized(x), dot)))]
            });
        }
    }
}

fn chunks(job: &Job) -> usize {
    rows::chunks(job.size(0), job.size(1))
}

pub const KERNELS: &[Kernel] = &[
    Kernel::new("rmsNorm_f32", &[Phase { chunks, run: forward::<false> }]),
    Kernel::new("rmsNormGradInput_f32", &[Phase { chunks, run: grad_input::<false> }]),
    Kernel::new("layerNorm_f32", &[Phase { chunks, run: forward::<true> }]),
    Kernel::new("layerNormGradInput_f32", &[Phase { chunks, run: grad_input::<true> }]),
];

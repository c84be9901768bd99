//! Rows of n elements: their extremes, softmax and its logarithm. Buffers: y, x. ints: rows, n.

use core::arch::wasm32::*;

use crate::loss::exponentials;
use crate::rows;
use crate::simd::{exp, map, max, splat};
use crate::table::{Job, Kernel, Phase};

/// Calls `f` with the row's number and its elements.
unsafe fn each_row(job: &Job, chunk: usize, f: impl Fn(usize, *const f32, usize)) {
    let n = job.size(1);
    for row in rows::range(chunk, job.size(0), n) {
        f(row, unsafe { job.buffer::<f32>(1).add(row * n).cast_const() }, n);
    }
}

/// y = x mapped with a shift and a factor that depend on the row's largest element and Σ e^(x − largest).
unsafe fn normalized(job: &Job, chunk: usize, f: impl Fn(v128, f32, f32) -> v128) {
    unsafe {
        each_row(job, chunk, |row, x, n| {
            let (largest, total) = exponentials(x, n);
            map([job.buffer::<f32>(0).add(row * n)], [x], n, |[x]| [f(x, largest, total)]);
        });
    }
}

/// NaN anywhere in the row gives NaN, as the reference has it.
unsafe fn extreme(x: *const f32, n: usize, sign: f32) -> f32 {
    let mut best = f32::NEG_INFINITY;
    for i in 0..n {
        let value = unsafe { sign * *x.add(i) };
        if value > best || value.is_nan() {
            best = value;
        }
        if best.is_nan() {
            break;
        }
    }
    sign * best
}

unsafe fn argmax(x: *const f32, n: usize) -> i32 {
    let largest = unsafe { max(x, n) };
    (0..n).position(|i| unsafe { *x.add(i) } == largest).map_or(-1, |i| i as i32)
}

macro_rules! rowwise {
    ($name:literal, $run:expr) => {
        Kernel::new($name, &[Phase { chunks: |job| rows::chunks(job.size(0), job.size(1)), run: $run }])
    };
}

pub const KERNELS: &[Kernel] = &[
    rowwise!("max_f32", |job, chunk, _| unsafe {
        each_row(job, chunk, |row, x, n| *job.buffer::<f32>(0).add(row) = extreme(x, n, 1.0))
    }),
    rowwise!("min_f32", |job, chunk, _| unsafe {
        each_row(job, chunk, |row, x, n| *job.buffer::<f32>(0).add(row) = extreme(x, n, -1.0))
    }),
    // The output is i32.
    rowwise!("argmax_f32", |job, chunk, _| unsafe {
        each_row(job, chunk, |row, x, n| *job.buffer::<i32>(0).add(row) = argmax(x, n))
    }),
    rowwise!("softmax_f32", |job, chunk, _| unsafe {
        normalized(job, chunk, |x, largest, total| f32x4_div(exp(f32x4_sub(x, splat(largest))), splat(total)))
    }),
    rowwise!("logSoftmax_f32", |job, chunk, _| unsafe {
        normalized(job, chunk, |x, largest, total| f32x4_sub(f32x4_sub(x, splat(largest)), splat(total.ln())))
    }),
];

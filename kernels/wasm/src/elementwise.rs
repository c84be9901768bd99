//! Elementwise kernels, of two kinds that share one loop:
//!
//! - flat: output and inputs are n elements each. ints: n.
//! - broadcast: ints: rank, the output's extents, each input's strides in elements; the innermost strides are 0 or 1, and
//!   neighbouring axes that all inputs walk alike have been joined (`collapse` in engine/ops/elementwise.ts).
//!
//! Elements are 32 bits wide: f32, or i32 where a comment says so. Comparisons follow IEEE: with NaN only `ne` holds.

use core::arch::wasm32::*;

use crate::simd::{self, LANES, splat};
use crate::table::{Job, Kernel, Phase};

/// Elements in a chunk: 32 KiB of each operand.
const CHUNK: usize = 8192;

/// Chunks of a flat kernel; ints: n.
pub fn flat_chunks(job: &Job) -> usize {
    job.size(0).div_ceil(CHUNK)
}

/// Buffers: the outputs first, the inputs from `first` on; the two may overlap.
#[inline(always)]
pub unsafe fn flat<const N: usize, const M: usize>(
    job: &Job,
    chunk: usize,
    first: usize,
    f: impl Fn([v128; N]) -> [v128; M],
) {
    let begin = chunk * CHUNK;
    unsafe {
        let outputs = core::array::from_fn(|k| job.buffer::<f32>(k).add(begin));
        let inputs = core::array::from_fn(|k| job.buffer::<f32>(first + k).add(begin).cast_const());
        simd::map(outputs, inputs, CHUNK.min(job.size(0) - begin), f);
    }
}

fn extent(job: &Job, axis: usize) -> usize {
    job.size(1 + axis)
}

fn stride(job: &Job, input: usize, axis: usize) -> usize {
    job.size(1 + job.size(0) * (1 + input) + axis)
}

fn elements(job: &Job) -> usize {
    (0..job.size(0)).map(|axis| extent(job, axis)).product()
}

pub fn broadcast_chunks(job: &Job) -> usize {
    elements(job).div_ceil(CHUNK)
}

/// Goes through the chunk in runs along the innermost axis.
#[inline(always)]
pub unsafe fn broadcast<const N: usize>(job: &Job, chunk: usize, f: impl Fn([v128; N]) -> v128) {
    let innermost = job.size(0) - 1;
    let length = extent(job, innermost);
    let mut i = chunk * CHUNK;
    let end = elements(job).min(i + CHUNK);
    let mut copies = [[0f32; LANES]; N];
    while i < end {
        let run = (length - i % length).min(end - i);
        let inputs = core::array::from_fn(|k| unsafe {
            let x = job.buffer::<f32>(1 + k).add(offset(job, k, i)).cast_const();
            match stride(job, k, innermost) {
                0 => {
                    copies[k] = [*x; LANES];
                    (copies[k].as_ptr(), 0)
                }
                _ => (x, 1),
            }
        });
        unsafe { simd::map_steps([job.buffer::<f32>(0).add(i)], inputs, run, |x| [f(x)]) };
        i += run;
    }
}

/// Where input `k` has the value for element `i` of the output.
fn offset(job: &Job, k: usize, mut i: usize) -> usize {
    let mut offset = 0;
    for axis in (0..job.size(0)).rev() {
        offset += i % extent(job, axis) * stride(job, k, axis);
        i /= extent(job, axis);
    }
    offset
}

macro_rules! kernel {
    ($name:literal, $chunks:expr, $run:expr) => {
        Kernel::new($name, &[Phase { chunks: $chunks, run: $run }])
    };
}

/// A flat kernel of one input; `$job` gives access to floats.
macro_rules! unary {
    ($name:literal, $f:expr) => {
        unary!($name, job, $f)
    };
    ($name:literal, $job:ident, $f:expr) => {
        kernel!($name, flat_chunks, |$job, chunk, _| unsafe {
            let f = $f;
            flat($job, chunk, 1, |[x]| [f(x)])
        })
    };
}

macro_rules! binary {
    ($name:literal, $f:expr) => {
        kernel!($name, broadcast_chunks, |job, chunk, _| unsafe {
            let f = $f;
            broadcast(job, chunk, |[a, b]| f(a, b))
        })
    };
}

/// Comparison of f32; the output is i32, 1 where it holds and 0 elsewhere.
macro_rules! compare {
    ($name:literal, $f:expr) => {
        binary!($name, |a, b| v128_and($f(a, b), i32x4_splat(1)))
    };
}

pub const KERNELS: &[Kernel] = &[
    // (y; x)
    unary!("neg_f32", |x| f32x4_neg(x)),
    unary!("abs_f32", |x| f32x4_abs(x)),
    unary!("exp_f32", simd::exp),
    unary!("log_f32", simd::log),
    unary!("sqrt_f32", |x| f32x4_sqrt(x)),
    unary!("rsqrt_f32", |x| f32x4_div(splat(1.0), f32x4_sqrt(x))),
    unary!("tanh_f32", simd::tanh),
    unary!("sigmoid_f32", simd::sigmoid),
    unary!("relu_f32", |x| f32x4_max(x, splat(0.0))),
    unary!("silu_f32", |x| f32x4_mul(x, simd::sigmoid(x))),
    unary!("normalCdf_f32", simd::normal_cdf),
    // x·Φ(x), Φ the normal distribution's cumulative function: the exact GELU
    unary!("gelu_f32", |x| f32x4_mul(x, simd::normal_cdf(x))),
    // (y; x), floats: lowest, highest
    unary!("clamp_f32", job, |x| f32x4_min(f32x4_max(x, splat(job.floats[0])), splat(job.floats[1]))),
    // (y), flat, floats: value
    kernel!("fill_f32", flat_chunks, |job, chunk, _| unsafe { flat(job, chunk, 1, |[]| [splat(job.floats[0])]) }),
    // a += b, flat
    kernel!("accumulate_f32", flat_chunks, |job, chunk, _| unsafe { flat(job, chunk, 0, |[a, b]| [f32x4_add(a, b)]) }),
    // (y; a, b), broadcast
    binary!("add_f32", |a, b| f32x4_add(a, b)),
    binary!("sub_f32", |a, b| f32x4_sub(a, b)),
    binary!("mul_f32", |a, b| f32x4_mul(a, b)),
    binary!("div_f32", |a, b| f32x4_div(a, b)),
    binary!("pow_f32", simd::pow),
    compare!("eq_f32", |a, b| f32x4_eq(a, b)),
    compare!("ne_f32", |a, b| f32x4_ne(a, b)),
    compare!("lt_f32", |a, b| f32x4_lt(a, b)),
    compare!("le_f32", |a, b| f32x4_le(a, b)),
    compare!("gt_f32", |a, b| f32x4_gt(a, b)),
    compare!("ge_f32", |a, b| f32x4_ge(a, b)),
    // (y; condition i32, a, b), broadcast: a where the condition is not 0, else b
    kernel!("where_f32", broadcast_chunks, |job, chunk, _| unsafe {
        broadcast(job, chunk, |[condition, a, b]| v128_bitselect(a, b, i32x4_ne(condition, i32x4_splat(0))))
    }),
];

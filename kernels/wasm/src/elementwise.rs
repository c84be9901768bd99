//! Elementwise kernels.

use core::arch::wasm32::*;

use crate::simd;
use crate::table::{Job, Kernel, Phase};

/// Elements in a chunk.
const CHUNK: usize = 8192;

fn flat_chunks(job: &Job) -> usize {
    job.size(0).div_ceil(CHUNK)
}

/// out[i] = f(x[i]) for the chunk's elements. buffers: out, x. ints: n.
#[inline(always)]
unsafe fn map(job: &Job, chunk: usize, f: impl Fn(v128) -> v128) {
    let begin = chunk * CHUNK;
    let count = CHUNK.min(job.size(0) - begin);
    unsafe {
        let (out, x) = (job.buffer::<f32>(0).add(begin), job.buffer::<f32>(1).add(begin));
        let whole = count & !(simd::LANES - 1);
        for i in (0..whole).step_by(simd::LANES) {
            simd::store(out.add(i), f(simd::load(x.add(i))));
        }
        let rest = count - whole;
        simd::store_part(out.add(whole), f(simd::load_part(x.add(whole), rest)), rest);
    }
}

macro_rules! unary {
    ($name:literal, $f:expr) => {
        Kernel::new($name, &[Phase { chunks: flat_chunks, run: |job, chunk, _| unsafe { map(job, chunk, $f) } }])
    };
}

pub const KERNELS: &[Kernel] = &[
    unary!("neg_f32", |x| f32x4_neg(x)),
    unary!("exp_f32", simd::exp),
];

//! Kernels that move elements: rows of a matrix into another, two axes exchanged, broadcast copies. Elements are 32 bits
//! wide, f32 or i32.

use core::arch::wasm32::v128;

use crate::elementwise::{broadcast, broadcast_chunks};
use crate::rows;
use crate::simd;
use crate::table::{Job, Kernel, Phase};

/// Elements in a chunk: 64 KiB.
const CHUNK: usize = 1 << 14;

#[inline(always)]
unsafe fn copy(out: *mut f32, x: *const f32, count: usize) {
    unsafe { simd::map([out], [x], count, |x: [v128; 1]| x) };
}

/// out[r, begin + j] = x[r, from + j]. buffers: out, x. ints: rows, elements j of each, row length of the output, begin,
/// row length of x, from.
const COPY_ROWS: &[Phase] =
    &[Phase { chunks: |job| (job.size(0) * job.size(1)).div_ceil(CHUNK), run: |job, chunk, _| copy_rows(job, chunk) }];

fn copy_rows(job: &Job, chunk: usize) {
    let [rows, length, out_row, begin, row, from] = core::array::from_fn(|i| job.size(i));
    let mut i = chunk * CHUNK;
    let end = (rows * length).min(i + CHUNK);
    while i < end {
        let (r, j) = (i / length, i % length);
        let run = (length - j).min(end - i);
        unsafe {
            let out = job.buffer::<f32>(0).add(r * out_row + begin + j);
            copy(out, job.buffer::<f32>(1).add(r * row + from + j), run);
        }
        i += run;
    }
}

/// out[outer, B, middle, A, inner] = x[outer, A, middle, B, inner]. buffers: out, x. ints: outer, A, middle, B, inner.
const TRANSPOSE: &[Phase] = &[Phase {
    chunks: |job| rows::chunks(job.size(0) * job.size(3) * job.size(2), job.size(1) * job.size(4)),
    run: |job, chunk, _| transpose(job, chunk),
}];

fn transpose(job: &Job, chunk: usize) {
    let [outer, a, middle, b, inner] = core::array::from_fn(|i| job.size(i));
    // A row of the output is all of A for one index of B, whose elements lie this far apart in x.
    let stride = middle * b * inner;
    for row in rows::range(chunk, outer * b * middle, a * inner) {
        let (o, j, m) = (row / (b * middle), row / middle % b, row % middle);
        unsafe {
            let out = job.buffer::<f32>(0).add(row * a * inner);
            let x = job.buffer::<f32>(1).add(o * a * stride + (m * b + j) * inner);
            match inner {
                1 => (0..a).for_each(|i| *out.add(i) = *x.add(i * stride)),
                _ => (0..a).for_each(|i| copy(out.add(i * inner), x.add(i * stride), inner)),
            }
        }
    }
}

/// The input broadcast to the output's shape; ints as in `elementwise`.
const EXPAND: &[Phase] =
    &[Phase { chunks: broadcast_chunks, run: |job, chunk, _| unsafe { broadcast(job, chunk, |[x]| x) } }];

pub const KERNELS: &[Kernel] = &[
    Kernel::new("copyRows_f32", COPY_ROWS),
    Kernel::new("copyRows_i32", COPY_ROWS),
    Kernel::new("transpose_f32", TRANSPOSE),
    Kernel::new("transpose_i32", TRANSPOSE),
    Kernel::new("expand_f32", EXPAND),
];

//! Sums over the axes along which a tensor was broadcast.
//!
//! A chunk is a range of the input's outermost axis. If the output has that axis too, chunks write different parts of the
//! output; else each has a partial sum of the whole output in scratch memory, and a second phase adds them in order.

use core::arch::wasm32::f32x4_add;
use core::ops::Range;

use crate::simd;
use crate::table::{Job, Kernel, Phase};

/// Elements of the input in a chunk, about: 64 KiB.
const CHUNK: usize = 1 << 14;
/// More partial sums than this would cost more than threads gain.
const PARTIALS: usize = 16;

/// The arguments of `sumTo`. buffers: out, x. ints: size of the output, rank, extents of x, strides of the output along
/// the axes of x (0 where it is summed).
struct Reduction<'a> {
    job: &'a Job,
    size: usize,
    rank: usize,
}

impl<'a> Reduction<'a> {
    fn new(job: &'a Job) -> Self {
        Reduction { job, size: job.size(0), rank: job.size(1) }
    }

    fn extent(&self, axis: usize) -> usize {
        self.job.size(2 + axis)
    }

    fn stride(&self, axis: usize) -> usize {
        self.job.size(2 + self.rank + axis)
    }

    /// Elements of x for one index of its outermost axis.
    fn slab(&self) -> usize {
        (1..self.rank).map(|axis| self.extent(axis)).product()
    }

    fn outermost_is_summed(&self) -> bool {
        self.stride(0) == 0
    }

    fn chunks(&self) -> usize {
        let wanted = (self.extent(0) * self.slab()).div_ceil(CHUNK);
        match self.outermost_is_summed() {
            true => wanted.min(PARTIALS).min(self.extent(0)),
            false => wanted.clamp(1, self.extent(0).max(1)),
        }
    }

    /// The part of the outermost axis that belongs to a chunk.
    fn range(&self, chunk: usize) -> Range<usize> {
        let (extent, chunks) = (self.extent(0), self.chunks());
        extent * chunk / chunks..extent * (chunk + 1) / chunks
    }

    fn partials(&self) -> usize {
        if self.outermost_is_summed() { self.chunks() } else { 0 }
    }
}

/// Sums a chunk of x, row by row along its innermost axis.
fn sum_chunk(job: &Job, chunk: usize) {
    let sum = Reduction::new(job);
    let range = sum.range(chunk);
    unsafe {
        let (out, first, size) = match sum.outermost_is_summed() {
            true => (job.scratch.cast::<f32>().add(chunk * sum.size), 0, sum.size),
            false => (job.buffer::<f32>(0), range.start * sum.stride(0), range.len() * sum.stride(0)),
        };
        core::slice::from_raw_parts_mut(out.add(first), size).fill(0.0);
        let innermost = sum.rank - 1;
        // The outermost axis may be the innermost one, too: then the chunk is a single row.
        let length = if innermost == 0 { range.len() } else { sum.extent(innermost) };
        let end = range.end * sum.slab();
        let mut i = range.start * sum.slab();
        while i < end {
            let (mut offset, mut rest) = (0, i);
            for axis in (0..sum.rank).rev() {
                offset += rest % sum.extent(axis) * sum.stride(axis);
                rest /= sum.extent(axis);
            }
            add_row(out.add(offset), job.buffer::<f32>(1).add(i), length, sum.stride(innermost));
            i += length;
        }
    }
}

/// Adds a row to a row (stride 1), or its sum to one element (stride 0).
unsafe fn add_row(out: *mut f32, x: *const f32, length: usize, stride: usize) {
    unsafe {
        match stride {
            0 => *out += simd::sum(length, |i, lanes| simd::load_upto(x.add(i), lanes)),
            _ => simd::map([out], [out.cast_const(), x], length, |[a, b]| [f32x4_add(a, b)]),
        }
    }
}

/// Adds the partial sums in order.
fn add_partials(job: &Job, chunk: usize) {
    let sum = Reduction::new(job);
    let begin = chunk * CHUNK;
    let count = CHUNK.min(sum.size - begin);
    unsafe {
        let out = job.buffer::<f32>(0).add(begin);
        core::slice::from_raw_parts_mut(out, count).fill(0.0);
        for partial in 0..sum.partials() {
            add_row(out, job.scratch.cast::<f32>().add(partial * sum.size + begin), count, 1);
        }
    }
}

fn partial_chunks(job: &Job) -> usize {
    let sum = Reduction::new(job);
    if sum.outermost_is_summed() { sum.size.div_ceil(CHUNK) } else { 0 }
}

pub const KERNELS: &[Kernel] = &[Kernel {
    name: "sumTo_f32",
    phases: &[
        Phase { chunks: |job| Reduction::new(job).chunks(), run: |job, chunk, _| sum_chunk(job, chunk) },
        Phase { chunks: partial_chunks, run: |job, chunk, _| add_partials(job, chunk) },
    ],
    scratch: |job, _| {
        let sum = Reduction::new(job);
        sum.partials() * sum.size * size_of::<f32>()
    },
}];

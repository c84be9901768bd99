//! Appending to key and value caches.

use crate::table::{Job, Kernel, Phase};

/// Elements in a chunk: 64 KB.
const CHUNK: usize = 1 << 14;

/// cache[at + i] = rows[i]. buffers: cache, rows. ints: at, n (elements).
unsafe fn append(job: &Job, chunk: usize, _thread: usize) {
    let begin = chunk * CHUNK;
    let count = CHUNK.min(job.size(1) - begin);
    let (cache, rows) = (job.buffer::<f32>(0), job.buffer::<f32>(1));
    unsafe { core::ptr::copy_nonoverlapping(rows.add(begin), cache.add(job.size(0) + begin), count) };
}

pub const KERNELS: &[Kernel] =
    &[Kernel::new("appendRows_f32", &[Phase { chunks: |job| job.size(1).div_ceil(CHUNK), run: append }])];

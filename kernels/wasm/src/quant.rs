//! Weights as f32: rows of an embedding, and whole tensors.

use crate::simd::{store, store_part};
use crate::table::{Kernel, Phase};
use crate::weight::{
    BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Weight, decode_group, partial_eight,
};

/// Elements in a chunk, about.
const CHUNK: usize = 1 << 14;

/// Decodes a row of `k` elements.
unsafe fn decode_row<W: Weight>(row: *const u8, k: usize, out: *mut f32) {
    let (groups, rest) = (k / W::GROUP, k % W::GROUP);
    unsafe {
        for group in 0..groups {
            decode_group::<W, 1>([row], group, |e, x| {
                let out = out.add(group * W::GROUP + e);
                store(out, x[0][0]);
                store(out.add(4), x[0][1]);
            });
        }
        if rest > 0 {
            let (out, x) = (out.add(groups * W::GROUP), partial_eight::<W>(row, groups * W::GROUP, rest));
            if rest < 4 {
                store_part(out, x[0], rest);
            } else {
                store(out, x[0]);
                store_part(out.add(4), x[1], rest - 4);
            }
        }
    }
}

/// Rows of `columns` elements in a chunk.
fn rows_per_chunk(columns: usize) -> usize {
    (CHUNK / columns.max(1)).max(1)
}

/// out[T, C] = W[ids[t]]. buffers: out, W, ids. ints: T, C.
const fn embedding<W: Weight>(name: &'static str) -> Kernel {
    let phases = const {
        &[Phase {
            chunks: |job| job.size(0).div_ceil(rows_per_chunk(job.size(1))),
            run: |job, chunk, _| {
                let (rows, columns) = (job.size(0), job.size(1));
                let step = rows_per_chunk(columns);
                for t in chunk * step..rows.min((chunk + 1) * step) {
                    unsafe {
                        let id = *job.buffer::<i32>(2).add(t) as usize;
                        let row = job.buffer::<u8>(1).add(id * W::row_bytes(columns));
                        decode_row::<W>(row, columns, job.buffer::<f32>(0).add(t * columns));
                    }
                }
            },
        }]
    };
    Kernel::new(name, phases)
}

/// out[rows, columns] = W. buffers: out, W. ints: rows, columns.
const fn cast<W: Weight>(name: &'static str) -> Kernel {
    // Rows are whole blocks, and so are chunks.
    let phases = const {
        &[Phase {
            chunks: |job| (job.size(0) * job.size(1)).div_ceil(CHUNK),
            run: |job, chunk, _| unsafe {
                let begin = chunk * CHUNK;
                let count = CHUNK.min(job.size(0) * job.size(1) - begin);
                let source = job.buffer::<u8>(1).add(W::row_bytes(begin));
                decode_row::<W>(source, count, job.buffer::<f32>(0).add(begin));
            },
        }]
    };
    Kernel::new(name, phases)
}

macro_rules! kernels {
    ($($weight:ident $suffix:literal),*) => {
        pub const KERNELS: &[Kernel] = &[
            embedding::<F32>("embedding_f32_f32"),
            $(
                embedding::<$weight>(concat!("embedding_f32_", $suffix)),
                cast::<$weight>(concat!("cast_f32_", $suffix)),
            )*
        ];
    };
}

kernels!(F16 "f16", BF16 "bf16", Q8_0 "q8_0", Q4_0 "q4_0", Q4_1 "q4_1", Q5_0 "q5_0", Q5_1 "q5_1",
    Q4_K "q4_k", Q5_K "q5_k", Q6_K "q6_k");

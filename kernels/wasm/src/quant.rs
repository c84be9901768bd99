//! Weights as f32: rows of an embedding, and whole tensors.

use core::arch::wasm32::f32x4_convert_i32x4;

use crate::rows;
use crate::simd::{map, splat, store, store_part};
use crate::table::{Job, Kernel, Phase};
use crate::weight::{
    BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Weight, decode_group, partial_eight,
};

/// Elements in a chunk, about.
const CHUNK: usize = 1 << 14;

/// Decodes a row of `k` elements.
pub unsafe fn decode_row<W: Weight>(row: *const u8, k: usize, out: *mut f32) {
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

/// out[T, C] = W[ids[t]], NaN where an id is outside W. buffers: out, W, ids. ints: T, C, V.
const fn embedding<W: Weight>(name: &'static str) -> Kernel {
    let phases = const {
        &[Phase {
            chunks: |job| rows::chunks(job.size(0), job.size(1)),
            run: |job, chunk, _| {
                let columns = job.size(1);
                for t in rows::range(chunk, job.size(0), columns) {
                    unsafe {
                        let out = job.buffer::<f32>(0).add(t * columns);
                        // A negative id is a huge one.
                        let id = *job.buffer::<i32>(2).add(t) as usize;
                        match id < job.size(2) {
                            true => decode_row::<W>(job.buffer::<u8>(1).add(id * W::row_bytes(columns)), columns, out),
                            false => map([out], [], columns, |[]| [splat(f32::NAN)]),
                        }
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
            chunks: cast_chunks,
            run: |job, chunk, _| unsafe {
                let (begin, count) = cast_range(job, chunk);
                let source = job.buffer::<u8>(1).add(W::row_bytes(begin));
                decode_row::<W>(source, count, job.buffer::<f32>(0).add(begin));
            },
        }]
    };
    Kernel::new(name, phases)
}

/// The same of integers.
const CAST_I32: Kernel = Kernel::new(
    "cast_f32_i32",
    &[Phase {
        chunks: cast_chunks,
        run: |job, chunk, _| unsafe {
            let (begin, count) = cast_range(job, chunk);
            let (out, x) = (job.buffer::<f32>(0).add(begin), job.buffer::<f32>(1).add(begin));
            map([out], [x.cast_const()], count, |[x]| [f32x4_convert_i32x4(x)]);
        },
    }],
);

fn cast_chunks(job: &Job) -> usize {
    (job.size(0) * job.size(1)).div_ceil(CHUNK)
}

/// First element and number of elements of a chunk.
fn cast_range(job: &Job, chunk: usize) -> (usize, usize) {
    let begin = chunk * CHUNK;
    (begin, CHUNK.min(job.size(0) * job.size(1) - begin))
}

macro_rules! kernels {
    ($($weight:ident $suffix:literal),*) => {
        pub const KERNELS: &[Kernel] = &[
            CAST_I32,
            $(
                embedding::<$weight>(concat!("embedding_f32_", $suffix)),
                cast::<$weight>(concat!("cast_f32_", $suffix)),
            )*
        ];
    };
}

kernels!(F32 "f32", F16 "f16", BF16 "bf16", Q8_0 "q8_0", Q4_0 "q4_0", Q4_1 "q4_1", Q5_0 "q5_0", Q5_1 "q5_1",
    Q4_K "q4_k", Q5_K "q5_k", Q6_K "q6_k");

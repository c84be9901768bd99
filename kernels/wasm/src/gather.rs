//! The transpose of reading rows (embedding, in quant.rs): adding into them.

use core::arch::wasm32::*;

use crate::rows;
use crate::simd::{map, splat};
use crate::table::{Job, Kernel, Phase};

/// y[N, C]: y[rows[m]] += x[m] in ascending m; a row outside y adds nothing. Buffers: y; x [M, C], rows i32 [M].
/// ints: M, C, N. A chunk is a range of rows of y, and looks for those that belong to it.
unsafe fn scatter_add(job: &Job, chunk: usize, _: usize) {
    let [m, columns, n] = [0, 1, 2].map(|i| job.size(i));
    let own = rows::range(chunk, n, columns);
    unsafe {
        let y = |row: usize| job.buffer::<f32>(0).add(row * columns);
        map([y(own.start)], [], own.len() * columns, |[]| [splat(0.0)]);
        for i in 0..m {
            let row = *job.buffer::<i32>(2).add(i) as usize;
            if own.contains(&row) {
                let x = job.buffer::<f32>(1).add(i * columns);
                map([y(row)], [y(row).cast_const(), x], columns, |[y, x]| [f32x4_add(y, x)]);
            }
        }
    }
}

pub const KERNELS: &[Kernel] = &[Kernel::new(
    "scatterAdd_f32",
    &[Phase { chunks: |job| rows::chunks(job.size(2), job.size(1)), run: scatter_add }],
)];

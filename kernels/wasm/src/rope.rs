//! Rotary position embedding, half-split: pairs (j, j + D/2) of each head turn by the angles of their row's position.

use core::arch::wasm32::*;

use crate::rows;
use crate::simd::{fma, map, splat};
use crate::table::{Job, Kernel, Phase};

/// Buffers: y [T, H, D]; x, positions i32 [T], table [P, D] = cos | sin. ints: T, H, D, P, whether to turn back.
/// A row whose position is outside the table becomes NaN.
unsafe fn rope(job: &Job, chunk: usize, _: usize) {
    let [t, h, d, p] = [0, 1, 2, 3].map(|i| job.size(i));
    let half = d / 2;
    let direction = splat(if job.size(4) != 0 { -1.0 } else { 1.0 });
    for row in rows::range(chunk, t, h * d) {
        unsafe {
            let position = *job.buffer::<i32>(2).add(row) as usize;
            let y = job.buffer::<f32>(0).add(row * h * d);
            if position >= p {
                map([y], [], h * d, |[]| [splat(f32::NAN)]);
                continue;
            }
            let x = job.buffer::<f32>(1).add(row * h * d).cast_const();
            let cos = job.buffer::<f32>(3).add(position * d).cast_const();
            for head in (0..h * d).step_by(d) {
                let (x, y) = (x.add(head), y.add(head));
                map([y, y.add(half)], [x, x.add(half), cos, cos.add(half)], half, |[a, b, cos, sin]| {
                    let sin = f32x4_mul(sin, direction);
                    [f32x4_sub(f32x4_mul(a, cos), f32x4_mul(b, sin)), fma(a, sin, f32x4_mul(b, cos))]
                });
            }
        }
    }
}

pub const KERNELS: &[Kernel] = &[Kernel::new(
    "rope_f32",
    &[Phase { chunks: |job| rows::chunks(job.size(0), job.size(1) * job.size(2)), run: rope }],
)];

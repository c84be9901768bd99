//! silu(gate)·up and its gradients, flat. ints: n.

use core::arch::wasm32::*;

use crate::elementwise::{flat, flat_chunks};
use crate::simd::{fma, sigmoid, splat};
use crate::table::{Job, Kernel, Phase};

/// Buffers: y; gate, up.
unsafe fn forward(job: &Job, chunk: usize, _: usize) {
    unsafe { flat(job, chunk, 1, |[gate, up]| [f32x4_mul(f32x4_mul(gate, sigmoid(gate)), up)]) }
}

/// Buffers: dGate, dUp; g, gate, up. With s = σ(gate): dGate = g·up·s·(1 + gate·(1 − s)), dUp = g·gate·s.
unsafe fn gradients(job: &Job, chunk: usize, _: usize) {
    unsafe {
        flat(job, chunk, 2, |[g, gate, up]| {
            let s = sigmoid(gate);
            let gs = f32x4_mul(g, s);
            let slope = fma(gate, f32x4_sub(splat(1.0), s), splat(1.0));
            [f32x4_mul(f32x4_mul(gs, up), slope), f32x4_mul(gs, gate)]
        })
    }
}

pub const KERNELS: &[Kernel] = &[
    Kernel::new("swiglu_f32", &[Phase { chunks: flat_chunks, run: forward }]),
    Kernel::new("swigluGrad_f32", &[Phase { chunks: flat_chunks, run: gradients }]),
];

//! Cross entropy. Targets are i32 `[R]`, a token for each row, or pairs (row, token) `[n, 2]`; `columns` is 1 or 2. What a
//! target outside the logits takes part in becomes NaN or is left out, and nothing outside is touched.

use core::arch::wasm32::*;

use crate::rows;
use crate::simd::{exp, load_or, map, max, splat, sum};
use crate::table::{Job, Kernel, Phase};

/// The targets and the size of the logits `[R, V]`.
#[derive(Clone, Copy)]
pub struct Targets {
    pub r: usize,
    pub v: usize,
    pub n: usize,
    columns: usize,
    data: *const i32,
}

impl Targets {
    /// ints: R, V, n, columns.
    pub fn new(job: &Job, buffer: usize) -> Targets {
        let [r, v, n, columns] = [0, 1, 2, 3].map(|i| job.size(i));
        Targets { r, v, n, columns, data: job.buffer(buffer) }
    }

    /// Row and token of target `i` if they are inside the logits.
    pub fn get(&self, i: usize) -> Option<(usize, usize)> {
        let (row, token) = match self.columns {
            1 => (i, unsafe { *self.data.add(i) }),
            _ => unsafe { (*self.data.add(2 * i) as usize, *self.data.add(2 * i + 1)) },
        };
        (row < self.r && (token as usize) < self.v).then_some((row, token as usize))
    }

    /// Index and token of each target of a row.
    pub fn of_row(&self, row: usize) -> impl Iterator<Item = (usize, usize)> {
        let candidates = if self.columns == 1 { row..row + 1 } else { 0..self.n };
        candidates.filter_map(move |i| self.get(i).filter(|target| target.0 == row).map(|(_, token)| (i, token)))
    }
}

/// The largest of a row of `count` logits, and Σ e^(z − largest).
pub unsafe fn exponentials(z: *const f32, count: usize) -> (f32, f32) {
    unsafe {
        let largest = max(z, count);
        let shift = splat(largest);
        (largest, sum(count, |i, lanes| exp(f32x4_sub(load_or(z.add(i), lanes, f32::NEG_INFINITY), shift))))
    }
}

/// Buffers: log-probabilities [n] of the targets, log-sum-exp [R]; logits, targets. ints: R, V, n, columns.
unsafe fn log_sum_exp(job: &Job, chunk: usize, _: usize) {
    let (r, v) = (job.size(0), job.size(1));
    for row in rows::range(chunk, r, v) {
        unsafe {
            let (largest, total) = exponentials(job.buffer::<f32>(2).add(row * v), v);
            *job.buffer::<f32>(1).add(row) = largest + total.ln();
        }
    }
}

unsafe fn log_probs(job: &Job, _: usize, _: usize) {
    let targets = Targets::new(job, 3);
    for i in 0..targets.n {
        unsafe {
            *job.buffer::<f32>(0).add(i) = targets.get(i).map_or(f32::NAN, |(row, token)| {
                *job.buffer::<f32>(2).add(row * targets.v + token) - *job.buffer::<f32>(1).add(row)
            });
        }
    }
}

/// −Σ w·log-probability. Buffers: loss; log-probabilities, weights. ints: n.
unsafe fn weighted_loss(job: &Job, _: usize, _: usize) {
    let mut loss = 0.0;
    for i in 0..job.size(0) {
        unsafe { loss -= f64::from(*job.buffer::<f32>(1).add(i)) * f64::from(*job.buffer::<f32>(2).add(i)) };
    }
    unsafe { *job.buffer::<f32>(0) = loss as f32 };
}

/// g·Σ w·(softmax − onehot) over the targets of each row.
/// Buffers: gradient [R, V]; g, logits, targets, weights, log-sum-exp [R]. ints: R, V, n, columns.
unsafe fn gradient(job: &Job, chunk: usize, _: usize) {
    let targets = Targets::new(job, 3);
    for row in rows::range(chunk, targets.r, targets.v) {
        unsafe {
            let g = *job.buffer::<f32>(1);
            let weight = |i: usize| g * *job.buffer::<f32>(4).add(i);
            let share = splat(targets.of_row(row).map(|(i, _)| weight(i)).sum());
            let lse = splat(*job.buffer::<f32>(5).add(row));
            let [out, z] = [0, 2].map(|i| job.buffer::<f32>(i).add(row * targets.v));
            map([out], [z.cast_const()], targets.v, |[z]| [f32x4_mul(share, exp(f32x4_sub(z, lse)))]);
            targets.of_row(row).for_each(|(i, token)| *out.add(token) -= weight(i));
        }
    }
}

fn row_chunks(job: &Job) -> usize {
    rows::chunks(job.size(0), job.size(1))
}

pub const KERNELS: &[Kernel] = &[
    Kernel::new(
        "logProbs_f32",
        &[Phase { chunks: row_chunks, run: log_sum_exp }, Phase { chunks: |_| 1, run: log_probs }],
    ),
    Kernel::new("weightedLoss_f32", &[Phase { chunks: |_| 1, run: weighted_loss }]),
    Kernel::new("crossEntropyGrad_f32", &[Phase { chunks: row_chunks, run: gradient }]),
];

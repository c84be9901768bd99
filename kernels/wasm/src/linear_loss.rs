//! Log-probabilities of targets under softmax(h·Wᵀ) and, with the loss Σ w·(lse − z[target]), the gradient for h. Logits
//! exist for a block of rows and a block of the vocabulary at a time.
//!
//! ```text
//! phase 1   h is packed, a block of rows a chunk
//! phase 2   a chunk is a block of rows and a part of the vocabulary:
//!             for each block of the part:
//!               z = h·Wᵀ; the targets' z are written out
//!               largest logit m, total l = Σ e^(z−m) and, with GRAD, a = Σ e^(z−m)·W of the part so far are carried on:
//!               when m grows, l and a are scaled down first (as attention does it)
//! phase 3   each row joins its parts in their order: lse, log-probabilities, dh = share·a/l − Σ w·W[token]
//! ```
//!
//! Blocks and parts follow from the shape alone.

use core::arch::wasm32::*;
use core::marker::PhantomData;
use core::ops::Range;

use crate::gemm::operand::{Left, RowsAcrossDepth, RowsAlongDepth};
use crate::gemm::product::{Arithmetic, MAX_PANELS, Shape, Start};
use crate::loss::{Targets, exponentials};
use crate::quant::decode_row;
use crate::rows;
use crate::simd::{exp, fma, map, splat};
use crate::table::{Job, Kernel, Phase};
use crate::weight::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Weight};

/// Rows in a block, at most: with VOCABULARY, 96 KiB of logits, which stay in L2 beside the panels.
const ROWS: usize = 96;
/// Columns of logits in a block; whole groups of a quantised type.
const VOCABULARY: usize = 256;
/// Chunks worth having: so many that eight threads finish together, so few that the parts' sums stay small.
const CHUNKS: usize = 16;

/// One launch. Buffers: log-probabilities [n], log-sum-exp [R], dh [R, C] if GRAD; h [R, C], W [V, C], targets, weights
/// [n] if GRAD. ints: R, V, n, columns of the targets, C.
struct LinearLoss<'a, W, const GRAD: bool> {
    job: &'a Job,
    targets: Targets,
    c: usize,
    kind: PhantomData<W>,
}

impl<'a, W: Weight, const GRAD: bool> LinearLoss<'a, W, GRAD> {
    const FIRST_INPUT: usize = if GRAD { 3 } else { 2 };

    fn new(job: &'a Job) -> Self {
        LinearLoss { job, targets: Targets::new(job, Self::FIRST_INPUT + 2), c: job.size(4), kind: PhantomData }
    }

    fn row_blocks(&self) -> usize {
        self.targets.r.div_ceil(ROWS)
    }

    fn rows(&self, block: usize) -> Range<usize> {
        block * ROWS..self.targets.r.min((block + 1) * ROWS)
    }

    fn parts(&self) -> usize {
        let blocks = self.targets.v.div_ceil(VOCABULARY).max(1);
        (CHUNKS / self.row_blocks().max(1)).clamp(1, blocks)
    }

    /// Blocks of the vocabulary in a part.
    fn part(&self, part: usize) -> Range<usize> {
        let blocks = self.targets.v.div_ceil(VOCABULARY);
        part * blocks / self.parts()..(part + 1) * blocks / self.parts()
    }

    fn weight_row(&self, row: usize) -> *const u8 {
        self.job.buffer::<u8>(Self::FIRST_INPUT + 1).wrapping_add(row * W::row_bytes(self.c))
    }

    fn target_weight(&self, i: usize) -> f32 {
        unsafe { *self.job.buffer::<f32>(Self::FIRST_INPUT + 3).add(i) }
    }

    // Scratch memory, in order: packed h, then for each part m, l and (GRAD) a of all rows, then what each thread has for
    // itself: logits (or a decoded row of W), packed logits, panels.

    fn padded_depth(&self) -> usize {
        self.c.next_multiple_of(2)
    }

    fn packed(&self, rows: &Range<usize>) -> *mut f32 {
        self.job.scratch.cast::<f32>().wrapping_add(rows.start * self.padded_depth())
    }

    /// m of a part's rows; l follows, then a.
    fn sums(&self, part: usize) -> *mut f32 {
        let all = self.job.scratch.cast::<f32>().wrapping_add(self.targets.r * self.padded_depth());
        all.wrapping_add(part * self.targets.r * (2 + self.accumulated()))
    }

    /// a of a row.
    fn accumulator(&self, part: usize, row: usize) -> *mut f32 {
        self.sums(part).wrapping_add(2 * self.targets.r + row * self.c)
    }

    /// Elements of a for one row.
    fn accumulated(&self) -> usize {
        if GRAD { self.c } else { 0 }
    }

    /// Elements of a thread's logits.
    fn logits(&self) -> usize {
        (ROWS * VOCABULARY).max(self.c)
    }

    fn own(&self, thread: usize) -> *mut f32 {
        self.sums(self.parts()).wrapping_add(thread * (self.logits() + ROWS * VOCABULARY + MAX_PANELS))
    }

    fn scratch(&self, threads: usize) -> usize {
        self.own(threads) as usize - self.job.scratch as usize
    }

    unsafe fn pack(&self, block: usize) {
        let rows = self.rows(block);
        let shape = Shape { arithmetic: Arithmetic::F32, batch: 1, m: rows.len(), n: VOCABULARY, k: self.c };
        let h = self.job.buffer::<f32>(Self::FIRST_INPUT).wrapping_add(rows.start * self.c);
        let left = Left { data: h, m: rows.len(), k: self.c, transposed: false };
        (0..shape.pack_chunks()).for_each(|i| unsafe { shape.pack_left(left, i, self.packed(&rows)) });
        if block == 0 {
            // What no target of the logits takes the place of stays NaN.
            unsafe { map([self.job.buffer::<f32>(0)], [], self.targets.n, |[]| [splat(f32::NAN)]) };
        }
    }

    unsafe fn accumulate(&self, chunk: usize, thread: usize) {
        let rows = self.rows(chunk / self.parts());
        let part = chunk % self.parts();
        let sums = self.sums(part);
        for row in rows.clone() {
            unsafe {
                *sums.add(row) = f32::NEG_INFINITY;
                *sums.add(self.targets.r + row) = 0.0;
                map([self.accumulator(part, row)], [], self.accumulated(), |[]| [splat(0.0)]);
            }
        }
        for block in self.part(part) {
            let begin = block * VOCABULARY;
            let columns = begin..self.targets.v.min(begin + VOCABULARY);
            unsafe { self.block(&rows, columns, part, thread) };
        }
    }

    /// Carries m, l and a over one block of the vocabulary.
    unsafe fn block(&self, rows: &Range<usize>, columns: Range<usize>, part: usize, thread: usize) {
        let (m, n) = (rows.len(), columns.len());
        let wide = self.job.wide != 0;
        let z = self.own(thread);
        let packed_z = z.wrapping_add(self.logits());
        let panels = packed_z.wrapping_add(ROWS * VOCABULARY);
        let weight = self.weight_row(columns.start);
        let forward = Shape { arithmetic: Arithmetic::F32, batch: 1, m, n, k: self.c };
        for i in 0..forward.chunks() {
            let operands = |_| (self.packed(rows).cast_const(), RowsAlongDepth::<W>::new(weight, self.c), z);
            unsafe { forward.multiply(i, wide, Start::Row(core::ptr::null()), panels, operands) };
        }
        for i in 0..self.targets.n {
            match self.targets.get(i) {
                Some((row, token)) if rows.contains(&row) && columns.contains(&token) => unsafe {
                    *self.job.buffer::<f32>(0).add(i) = *z.add((row - rows.start) * n + token - columns.start);
                },
                _ => (),
            }
        }
        for row in rows.clone() {
            unsafe { self.carry(z.add((row - rows.start) * n), n, part, row) };
        }
        if GRAD {
            let backward = Shape { arithmetic: Arithmetic::F32, batch: 1, m, n: self.c, k: n };
            let left = Left { data: z, m, k: n, transposed: false };
            (0..backward.pack_chunks()).for_each(|i| unsafe { backward.pack_left(left, i, packed_z) });
            for i in 0..backward.chunks() {
                let sum = self.accumulator(part, rows.start);
                let operands = |_| (packed_z.cast_const(), RowsAcrossDepth::<W>::new(weight, self.c), sum);
                unsafe { backward.multiply(i, wide, Start::Held, panels, operands) };
            }
        }
    }

    /// Takes a row's logits into m and l, scales a down if m grows and, for a's sake, leaves e^(z−m) in place of z.
    unsafe fn carry(&self, z: *mut f32, n: usize, part: usize, row: usize) {
        unsafe {
            let m = self.sums(part).add(row);
            let l = m.add(self.targets.r);
            let (largest, total) = exponentials(z, n);
            let joined = largest.max(*m);
            let [old, new] = [*m, largest].map(|m| (m - joined).exp());
            *l = *l * old + total * new;
            *m = joined;
            if GRAD {
                let a = self.accumulator(part, row);
                map([a], [a.cast_const()], self.c, |[a]| [f32x4_mul(a, splat(old))]);
                map([z], [z.cast_const()], n, |[z]| [exp(f32x4_sub(z, splat(joined)))]);
            }
        }
    }

    /// Joins the parts of a row.
    unsafe fn finish(&self, row: usize, thread: usize) {
        let parts = 0..self.parts();
        let [m, l] = [0, 1].map(|i| move |part: usize| unsafe { *self.sums(part).add(i * self.targets.r + row) });
        let largest = parts.clone().map(m).fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = parts.clone().map(|part| l(part) * (m(part) - largest).exp()).sum();
        let lse = largest + total.ln();
        unsafe {
            *self.job.buffer::<f32>(1).add(row) = lse;
            self.targets.of_row(row).for_each(|(i, _)| *self.job.buffer::<f32>(0).add(i) -= lse);
            if GRAD {
                let dh = self.job.buffer::<f32>(2).add(row * self.c);
                map([dh], [], self.c, |[]| [splat(0.0)]);
                let share: f32 = self.targets.of_row(row).map(|(i, _)| self.target_weight(i)).sum();
                for part in parts {
                    self.add_row(dh, share / total * (m(part) - largest).exp(), self.accumulator(part, row));
                }
                let decoded = self.own(thread);
                for (i, token) in self.targets.of_row(row) {
                    decode_row::<W>(self.weight_row(token), self.c, decoded);
                    self.add_row(dh, -self.target_weight(i), decoded);
                }
            }
        }
    }

    /// dh += factor·x.
    unsafe fn add_row(&self, dh: *mut f32, factor: f32, x: *const f32) {
        unsafe { map([dh], [dh, x], self.c, |[dh, x]| [fma(splat(factor), x, dh)]) };
    }
}

const fn kernel<W: Weight, const GRAD: bool>(name: &'static str) -> Kernel {
    let phases = const {
        &[
            Phase {
                // One chunk even without rows: it writes the log-probabilities.
                chunks: |job| LinearLoss::<W, GRAD>::new(job).row_blocks().max(1),
                run: |job, chunk, _| unsafe { LinearLoss::<W, GRAD>::new(job).pack(chunk) },
            },
            Phase {
                chunks: |job| {
                    let launch = LinearLoss::<W, GRAD>::new(job);
                    launch.row_blocks() * launch.parts()
                },
                run: |job, chunk, thread| unsafe { LinearLoss::<W, GRAD>::new(job).accumulate(chunk, thread) },
            },
            Phase {
                chunks: |job| rows::chunks(job.size(0), job.size(4)),
                run: |job, chunk, thread| {
                    for row in rows::range(chunk, job.size(0), job.size(4)) {
                        unsafe { LinearLoss::<W, GRAD>::new(job).finish(row, thread) };
                    }
                },
            },
        ]
    };
    Kernel { name, phases, scratch: |job, threads| LinearLoss::<W, GRAD>::new(job).scratch(threads) }
}

macro_rules! kernels {
    ($($weight:ident $suffix:literal),*) => {
        pub const KERNELS: &[Kernel] = &[
            $(
                kernel::<$weight, false>(concat!("linearLogProbs_f32_", $suffix)),
                kernel::<$weight, true>(concat!("linearLogProbsGrad_f32_", $suffix)),
            )*
        ];
    };
}

kernels!(F32 "f32", F16 "f16", BF16 "bf16", Q8_0 "q8_0", Q4_0 "q4_0", Q4_1 "q4_1", Q5_0 "q5_0", Q5_1 "q5_1",
    Q4_K "q4_k", Q5_K "q5_k", Q6_K "q6_k");

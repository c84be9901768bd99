//! y = s·(m⊙x)·Aᵀ and its gradients for x and A, for x [T, K] and few rows of A [r, K]: the products that LoRA begins
//! with. The mask (`dropout`) is applied to x on its way into registers. The gradient for x is added to what another product
//! has left of it.
//!
//! With r of 8 or so these products read x once and do little else, so that packing x as `gemm` does would cost more than
//! it saves. All loops walk the 32 columns of a mask word.
//!
//! ints: T, K, r. floats: s.

use core::arch::wasm32::*;
use core::array::from_fn;

use crate::dropout::{VECTORS, WORD, kept, words};
use crate::rows;
use crate::simd::{LANES, fma, horizontal_sum, load_upto, splat, store_upto};
use crate::table::{Job, Kernel, Phase};

/// Rows of x that `grad_weight` masks at a time: 8 KiB.
const ROWS: usize = 64;

/// x [T, K], A [r, K], y [T, r] and the mask, wherever the kernel has them.
struct Matrices {
    t: usize,
    k: usize,
    r: usize,
    scale: v128,
    x: *mut f32,
    a: *mut f32,
    y: *mut f32,
    mask: *const u32,
}

impl Matrices {
    /// Finds x, A and y in these buffers; the mask is the last one.
    fn new(job: &Job, [x, a, y]: [usize; 3]) -> Self {
        let [x, a, y] = [x, a, y].map(|i| job.buffer(i));
        let [t, k, r] = [0, 1, 2].map(|i| job.size(i));
        Matrices { t, k, r, scale: splat(job.floats[0]), x, a, y, mask: job.buffer(3) }
    }

    /// Elements of vector `i` of a word that lie in the row: LANES if the `WHOLE` word does.
    #[inline(always)]
    fn lanes<const WHOLE: bool>(&self, word: usize, i: usize) -> usize {
        if WHOLE { LANES } else { self.k.saturating_sub(word * WORD + i * LANES).min(LANES) }
    }

    fn is_whole(&self, word: usize) -> bool {
        (word + 1) * WORD <= self.k
    }

    /// y of M rows.
    unsafe fn forward<const M: usize>(&self, row: usize) {
        let mut column = 0;
        while column < self.r {
            unsafe {
                if column + 4 <= self.r {
                    self.dots::<M, 4>(row, column);
                    column += 4;
                } else {
                    self.dots::<M, 1>(row, column);
                    column += 1;
                }
            }
        }
    }

    /// R columns of y in M rows: eight chains of multiply-adds where M is 2 and R is 4.
    #[inline(always)]
    unsafe fn dots<const M: usize, const R: usize>(&self, row: usize, column: usize) {
        let mut sums = [[splat(0.0); R]; M];
        for word in 0..words(self.k) {
            unsafe {
                match self.is_whole(word) {
                    true => self.add_dots::<M, R, true>(row, column, word, &mut sums),
                    false => self.add_dots::<M, R, false>(row, column, word, &mut sums),
                }
            }
        }
        for m in 0..M {
            for r in 0..R {
                let sum = horizontal_sum(f32x4_mul(sums[m][r], self.scale));
                unsafe { *self.y.add((row + m) * self.r + column + r) = sum };
            }
        }
    }

    #[inline(always)]
    unsafe fn add_dots<const M: usize, const R: usize, const WHOLE: bool>(
        &self,
        row: usize,
        column: usize,
        word: usize,
        sums: &mut [[v128; R]; M],
    ) {
        unsafe {
            let bits: [u32; M] = from_fn(|m| *self.mask.add((row + m) * words(self.k) + word));
            let x: [*const f32; M] = from_fn(|m| self.x.add((row + m) * self.k + word * WORD).cast_const());
            let a: [*const f32; R] = from_fn(|r| self.a.add((column + r) * self.k + word * WORD).cast_const());
            for i in 0..VECTORS {
                let lanes = self.lanes::<WHOLE>(word, i);
                let x: [v128; M] = from_fn(|m| v128_and(load_upto(x[m].add(i * LANES), lanes), kept(bits[m], i)));
                for r in 0..R {
                    let a = load_upto(a[r].add(i * LANES), lanes);
                    (0..M).for_each(|m| sums[m][r] = fma(x[m], a, sums[m][r]));
                }
            }
        }
    }

    /// Adds g·A, masked, to x of one row and word.
    #[inline(always)]
    unsafe fn add_grad_input<const WHOLE: bool>(&self, row: usize, word: usize) {
        let mut sums = [splat(0.0); VECTORS];
        unsafe {
            for j in 0..self.r {
                let g = v128_load32_splat(self.y.add(row * self.r + j).cast());
                let a = self.a.add(j * self.k + word * WORD);
                for i in 0..VECTORS {
                    sums[i] = fma(g, load_upto(a.add(i * LANES), self.lanes::<WHOLE>(word, i)), sums[i]);
                }
            }
            let bits = *self.mask.add(row * words(self.k) + word);
            let x = self.x.add(row * self.k + word * WORD);
            for i in 0..VECTORS {
                let (x, lanes) = (x.add(i * LANES), self.lanes::<WHOLE>(word, i));
                let masked = v128_and(f32x4_mul(sums[i], self.scale), kept(bits, i));
                store_upto(x, f32x4_add(load_upto(x, lanes), masked), lanes);
            }
        }
    }

    /// A of one word: gᵀ·(m⊙x), ROWS rows of x at a time.
    unsafe fn grad_weight<const WHOLE: bool>(&self, word: usize) {
        let mut block = [[splat(0.0); VECTORS]; ROWS];
        unsafe {
            for first in (0..self.t.max(1)).step_by(ROWS) {
                let count = ROWS.min(self.t - first);
                for (row, out) in block[..count].iter_mut().enumerate() {
                    let bits = *self.mask.add((first + row) * words(self.k) + word);
                    let x = self.x.add((first + row) * self.k + word * WORD);
                    for i in 0..VECTORS {
                        let x = load_upto(x.add(i * LANES), self.lanes::<WHOLE>(word, i));
                        out[i] = v128_and(f32x4_mul(x, self.scale), kept(bits, i));
                    }
                }
                let mut column = 0;
                while column < self.r {
                    if column + 4 <= self.r {
                        self.add_rows::<4, WHOLE>(word, column, first, &block[..count]);
                        column += 4;
                    } else {
                        self.add_rows::<1, WHOLE>(word, column, first, &block[..count]);
                        column += 1;
                    }
                }
            }
        }
    }

    /// Adds the block's share to R rows of A; the first block begins them.
    #[inline(always)]
    unsafe fn add_rows<const R: usize, const WHOLE: bool>(
        &self,
        word: usize,
        column: usize,
        first: usize,
        block: &[[v128; VECTORS]],
    ) {
        for i in (0..VECTORS).step_by(2) {
            unsafe {
                let at = |r: usize, v: usize| self.a.add((column + r) * self.k + word * WORD + (i + v) * LANES);
                let lanes = [0, 1].map(|v| self.lanes::<WHOLE>(word, i + v));
                let mut sums: [[v128; 2]; R] = from_fn(|r| {
                    from_fn(|v| if first == 0 { splat(0.0) } else { load_upto(at(r, v), lanes[v]) })
                });
                let mut g = self.y.add(first * self.r + column).cast_const();
                for x in block {
                    for r in 0..R {
                        let g = v128_load32_splat(g.add(r).cast());
                        (0..2).for_each(|v| sums[r][v] = fma(g, x[i + v], sums[r][v]));
                    }
                    g = g.add(self.r);
                }
                (0..R).for_each(|r| (0..2).for_each(|v| store_upto(at(r, v), sums[r][v], lanes[v])));
            }
        }
    }
}

/// Buffers: y; x, A, mask.
unsafe fn forward(job: &Job, chunk: usize, _: usize) {
    let matrices = Matrices::new(job, [1, 2, 0]);
    let rows = rows::range(chunk, matrices.t, matrices.k);
    let whole = rows.start + rows.len() / 2 * 2;
    (rows.start..whole).step_by(2).for_each(|row| unsafe { matrices.forward::<2>(row) });
    (whole..rows.end).for_each(|row| unsafe { matrices.forward::<1>(row) });
}

/// Buffers: dx; g [T, r], A, mask.
unsafe fn add_grad_input(job: &Job, chunk: usize, _: usize) {
    let matrices = Matrices::new(job, [0, 2, 1]);
    for word in 0..words(matrices.k) {
        for row in rows::range(chunk, matrices.t, matrices.k) {
            unsafe {
                match matrices.is_whole(word) {
                    true => matrices.add_grad_input::<true>(row, word),
                    false => matrices.add_grad_input::<false>(row, word),
                }
            }
        }
    }
}

/// Buffers: dA; g [T, r], x, mask. A chunk is a word's columns.
unsafe fn grad_weight(job: &Job, chunk: usize, _: usize) {
    let matrices = Matrices::new(job, [2, 0, 1]);
    unsafe {
        match matrices.is_whole(chunk) {
            true => matrices.grad_weight::<true>(chunk),
            false => matrices.grad_weight::<false>(chunk),
        }
    }
}

fn row_chunks(job: &Job) -> usize {
    rows::chunks(job.size(0), job.size(1))
}

pub const KERNELS: &[Kernel] = &[
    Kernel::new("dropoutLinear_f32", &[Phase { chunks: row_chunks, run: forward }]),
    Kernel::new("dropoutLinearGradInputAdd_f32", &[Phase { chunks: row_chunks, run: add_grad_input }]),
    Kernel::new("dropoutLinearGradWeight_f32", &[Phase { chunks: |job| words(job.size(1)), run: grad_weight }]),
];

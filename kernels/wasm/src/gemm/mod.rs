//! Matrix products: `matmul`, `linear` with weights of every stored type, and linear's gradient with respect to its input.
//!
//! `tile` holds the micro-kernels, `pack` and `operand` bring what they read into their order, `product` blocks and
//! divides the work; `int16` is what is different where they multiply in 16 bits; `gemv` takes the place of all of them when there are only one or two rows.

mod gemv;
mod int16;
pub mod operand;
pub mod pack;
pub mod product;
pub mod tile;

use core::cell::Cell;
use core::marker::PhantomData;

use gemv::Gemv;
use operand::{Left, Right, RowsAcrossDepth, RowsAlongDepth};
use product::{Arithmetic, Shape, Start};

use crate::pool::POOL;
use crate::table::{Job, Kernel, Phase};
use crate::weight::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Weight};

/// Least rows of a product in 16 bits: with fewer, packing the weight takes too much of it.
const INT16_ROWS: usize = 16;
/// What columns and depth of a product in 16 bits exceed: an adapter's rank, for adapters and their gradients are in f32. The
/// kernels know them by nothing else; the narrowest layers of SmolLM2, k and v, have 192.
const ADAPTER_RANK: usize = 128;

/// A kernel that is a matrix product: its shape and operands as its job gives them.
trait Product {
    type Right: Right;
    fn shape(job: &Job) -> Shape;
    /// Distinct left operands, and the one of batch index `i`.
    fn lefts(job: &Job) -> usize;
    fn left(job: &Job, i: usize) -> Left;
    fn right(job: &Job, batch: usize) -> Self::Right;
    /// What the product is added to.
    fn start(_: &Job) -> Start {
        Start::Row(core::ptr::null())
    }
    /// Buffer 0 is C.
    fn output(job: &Job, batch: usize) -> *mut f32 {
        let shape = Self::shape(job);
        job.buffer::<f32>(0).wrapping_add(batch * shape.m * shape.n)
    }
}

/// Whether each thread packs the left operand for itself.
fn own_left<P: Product>(job: &Job) -> bool {
    P::lefts(job) == 1 && P::shape(job).own_left()
}

/// Packed left operands in scratch memory.
fn packed_lefts<P: Product>(job: &Job, threads: usize) -> usize {
    if own_left::<P>(job) { threads } else { P::lefts(job) }
}

/// Scratch: the packed left operands, then the panels of each thread.
fn scratch<P: Product>(job: &Job, threads: usize) -> usize {
    let shape = P::shape(job);
    4 * (packed_lefts::<P>(job, threads) * shape.packed().next_multiple_of(64) + threads * shape.panels())
}

fn packed<P: Product>(job: &Job, left: usize) -> *mut f32 {
    job.scratch.cast::<f32>().wrapping_add(left * P::shape(job).packed().next_multiple_of(64))
}

fn pack_chunks<P: Product>(job: &Job) -> usize {
    if own_left::<P>(job) { 0 } else { P::lefts(job) * P::shape(job).pack_chunks() }
}

unsafe fn pack<P: Product>(job: &Job, chunk: usize, _thread: usize) {
    let shape = P::shape(job);
    let (left, part) = (chunk / shape.pack_chunks(), chunk % shape.pack_chunks());
    unsafe { shape.pack_left(P::left(job, left), part, packed::<P>(job, left)) };
}

thread_local! {
    /// The launch in which this thread has packed a left operand of its own.
    static PACKED: Cell<u32> = const { Cell::new(0) };
}

/// The packed left operand of `thread`, which packs it on its first chunk of a launch.
unsafe fn packed_own<P: Product>(job: &Job, thread: usize) -> *const f32 {
    let shape = P::shape(job);
    let packed = packed::<P>(job, thread);
    if PACKED.replace(job.launch) != job.launch {
        (0..shape.pack_chunks()).for_each(|part| unsafe { shape.pack_left(P::left(job, 0), part, packed) });
    }
    packed
}

fn multiply_chunks<P: Product>(job: &Job) -> usize {
    P::shape(job).chunks()
}

unsafe fn multiply<P: Product>(job: &Job, chunk: usize, thread: usize) {
    let shape = P::shape(job);
    let lefts = packed_lefts::<P>(job, POOL.threads());
    unsafe {
        let panels = packed::<P>(job, lefts).add(thread * shape.panels());
        let wide = match shape.arithmetic {
            Arithmetic::F32 => job.wide,
            Arithmetic::Int16 => job.wide_int16,
        };
        shape.multiply(chunk, wide != 0, P::start(job), panels, |batch| {
            let left = match own_left::<P>(job) {
                true => packed_own::<P>(job, thread),
                false => packed::<P>(job, batch.min(lefts - 1)),
            };
            (left, P::right(job, batch), P::output(job, batch))
        });
    }
}

/// Instantiates the phases of a product.
const fn kernel<P: Product>(name: &'static str) -> Kernel {
    let phases = const {
        &[
            Phase { chunks: pack_chunks::<P>, run: pack::<P> },
            Phase { chunks: multiply_chunks::<P>, run: multiply::<P> },
        ]
    };
    Kernel { name, phases, scratch: scratch::<P> }
}

/// C[batch, M, N] = op(A)·op(B) in f32. A matrix is `[M, K]` and `[K, N]`, or the transpose.
/// buffers: C, A, B. ints: batch, M, N, K, transA, transB, strideA, strideB (elements between the matrices of a batch,
/// 0 to use one for all).
struct Matmul;

/// B of `matmul`, whose orientation is known at run time only.
enum MatmulRight {
    Transposed(RowsAlongDepth<F32>),
    Plain(RowsAcrossDepth<F32>),
}

impl Right for MatmulRight {
    unsafe fn pack(&self, columns: core::ops::Range<usize>, begin: usize, depth: usize, wide: bool, out: *mut f32) {
        unsafe {
            match self {
                MatmulRight::Transposed(right) => right.pack(columns, begin, depth, wide, out),
                MatmulRight::Plain(right) => right.pack(columns, begin, depth, wide, out),
            }
        }
    }
}

impl Product for Matmul {
    type Right = MatmulRight;

    fn shape(job: &Job) -> Shape {
        let arithmetic = Arithmetic::F32;
        Shape { arithmetic, batch: job.size(0), m: job.size(1), n: job.size(2), k: job.size(3) }
    }

    fn lefts(job: &Job) -> usize {
        if job.size(6) == 0 { 1 } else { job.size(0) }
    }

    fn left(job: &Job, i: usize) -> Left {
        let data = job.buffer::<f32>(1).wrapping_add(i * job.size(6));
        Left { data, m: job.size(1), k: job.size(3), transposed: job.size(4) != 0 }
    }

    fn right(job: &Job, batch: usize) -> MatmulRight {
        let data = job.buffer::<f32>(2).wrapping_add(batch * job.size(7)) as *const u8;
        match job.size(5) != 0 {
            true => MatmulRight::Transposed(RowsAlongDepth::new(data, job.size(3))),
            false => MatmulRight::Plain(RowsAcrossDepth::new(data, job.size(2))),
        }
    }
}

/// The shape of a product with a weight, in 16 bits if the job asks for it and it is large.
fn with_weight(job: &Job, m: usize, n: usize, k: usize) -> Shape {
    let large = m >= INT16_ROWS && n.min(k) > ADAPTER_RANK;
    let arithmetic = if job.int16 != 0 && large { Arithmetic::Int16 } else { Arithmetic::F32 };
    Shape { arithmetic, batch: 1, m, n, k }
}

/// y[M, N] = x[M, K]·W[N, K]ᵀ (+ bias[N]). buffers: y, x, W, bias if there is one. ints: M, N, K, whether there is a bias.
struct Linear<W>(PhantomData<W>);

impl<W: Weight> Product for Linear<W> {
    type Right = RowsAlongDepth<W>;

    fn shape(job: &Job) -> Shape {
        with_weight(job, job.size(0), job.size(1), job.size(2))
    }

    fn lefts(_: &Job) -> usize {
        1
    }

    fn left(job: &Job, _: usize) -> Left {
        Left { data: job.buffer(1), m: job.size(0), k: job.size(2), transposed: false }
    }

    fn right(job: &Job, _: usize) -> Self::Right {
        RowsAlongDepth::new(job.buffer(2), job.size(2))
    }

    fn start(job: &Job) -> Start {
        Start::Row(Self::bias(job))
    }
}

impl<W: Weight> Linear<W> {
    /// `[N]`, or null.
    fn bias(job: &Job) -> *const f32 {
        if job.size(3) != 0 { job.buffer(3) } else { core::ptr::null() }
    }

    /// One or two rows are not packed.
    fn is_gemv(job: &Job) -> bool {
        (1..=gemv::MAX_ROWS).contains(&job.size(0))
    }

    fn gemv(job: &Job) -> Gemv {
        let (y, x, weight, packed) = (job.buffer(0), job.buffer(1), job.buffer(2), job.scratch.cast());
        Gemv { m: job.size(0), n: job.size(1), k: job.size(2), y, x, weight, bias: Self::bias(job), packed }
    }

    const KERNEL_PHASES: &'static [Phase] = &[
        Phase {
            chunks: |job| if Self::is_gemv(job) { 1 } else { pack_chunks::<Self>(job) },
            run: |job, chunk, thread| unsafe {
                match Self::is_gemv(job) {
                    true => Self::gemv(job).pack::<W>(),
                    false => pack::<Self>(job, chunk, thread),
                }
            },
        },
        Phase {
            chunks: |job| match Self::is_gemv(job) {
                true => gemv::chunks(job.size(1), job.size(2)),
                false => multiply_chunks::<Self>(job),
            },
            run: |job, chunk, thread| unsafe {
                match Self::is_gemv(job) {
                    true => Self::gemv(job).chunk::<W>(chunk, thread),
                    false => multiply::<Self>(job, chunk, thread),
                }
            },
        },
    ];

    const fn kernel(name: &'static str) -> Kernel {
        let scratch = |job: &Job, threads| match Self::is_gemv(job) {
            true => 4 * gemv::scratch::<W>(job.size(0), job.size(2), threads),
            false => scratch::<Self>(job, threads),
        };
        Kernel { name, phases: Self::KERNEL_PHASES, scratch }
    }
}

/// y[M, N] += u[M, r]·B[N, r]ᵀ. buffers: y, u, B. ints: M, N, r.
struct LinearAdd;

impl Product for LinearAdd {
    type Right = RowsAlongDepth<F32>;

    fn shape(job: &Job) -> Shape {
        Shape { arithmetic: Arithmetic::F32, batch: 1, m: job.size(0), n: job.size(1), k: job.size(2) }
    }

    fn lefts(_: &Job) -> usize {
        1
    }

    fn left(job: &Job, i: usize) -> Left {
        Linear::<F32>::left(job, i)
    }

    fn right(job: &Job, batch: usize) -> Self::Right {
        Linear::<F32>::right(job, batch)
    }

    fn start(_: &Job) -> Start {
        Start::Held
    }
}

/// dx[M, K] = g[M, N]·W[N, K]. buffers: dx, g, W. ints: M, N, K (of the linear).
struct LinearGradInput<W>(PhantomData<W>);

impl<W: Weight> Product for LinearGradInput<W> {
    type Right = RowsAcrossDepth<W>;

    fn shape(job: &Job) -> Shape {
        with_weight(job, job.size(0), job.size(2), job.size(1))
    }

    fn lefts(_: &Job) -> usize {
        1
    }

    fn left(job: &Job, _: usize) -> Left {
        Left { data: job.buffer(1), m: job.size(0), k: job.size(1), transposed: false }
    }

    fn right(job: &Job, _: usize) -> Self::Right {
        RowsAcrossDepth::new(job.buffer(2), job.size(2))
    }
}

/// dx[M, K] += g[M, r]·A[r, K]. buffers: dx, g, A. ints: M, r, K.
struct LinearGradInputAdd;

impl Product for LinearGradInputAdd {
    type Right = RowsAcrossDepth<F32>;

    fn shape(job: &Job) -> Shape {
        Shape { arithmetic: Arithmetic::F32, batch: 1, m: job.size(0), n: job.size(2), k: job.size(1) }
    }

    fn lefts(_: &Job) -> usize {
        1
    }

    fn left(job: &Job, i: usize) -> Left {
        LinearGradInput::<F32>::left(job, i)
    }

    fn right(job: &Job, batch: usize) -> Self::Right {
        LinearGradInput::<F32>::right(job, batch)
    }

    fn start(_: &Job) -> Start {
        Start::Held
    }
}

macro_rules! kernels {
    ($($weight:ident $suffix:literal),*) => {
        pub const KERNELS: &[Kernel] = &[
            kernel::<Matmul>("matmul_f32"),
            kernel::<LinearAdd>("linearAdd_f32"),
            kernel::<LinearGradInputAdd>("linearGradInputAdd_f32"),
            $(
                Linear::<$weight>::kernel(concat!("linear_f32_", $suffix)),
                kernel::<LinearGradInput<$weight>>(concat!("linearGradInput_f32_", $suffix)),
            )*
        ];
    };
}

kernels!(F32 "f32", F16 "f16", BF16 "bf16", Q8_0 "q8_0", Q4_0 "q4_0", Q4_1 "q4_1", Q5_0 "q5_0", Q5_1 "q5_1",
    Q4_K "q4_k", Q5_K "q5_k", Q6_K "q6_k");

//! Lorikeet's kernels for WebAssembly: the kernel table and the functions that JavaScript calls.
//!
//! Launching: write the arguments into the job (`job`), ask how much scratch memory it needs (`scratch_bytes`), write its
//! address into the job, call `launch`. Every other thread sits in `worker_loop`.
#![feature(stdarch_wasm_atomic_wait, asm_experimental_arch)]

use wasm_bindgen::prelude::wasm_bindgen;

mod attention;
mod cache;
mod dropout;
mod dropout_linear;
mod elementwise;
mod gather;
mod gemm;
mod linear_loss;
mod loss;
mod r#move;
mod norm;
mod optimizer;
mod pool;
mod probe;
mod quant;
mod reduce;
mod rope;
mod rows;
mod simd;
mod softmax;
mod swiglu;
mod table;
mod weight;

use pool::POOL;
use table::{Job, Kernel, concat};

/// Lists the kernels of every family module.
macro_rules! kernel_table {
    ($($family:ident),* $(,)?) => {
        static KERNELS: [Kernel; 0 $(+ $family::KERNELS.len())*] = concat(&[$($family::KERNELS),*]);
    };
}

kernel_table!(attention, cache, dropout, dropout_linear, elementwise, gather, gemm, linear_loss, loss, r#move, norm, optimizer, quant, reduce, rope, softmax, swiglu);

/// The names of all kernels joined by newlines; a kernel's index is its line.
#[wasm_bindgen]
pub fn kernel_names() -> String {
    KERNELS.map(|kernel| kernel.name).join("\n")
}

/// Address of the job that `scratch_bytes` and `launch` read.
#[wasm_bindgen]
pub fn job() -> *const Job {
    POOL.job()
}

/// Scratch memory that the job's kernel needs on the pool's threads, in bytes.
#[wasm_bindgen]
pub fn scratch_bytes() -> usize {
    let job = unsafe { &*POOL.job() };
    (KERNELS[job.kernel as usize].scratch)(job, POOL.threads())
}

/// Runs the job. Returns 0 when it is done, t > 0 when worker t has failed (for good), -1 when the workers have been silent
/// for a while: the caller then looks whether they still live and calls `resume`.
#[wasm_bindgen]
pub fn launch() -> i32 {
    let job = unsafe { &mut *POOL.job() };
    job.launch = job.launch.wrapping_add(1);
    POOL.launch(job, KERNELS[job.kernel as usize].phases)
}

/// Goes on with a launch that returned -1; returns the same codes.
#[wasm_bindgen]
pub fn resume() -> i32 {
    let job = unsafe { &*POOL.job() };
    POOL.resume(job, KERNELS[job.kernel as usize].phases)
}

/// Runs chunks of launches as thread `thread` until `close_pool`.
#[wasm_bindgen]
pub fn worker_loop(thread: usize) {
    POOL.work(thread, |job, phase, chunk| unsafe {
        (KERNELS[job.kernel as usize].phases[phase].run)(job, chunk, thread)
    });
}

/// Sets the number of threads, the caller of `launch` included.
#[wasm_bindgen]
pub fn set_threads(threads: usize) {
    POOL.set_threads(threads);
}

/// Lets every `worker_loop` return.
#[wasm_bindgen]
pub fn close_pool() {
    POOL.close();
}

/// Records that worker `thread` can no longer finish its chunk; every launch from now on fails.
#[wasm_bindgen]
pub fn fail_worker(thread: usize) {
    POOL.fail(thread);
}

//! What a kernel is: a name, the phases of its launch and the scratch memory it needs.

/// The arguments of one launch: `kernel(outputs…, inputs…, ints…, floats…)`. JavaScript fills it word by word
/// (`engine/backends/wasm.ts` mirrors the layout; every field is 32 bits wide).
#[repr(C)]
pub struct Job {
    pub buffers: [*mut u8; 24],
    pub ints: [i32; 32],
    pub floats: [f32; 8],
    pub work: [u32; 3],
    /// Index into the kernel table.
    pub kernel: u32,
    /// As many bytes as `Kernel::scratch` asked for, 256-byte aligned, contents unspecified.
    pub scratch: *mut u8,
    /// 1 if V8 pairs 128-bit operations of f32 into 256-bit ones, so that the wide micro-kernels pay.
    pub wide: u32,
    /// The same of those for 16-bit integers.
    pub wide_int16: u32,
    /// 1 if large products with weights are to be computed in 16-bit integers (`gemm/int16.rs`).
    pub int16: u32,
    /// Counts launches, for what a thread prepares once in each. `launch` writes it, JavaScript does not.
    pub launch: u32,
}

impl Job {
    pub const EMPTY: Job = Job {
        buffers: [core::ptr::null_mut(); 24],
        ints: [0; 32],
        floats: [0.0; 8],
        work: [0; 3],
        kernel: 0,
        scratch: core::ptr::null_mut(),
        wide: 0,
        wide_int16: 0,
        int16: 0,
        launch: 0,
    };

    /// Buffer `i` as elements of `T`.
    pub fn buffer<T>(&self, i: usize) -> *mut T {
        self.buffers[i].cast()
    }

    /// Integer argument `i` that is a count, a size or an index.
    pub fn size(&self, i: usize) -> usize {
        self.ints[i] as usize
    }
}

/// A part of a launch whose chunks are independent of each other; the next phase starts when all of them are done.
///
/// `chunks` may depend on shapes (`ints`, `work`) only, never on the number of threads, and a chunk's result only on its
/// index: this is what makes results bit-equal for any number of threads. `run`'s last argument is the running thread
/// (0 = the caller), for scratch memory that each thread has for itself.
#[derive(Clone, Copy)]
pub struct Phase {
    pub chunks: fn(&Job) -> usize,
    pub run: unsafe fn(&Job, usize, usize),
}

#[derive(Clone, Copy)]
pub struct Kernel {
    pub name: &'static str,
    pub phases: &'static [Phase],
    /// Bytes of scratch memory that the launch described by the job needs on so many threads.
    pub scratch: fn(&Job, usize) -> usize,
}

impl Kernel {
    /// A kernel that needs no scratch memory.
    pub const fn new(name: &'static str, phases: &'static [Phase]) -> Kernel {
        Kernel { name, phases, scratch: |_, _| 0 }
    }
}

/// Joins the families' lists into one table.
pub const fn concat<const N: usize>(families: &[&[Kernel]]) -> [Kernel; N] {
    let mut table = [Kernel::new("", &[]); N];
    let (mut family, mut next) = (0, 0);
    while family < families.len() {
        let mut i = 0;
        while i < families[family].len() {
            table[next] = families[family][i];
            next += 1;
            i += 1;
        }
        family += 1;
    }
    table
}

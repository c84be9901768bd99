//! Threads that pull the chunks of a launch.
//!
//! The caller opens a phase by publishing a ticket (generation, next chunk) for each thread's part of the chunks. Threads
//! take chunks by compare-and-swap on a ticket, each its own part's, then what is left of the others', so a thread that the
//! system has put aside delays the launch by the chunk it holds and no more; a barrier that waits for every thread falls to
//! 5-50% of full speed when another process uses a core. The generation keeps a late worker from taking a chunk of a phase
//! it has not seen.
//!
//! With parts of their own, threads mostly come back to the rows and the scratch memory that they have worked on before. A
//! line of memory that another core holds takes some 50 ns to write: chunks taken in turns made packing the left operand
//! of a product ten times as slow on two threads as on one.
//!
//! Idle workers spin for about as long as waking them would take (10-20 us), then sleep on a futex.

use core::arch::wasm32::{memory_atomic_notify, memory_atomic_wait32};
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use crate::table::{Job, Phase};

/// Rounds of looking for work before sleeping: about 20 us.
const SPINS: u32 = 20_000;
/// Parts that a phase is divided into, at most; beyond that, threads share them.
const PARTS: usize = 32;
/// How long the caller sleeps before it returns to JavaScript to see whether the workers still live, in nanoseconds.
const PATIENCE: i64 = 50_000_000;
/// `memory.atomic.wait32` ended by its timeout.
const TIMED_OUT: i32 = 2;

/// Status of a launch: done, or silent for `PATIENCE`; a positive number is the worker that has failed.
pub const DONE: i32 = 0;
pub const SILENT: i32 = -1;

/// A cache line of its own, so that threads that spin on one word do not slow down those that write another.
#[repr(align(128))]
struct Line<T>(T);

pub struct Pool {
    job: UnsafeCell<Job>,
    /// Of each part, generation (high half) and next chunk (low half).
    tickets: [Line<AtomicU64>; PARTS],
    /// Chunks of the open phase that are finished. The caller sleeps on it while `waiting`.
    finished: Line<AtomicU32>,
    waiting: AtomicBool,
    /// Counts phases handed to workers. Idle workers sleep on it.
    signal: Line<AtomicI32>,
    sleepers: AtomicU32,
    phase: Line<AtomicUsize>,
    chunks: AtomicU32,
    threads: AtomicUsize,
    closing: AtomicBool,
    /// The first worker that failed, or 0.
    failed: AtomicI32,
}

/// The job is written by the main thread between launches only, and read by workers only while they hold a chunk.
unsafe impl Sync for Pool {}

pub static POOL: Pool = Pool {
    job: UnsafeCell::new(Job::EMPTY),
    tickets: [const { Line(AtomicU64::new(0)) }; PARTS],
    finished: Line(AtomicU32::new(0)),
    waiting: AtomicBool::new(false),
    signal: Line(AtomicI32::new(0)),
    sleepers: AtomicU32::new(0),
    phase: Line(AtomicUsize::new(0)),
    chunks: AtomicU32::new(0),
    threads: AtomicUsize::new(1),
    closing: AtomicBool::new(false),
    failed: AtomicI32::new(0),
};

impl Pool {
    pub fn job(&self) -> *mut Job {
        self.job.get()
    }

    pub fn threads(&self) -> usize {
        self.threads.load(Relaxed)
    }

    pub fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Relaxed);
    }

    /// Runs all phases of `job` and returns a status; after `SILENT`, `resume` goes on.
    pub fn launch(&self, job: &Job, phases: &[Phase]) -> i32 {
        self.phase.0.store(0, Relaxed);
        self.run_phase(job, &phases[0]);
        self.resume(job, phases)
    }

    pub fn resume(&self, job: &Job, phases: &[Phase]) -> i32 {
        loop {
            let status = self.wait();
            let next = self.phase.0.load(Relaxed) + 1;
            if status != DONE || next == phases.len() {
                return status;
            }
            self.phase.0.store(next, Relaxed);
            self.run_phase(job, &phases[next]);
        }
    }

    /// The life of worker `thread`: `run(job, phase, chunk)` for every chunk it gets hold of.
    pub fn work(&self, thread: usize, run: impl Fn(&Job, usize, usize)) {
        while !self.closing.load(Relaxed) {
            // Read before looking for work: if a phase opens after the look, it has changed, and the futex refuses to sleep.
            let signal = self.signal.0.load(SeqCst);
            while let Some(chunk) = self.claim(thread) {
                run(unsafe { &*self.job() }, self.phase.0.load(Relaxed), chunk);
                self.finish_chunk();
            }
            let idle = || self.signal.0.load(SeqCst) == signal;
            if (0..SPINS).all(|_| idle()) {
                self.sleepers.fetch_add(1, SeqCst);
                unsafe { memory_atomic_wait32(self.signal.0.as_ptr(), signal, -1) };
                self.sleepers.fetch_sub(1, SeqCst);
            }
        }
    }

    pub fn close(&self) {
        self.closing.store(true, SeqCst);
        self.wake(u32::MAX);
    }

    pub fn fail(&self, worker: usize) {
        let _ = self.failed.compare_exchange(0, worker as i32, SeqCst, SeqCst);
        unsafe { memory_atomic_notify(self.finished.0.as_ptr().cast(), 1) };
    }

    /// Opens a phase and works on it until no chunk is left to take. Chunks that workers hold may still be running.
    fn run_phase(&self, job: &Job, phase: &Phase) {
        let chunks = (phase.chunks)(job) as u32;
        let alone = chunks <= 1 || self.threads() == 1;
        // Exhausted tickets of the new generation: no worker may take a chunk while count and ticket do not match.
        let tickets = &self.tickets[..self.parts()];
        let generation = (tickets[0].0.load(Relaxed) >> 32).wrapping_add(1) << 32;
        tickets.iter().for_each(|ticket| ticket.0.store(generation | u32::MAX as u64, SeqCst));
        self.chunks.store(chunks, SeqCst);
        if alone {
            (0..chunks as usize).for_each(|chunk| unsafe { (phase.run)(job, chunk, 0) });
            self.finished.0.store(chunks, SeqCst);
            return;
        }
        self.finished.0.store(0, SeqCst);
        for (part, ticket) in tickets.iter().enumerate() {
            ticket.0.store(generation | self.begin(part) as u64, SeqCst);
        }
        self.wake(chunks - 1);
        while let Some(chunk) = self.claim(0) {
            unsafe { (phase.run)(job, chunk, 0) };
            self.finish_chunk();
        }
    }

    fn wake(&self, workers: u32) {
        self.signal.0.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) != 0 {
            unsafe { memory_atomic_notify(self.signal.0.as_ptr(), workers) };
        }
    }

    fn parts(&self) -> usize {
        self.threads().min(PARTS)
    }

    /// The first chunk of a part, the end of the part before it.
    fn begin(&self, part: usize) -> u32 {
        (self.chunks.load(SeqCst) as u64 * part as u64 / self.parts() as u64) as u32
    }

    /// Takes a chunk of the open phase for `thread`.
    fn claim(&self, thread: usize) -> Option<usize> {
        (0..self.parts()).find_map(|i| self.take((thread + i) % self.parts()))
    }

    /// Takes the next chunk of a part.
    fn take(&self, part: usize) -> Option<usize> {
        let mut ticket = self.tickets[part].0.load(SeqCst);
        loop {
            let chunk = ticket as u32;
            // A count of a later phase does no harm: the ticket has changed by then and the exchange fails.
            if chunk >= self.begin(part + 1) {
                return None;
            }
            match self.tickets[part].0.compare_exchange_weak(ticket, ticket + 1, SeqCst, SeqCst) {
                Ok(_) => return Some(chunk as usize),
                Err(current) => ticket = current,
            }
        }
    }

    fn finish_chunk(&self) {
        let finished = self.finished.0.fetch_add(1, SeqCst) + 1;
        if finished == self.chunks.load(SeqCst) && self.waiting.load(SeqCst) {
            unsafe { memory_atomic_notify(self.finished.0.as_ptr().cast(), 1) };
        }
    }

    /// Waits until every chunk of the open phase is finished.
    fn wait(&self) -> i32 {
        let chunks = self.chunks.load(SeqCst);
        let mut spins = 0;
        loop {
            let failed = self.failed.load(SeqCst);
            if failed != 0 {
                return failed;
            }
            if self.finished.0.load(SeqCst) == chunks {
                return DONE;
            }
            spins += 1;
            if spins < SPINS {
                spin_loop();
                continue;
            }
            self.waiting.store(true, SeqCst);
            let finished = self.finished.0.load(SeqCst);
            let outcome = match finished == chunks {
                true => 0,
                false => unsafe { memory_atomic_wait32(self.finished.0.as_ptr().cast(), finished as i32, PATIENCE) },
            };
            self.waiting.store(false, SeqCst);
            if outcome == TIMED_OUT {
                return SILENT;
            }
        }
    }
}

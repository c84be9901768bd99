/* tslint:disable */
/* eslint-disable */

/**
 * Lets every `worker_loop` return.
 */
export function close_pool(): void;

/**
 * Records that worker `thread` can no longer finish its chunk; every launch from now on fails.
 */
export function fail_worker(thread: number): void;

/**
 * Address of the job that `scratch_bytes` and `launch` read.
 */
export function job(): number;

/**
 * The names of all kernels joined by newlines; a kernel's index is its line.
 */
export function kernel_names(): string;

/**
 * Runs the job. Returns 0 when it is done, t > 0 when worker t has failed (for good), -1 when the workers have been silent
 * for a while: the caller then looks whether they still live and calls `resume`.
 */
export function launch(): number;

/**
 * Goes on with a launch that returned -1; returns the same codes.
 */
export function resume(): number;

/**
 * Keeps the multipliers of 128-bit vectors busy and nothing else: `turns` × 384 multiply-adds. With neighbouring loads and
 * stores V8 would pair the chains into 256-bit ones. `data`: 400 bytes.
 */
export function run_multiply_adds(turns: number, data: number): void;

/**
 * Runs the micro-kernel for `rows` × `columns` on the same operands `turns` times (`gemm/tile.rs`). `kind`: 0 writes C,
 * 1 adds to it, 2 is for 16-bit integers.
 */
export function run_tile(rows: number, columns: number, kind: number, depth: number, a: number, b: number, c: number, stride: number, turns: number): void;

/**
 * `turns` × 768 multiply-adds, for V8 to pair. `data`: 432 bytes.
 */
export function run_wide_multiply_adds(turns: number, data: number): void;

/**
 * Scratch memory that the job's kernel needs on the pool's threads, in bytes.
 */
export function scratch_bytes(): number;

/**
 * Sets the number of threads, the caller of `launch` included.
 */
export function set_threads(threads: number): void;

/**
 * Runs chunks of launches as thread `thread` until `close_pool`.
 */
export function worker_loop(thread: number): void;

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly close_pool: () => void;
    readonly fail_worker: (a: number) => void;
    readonly job: () => number;
    readonly kernel_names: () => [number, number];
    readonly launch: () => number;
    readonly resume: () => number;
    readonly run_multiply_adds: (a: number, b: number) => void;
    readonly run_tile: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number, i: number) => void;
    readonly run_wide_multiply_adds: (a: number, b: number) => void;
    readonly scratch_bytes: () => number;
    readonly set_threads: (a: number) => void;
    readonly worker_loop: (a: number) => void;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __wbindgen_free: (a: number, b: number, c: number) => void;
    readonly memory: WebAssembly.Memory;
    readonly __wbindgen_thread_destroy: (a?: number, b?: number, c?: number) => void;
    readonly __wbindgen_start: (a: number) => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput, memory?: WebAssembly.Memory, thread_stack_size?: number }} module - Passing `SyncInitInput` directly is deprecated.
 * @param {WebAssembly.Memory} memory - Deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput, memory?: WebAssembly.Memory, thread_stack_size?: number } | SyncInitInput, memory?: WebAssembly.Memory): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput>, memory?: WebAssembly.Memory, thread_stack_size?: number }} module_or_path - Passing `InitInput` directly is deprecated.
 * @param {WebAssembly.Memory} memory - Deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path?: { module_or_path: InitInput | Promise<InitInput>, memory?: WebAssembly.Memory, thread_stack_size?: number } | InitInput | Promise<InitInput>, memory?: WebAssembly.Memory): Promise<InitOutput>;

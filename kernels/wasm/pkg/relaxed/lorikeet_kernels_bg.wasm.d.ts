/* tslint:disable */
/* eslint-disable */
export const close_pool: () => void;
export const fail_worker: (a: number) => void;
export const job: () => number;
export const kernel_names: () => [number, number];
export const launch: () => number;
export const resume: () => number;
export const run_multiply_adds: (a: number, b: number) => void;
export const run_tile: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number, i: number) => void;
export const run_wide_dots: (a: number, b: number) => void;
export const run_wide_multiply_adds: (a: number, b: number) => void;
export const scratch_bytes: () => number;
export const set_threads: (a: number) => void;
export const worker_loop: (a: number) => void;
export const __wbindgen_externrefs: WebAssembly.Table;
export const __wbindgen_free: (a: number, b: number, c: number) => void;
export const memory: WebAssembly.Memory;
export const __wbindgen_thread_destroy: (a?: number, b?: number, c?: number) => void;
export const __wbindgen_start: (a: number) => void;

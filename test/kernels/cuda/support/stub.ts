// Builds the stub driver of libcuda.c with the system's C compiler.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Library } from '../../../../kernels/cuda/runtime/src/driver/library.ts';

export interface Stub {
  /** Path to give to `openDriver`. */
  readonly path: string;
  /** Driver version as cuDriverGetVersion writes it, devices, and whether they have memory pools. */
  machine(version: number, devices: number, pools: boolean): void;
  /** After `after` good calls the next `times` calls of `name` return `result`. */
  fail(name: string, result: number, options?: { after?: number; times?: number }): void;
  /** The next `n` queries say "not ready". */
  notReady(n: number): void;
  /** The driver's calls since the last `calls()`, a line each. */
  calls(): string[];
  /** Bytes allocated and not freed, on device and host. */
  used(): number;
  /** Release threshold of the memory pool. */
  threshold(): bigint;
  /** Forgets calls and planned failures; the machine becomes the usual one. */
  reset(): void;
  /** Deletes the library's file. */
  remove(): void;
}

const compiler = [process.env.CC, 'cc', 'gcc', 'clang'].find(
  (name) => process.platform !== 'win32' && name && spawnSync(name, ['--version']).status === 0,
);

/** Tests of the stub are skipped where there is no compiler to build it, but not in CI, where building it fails then. */
export const skipsStub = compiler === undefined && process.env.CI !== 'true';

/** A driver library of its own, with its own state. `old` leaves out what came after CUDA 11.0. */
export function buildStub({ old = false } = {}): Stub {
  if (compiler === undefined) throw new Error('the stub driver needs a C compiler: $CC, cc, gcc or clang');
  const path = join(mkdtempSync(join(tmpdir(), 'stub-cuda-')), 'libcuda.so');
  const source = fileURLToPath(new URL('libcuda.c', import.meta.url));
  const flags = ['-shared', '-fPIC', '-Wall', '-Wextra', '-Werror', ...(old ? ['-DOLD'] : [])];
  const { status, stderr } = spawnSync(compiler, [...flags, '-o', path, source], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the stub driver does not compile:\n${stderr}`);
  const library = new Library(path).koffi.load(path);
  const log = library.func('const char *stub_log()');
  const clear = library.func('void stub_clear()');
  const machine = library.func('void stub_machine(int version, int devices, int pools)');
  const fail = library.func('void stub_fail(const char *name, int result, int after, int times)');
  const threshold = library.func('uint64_t stub_threshold()');
  return {
    path,
    machine: (version, devices, pools) => machine(version, devices, pools ? 1 : 0),
    fail: (name, result, { after = 0, times = 1 } = {}) => fail(name, result, after, times),
    notReady: library.func('void stub_not_ready(int n)'),
    calls() {
      const lines = (log() as string).split('\n').filter((line) => line !== '');
      clear();
      return lines.map((line) => line.trimEnd());
    },
    used: library.func('uint64_t stub_used()'),
    threshold: () => BigInt(threshold()),
    reset: library.func('void stub_reset()'),
    remove: () => rmSync(dirname(path), { recursive: true }),
  };
}

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createWasmBackend } from '../../../engine/backends/wasm.ts';
import { type Probed, probeRevectorizer } from '../../../engine/backends/wasm-probe.ts';
import { bytesOf, launch } from './launcher.ts';

/** Kinds of micro-kernels, as `run_tile` numbers them. */
const [SET, ADD, INT16] = [0, 1, 2];
/** GFLOP/s of 128-bit multiply-adds, and of micro-kernels that are paired. */
const [PEAK, PAIRED] = [50, 90];

// The module's own kernels compute, but the clock is the test's: it goes on by what a kernel is said to take.
let now = 0;
beforeEach(() => vi.spyOn(performance, 'now').mockImplementation(() => now));
afterEach(() => vi.restoreAllMocks());

interface Pretence {
  /** Whether products are in 16 bits. */
  int16?: boolean;
  /** GFLOP/s of a wide kernel when it is called for the `call`-th time. */
  rate?: (rows: number, call: number, kind: number) => number;
  /** The element of C, whose rows are 20 apart, of which a wrong wide kernel has one bit wrong. */
  wrong?: (rows: number, kind: number) => number | undefined;
}

/** A backend whose probe sees its kernels through a pretence. */
async function backendWith({ int16 = false, rate = () => PAIRED, wrong }: Pretence) {
  return createWasmBackend({
    threads: 2,
    revectorize: true,
    products: int16 ? 'int16' : 'f32',
    probe(kernels, buffer, address, int16) {
      let calls = 0;
      const seen: Probed = {
        run_multiply_adds(turns) {
          now += (768 * turns) / PEAK / 1e6;
        },
        run_tile(rows, columns, kind, depth, a, b, c, stride, turns) {
          kernels.run_tile(rows, columns, kind, depth, a, b, c, stride, 1);
          if (columns === 8) return;
          now += (2 * rows * columns * depth * turns) / rate(rows, calls++, kind) / 1e6;
          const element = wrong?.(rows, kind);
          if (element !== undefined) new Uint32Array(buffer, c)[element] ^= 1;
        },
      };
      return probeRevectorizer(seen, buffer, address, int16);
    },
  });
}

test('wide kernels that are fast, once V8 has optimised them, and right are used', async () => {
  const backend = await backendWith({ rate: (_, call) => (call < 100 ? 10 : PAIRED) });
  expect(backend.info).toMatchObject({
    revectorize: true,
    revectorizeReason: '90 GFLOP/s beside 50 in 128-bit code, equal bit for bit',
  });
  await backend.close();
});

describe('those in 16 bits, which count two numbers an element,', () => {
  const [f32, int16] = ['90 GFLOP/s beside 50 in 128-bit code', '180 G operations/s in 16 bits'];
  const wrong = (tile: string): string => `micro-kernel ${tile} gives other bits than the 128-bit ones (depth 2)`;
  const cases: [string, Omit<Pretence, 'int16'>, boolean, boolean, string][] = [
    ['are used too', {}, true, true, `${f32}, equal bit for bit; ${int16}, equal bit for bit`],
    [
      'are not when one gives another bit',
      { wrong: (rows, kind) => (rows === 4 && kind === INT16 ? 3 * 20 + 2 : undefined) },
      true,
      false,
      `${f32}, equal bit for bit; ${int16}, ${wrong('4×16 int16')}`,
    ],
    [
      'are not when one is slow',
      { rate: (rows, _, kind) => (rows === 3 && kind === INT16 ? 45 : PAIRED) },
      true,
      false,
      `${f32}, equal bit for bit; micro-kernel 3×16 int16 reached 90 G operations/s in 16 bits within 150 ms`,
    ],
    [
      'are when one in f32 gives another bit',
      { wrong: (rows, kind) => (rows === 2 && kind === SET ? 20 : undefined) },
      false,
      true,
      `${f32}, ${wrong('2×16 set')}; ${int16}, equal bit for bit`,
    ],
    [
      'are when one in f32 is slow',
      { rate: (rows, _, kind) => (rows === 6 && kind === SET ? 45 : PAIRED) },
      false,
      true,
      `micro-kernel 6×16 set reached 45 GFLOP/s beside 50 in 128-bit code within 150 ms; ${int16}, equal bit for bit`,
    ],
  ];

  test.each(cases)('%s', async (_, pretence, revectorize, revectorizeInt16, revectorizeReason) => {
    const backend = await backendWith({ ...pretence, int16: true });
    expect(backend.info).toMatchObject({ revectorize, revectorizeInt16, revectorizeReason, products: 'int16' });
    await backend.close();
  });
});

describe('the 128-bit kernels run', () => {
  const cases: [string, Pretence, string][] = [
    [
      'when a wide one gives another bit',
      { wrong: (rows, kind) => (rows === 5 && kind === ADD ? 4 * 20 + 15 : undefined) },
      '90 GFLOP/s beside 50 in 128-bit code, micro-kernel 5×16 add gives other bits than the 128-bit ones (depth 2)',
    ],
    [
      'when a wide one writes behind its tile',
      { wrong: (rows, kind) => (rows === 1 && kind === SET ? 16 : undefined) },
      '90 GFLOP/s beside 50 in 128-bit code, micro-kernel 1×16 set gives other bits than the 128-bit ones (depth 2)',
    ],
    [
      'when one is never faster than they can be',
      { rate: (rows) => (rows === 3 ? 45 : PAIRED) },
      'micro-kernel 3×16 add reached 45 GFLOP/s beside 50 in 128-bit code within 150 ms',
    ],
    [
      'when one that is low is not faster than unoptimised code',
      { rate: (rows) => (rows === 1 ? 9 : PAIRED) },
      'micro-kernel 1×16 add reached 9 GFLOP/s beside 50 in 128-bit code within 150 ms',
    ],
  ];

  test.each(cases)('%s', async (_, pretence, reason) => {
    const backend = await backendWith(pretence);
    expect(backend.info).toMatchObject({ revectorize: false, revectorizeReason: reason });
    // What they compute is what a backend computes that was never asked.
    const plain = await createWasmBackend({ threads: 1 });
    const [M, N, K] = [13, 39, 50];
    const [a, b] = [M * K, N * K].map((length) => Float32Array.from({ length }, (__, i) => Math.sin(i)));
    const product = (on: typeof backend) =>
      launch(on, 'matmul_f32', new Float32Array(M * N), [a, b], { ints: [1, M, N, K, 0, 1, 0, 0] });
    expect(bytesOf(await product(backend))).toEqual(bytesOf(await product(plain)));
    await Promise.all([backend.close(), plain.close()]);
  });
});

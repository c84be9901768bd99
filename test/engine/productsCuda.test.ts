// What the derived parity suite's sizes do not reach: products of many tiles, and rule 1 of kernels/cuda/README.md.
import { afterAll, expect, test } from 'vitest';
import { createCudaBackend } from '../../engine/backends/cuda.ts';
import { execute } from '../../engine/execute.ts';
import { createReferenceBackend, registry, scope, type Tensor, tensor, withBackend } from '../../engine/index.ts';
import type { AnyOp } from '../../engine/op.ts';
import { openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import { seededGen } from '../support/gen.ts';
import { checkParity, moved } from '../support/parity.ts';

const reference = createReferenceBackend();
const cuda = await createCudaBackend({ device: 'cuda-sim' });
const turing = await createCudaBackend({ device: openSimulator({ computeCapability: [7, 5] }) });
afterAll(() => Promise.all([cuda.close(), turing.close()]));
const opOf = (name: string): AnyOp => registry.get(name) as AnyOp;

test.each([
  ['f32', 64, cuda, 'f32'],
  ['bf16', 128, cuda, 'f32'],
  ['f32', 128, turing, 'f16'],
] as const)('ten rows of %s tiles of %d, which blocks take in groups of eight', (dtype, tile, backend, operands) =>
  withBackend(reference, async () => {
    using _ = scope();
    const gen = seededGen(1, reference);
    const [M, N, K] = [9 * tile + 5, 2 * tile + 3, 16];
    const inputs = [gen.tensor([M, K], { dtype }), gen.tensor([N, K], { dtype })];
    await checkParity(opOf('linear'), inputs, undefined, backend, { compute: dtype, operands });
  }),
);

test('a product of bf16 is the same to the last bit wherever its operands lie', () =>
  withBackend(reference, async () => {
    using _ = scope();
    const gen = seededGen(2, reference);
    const [M, N, K] = [24, 40, 264];
    const inputs = [gen.tensor([M, K], { dtype: 'bf16' }), gen.tensor([N, K], { dtype: 'bf16' })];
    const launched: string[] = [];
    const { launch } = cuda.device;
    cuda.device.launch = (kernel, ...rest) => {
      launched.push(kernel.name);
      launch.call(cuda.device, kernel, ...rest);
    };
    const run = async (shift: number): Promise<Uint8Array> => {
      const there = await Promise.all(inputs.map((t) => moved(t, cuda, shift)));
      return execute(opOf('linear'), there, undefined, [false, false])[0].bytes();
    };
    const [aligned, shifted] = [await run(0), await run(1)];
    expect(launched).toEqual(['linear_bf16_async', 'linear_bf16_total', 'linear_bf16', 'linear_bf16_total']);
    expect(shifted).toEqual(aligned);
  }));

/** Numbers, and what they are in f16: nearest, ties to even; the largest number for all beyond it that are finite. */
const rounded = [
  [0.1, 0.0999755859375],
  [1 + 2 ** -11, 1],
  [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  [65519, 65504],
  [65520, 65504],
  [-1e30, -65504],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
  [Number.NaN, Number.NaN],
  [2 ** -24, 2 ** -24],
  [2 ** -25, 0],
  [3 * 2 ** -25, 2 ** -23],
];

test('sm_75 rounds both operands of f32 products to f16', () =>
  withBackend(turing, async () => {
    using _ = scope();
    const n = rounded.length;
    const numbers = tensor(
      Float32Array.from(rounded, ([x]) => x),
      [n, 1],
    );
    const ones = tensor(new Float32Array(n).fill(1), [n, 1]);
    const expected = rounded.map(([, y]) => y);
    const rows = async (x: Tensor, w: Tensor): Promise<number[][]> => {
      const y = await execute(opOf('linear'), [x, w], undefined, [false, false])[0].data();
      return Array.from({ length: n }, (_, i) => [...y.slice(i * n, (i + 1) * n)]);
    };
    for (const row of await rows(ones, numbers)) expect(row).toEqual(expected);
    for (const [i, row] of (await rows(numbers, ones)).entries()) expect(row).toEqual(row.map(() => expected[i]));
  }));

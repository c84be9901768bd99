// What the derived parity suite's sizes do not reach: products of many tiles, and rule 1 of kernels/cuda/README.md.
import { expect, test } from 'vitest';
import type { CudaBackend } from '../../engine/backends/cuda.ts';
import type { ComputeDType } from '../../engine/dtype.ts';
import { execute } from '../../engine/execute.ts';
import { createReferenceBackend, registry, scope, type Tensor, tensor, withBackend } from '../../engine/index.ts';
import type { AnyOp } from '../../engine/op.ts';
import { describeCuda } from '../support/cudaDevices.ts';
import { seededGen } from '../support/gen.ts';
import { checkParity, moved } from '../support/parity.ts';

const reference = createReferenceBackend();
const opOf = (name: string): AnyOp => registry.get(name) as AnyOp;

/** Products of ten rows of tiles, which blocks take in groups of eight. */
const tenRows = (dtype: ComputeDType, tile: number, backend: CudaBackend, operands: 'f32' | 'f16'): Promise<void> =>
  withBackend(reference, async () => {
    using _ = scope();
    const gen = seededGen(1, reference);
    const [M, N, K] = [9 * tile + 5, 2 * tile + 3, 16];
    const inputs = [gen.tensor([M, K], { dtype }), gen.tensor([N, K], { dtype })];
    await checkParity(opOf('linear'), inputs, undefined, backend, { compute: dtype, operands });
  });

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
/** The same of left operands, whose largest finite number says what f16 counts in: here they are rounded to 11 bits. */
const scaled = [
  [0.1, 0.0999755859375],
  [1 + 2 ** -11, 1],
  [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  [65519, 65504],
  [65520, 65536],
  [-1e5, -99968],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
  [Number.NaN, Number.NaN],
  [3 * 2 ** -12, 3 * 2 ** -12],
  [2 ** -22, 2 ** -22],
  [2 ** -24, 0],
];

describeCuda('products', 80, (backend) => {
  test.each([
    ['f32', 64],
    ['bf16', 128],
  ] as const)('ten rows of %s tiles of %d', (dtype, tile) => tenRows(dtype, tile, backend(), 'f32'));

  test.each([
    ['linear', 'MK', 'NK'],
    ['loraLinear', 'MK', 'NK', 'Mr', 'Nr'],
    ['loraLinearGradInput', 'MK', 'KN', 'Mr', 'rN'],
  ])('%s in bf16 is the same to the last bit wherever its operands lie', (name, ...operands) =>
    withBackend(reference, async () => {
      using _ = scope();
      const gen = seededGen(2, reference);
      const sizes: Record<string, number> = { M: 24, N: 40, K: 264, r: 11 };
      const inputs = operands.map((axes, i) =>
        gen.tensor(
          [...axes].map((axis) => sizes[axis]),
          { dtype: i === 3 ? 'f32' : 'bf16' },
        ),
      );
      const needs = inputs.map(() => false);
      const launched: string[] = [];
      const { device } = backend();
      const { launch } = device;
      device.launch = (kernel, ...rest) => {
        launched.push(kernel.name);
        launch.call(device, kernel, ...rest);
      };
      const run = async (shift: number): Promise<Uint8Array> => {
        const there = await Promise.all(inputs.map((t) => moved(t, backend(), shift)));
        return execute(opOf(name), there, undefined, needs)[0].bytes();
      };
      const [aligned, shifted] = [await run(0), await run(1)];
      device.launch = launch;
      const total = `${name.endsWith('GradInput') ? 'linearGradInput' : 'linear'}_bf16_total`;
      expect(launched).toEqual([`${name}_bf16_async`, total, `${name}_bf16`, total]);
      expect(shifted).toEqual(aligned);
    }),
  );
});

describeCuda('products', 75, (backend) => {
  test('ten rows of f32 tiles of 128', () => tenRows('f32', 128, backend(), 'f16'));

  test('rounds both operands of f32 products to f16', () =>
    withBackend(backend(), async () => {
      using _ = scope();
      const column = (numbers: number[]): Tensor => tensor(Float32Array.from(numbers), [numbers.length, 1]);
      const rows = async (x: number[], w: number[]): Promise<number[][]> => {
        const y = await execute(opOf('linear'), [column(x), column(w)], undefined, [false, false])[0].data();
        return x.map((_, i) => [...y.slice(i * w.length, (i + 1) * w.length)]);
      };
      const ones = new Array<number>(16).fill(1);
      const right = await rows(
        ones,
        rounded.map(([x]) => x),
      );
      for (const row of right) expect(row).toEqual(rounded.map(([, y]) => y));
      const left = await rows(
        scaled.map(([x]) => x),
        ones,
      );
      for (const [i, row] of left.entries()) expect(row).toEqual(row.map(() => scaled[i][1]));
    }));
});

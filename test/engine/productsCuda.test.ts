// What the derived parity suite's sizes do not reach: products of many tiles, and rule 1 of kernels/cuda/README.md.
import { afterAll, expect, test } from 'vitest';
import { createCudaBackend } from '../../engine/backends/cuda.ts';
import { execute } from '../../engine/execute.ts';
import { createReferenceBackend, registry, scope, withBackend } from '../../engine/index.ts';
import type { AnyOp } from '../../engine/op.ts';
import { seededGen } from '../support/gen.ts';
import { checkParity, moved } from '../support/parity.ts';

const reference = createReferenceBackend();
const cuda = await createCudaBackend({ device: 'cuda-sim' });
afterAll(() => cuda.close());
const opOf = (name: string): AnyOp => registry.get(name) as AnyOp;

test.each([
  ['f32', 64],
  ['bf16', 128],
] as const)('ten rows of %s tiles, which blocks take in groups of eight', (dtype, tile) =>
  withBackend(reference, async () => {
    using _ = scope();
    const gen = seededGen(1, reference);
    const [M, N, K] = [9 * tile + 5, 2 * tile + 3, 16];
    const inputs = [gen.tensor([M, K], { dtype }), gen.tensor([N, K], { dtype })];
    await checkParity(opOf('linear'), inputs, undefined, cuda, { compute: dtype });
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

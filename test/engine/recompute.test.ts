import { expect, test } from 'vitest';
import { backward, memory, mul, parameter, recompute, scope, sigmoid, sum, tensor } from '../../engine/index.ts';
import { describeBackends } from '../support/backends.ts';

describeBackends('recompute', (backendOf) => {
  test('gives the gradients of computing once and leaves nothing behind', async () => {
    const backend = backendOf();
    const x = parameter(tensor([0.5, -1, 2], { backend }));
    const w = parameter(tensor([1, 2, -0.5], { backend }));
    const gradients = async (again: boolean): Promise<number[][]> => {
      {
        using _ = scope();
        const layer = (h: typeof x) => sigmoid(mul(h, w));
        const apply = (h: typeof x) => (again ? recompute(layer, h) : layer(h));
        // Two in a row: the second one's input is no leaf.
        backward(sum(apply(apply(x))));
      }
      const out = await Promise.all([x, w].map(async (t) => [...((await t.grad?.data()) ?? [])]));
      for (const t of [x, w]) {
        t.grad?.dispose();
        t.grad = undefined;
      }
      return out;
    };
    const expected = await gradients(false);
    const before = memory().tensors;
    expect(await gradients(true)).toEqual(expected);
    expect(memory().tensors - before, 'tensors left').toBe(0);
  });
});

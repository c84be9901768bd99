import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  add,
  appendRows,
  backward,
  createReferenceBackend,
  div,
  exp,
  grad,
  linear,
  memory,
  mul,
  noGrad,
  op,
  parameter,
  registry,
  reshape,
  rmsNorm,
  scope,
  setBackend,
  sumTo,
  type Tensor,
  tensor,
  withContext,
} from '../../engine/index.ts';

setBackend(createReferenceBackend());
const leaf = (x: number | number[]): Tensor => parameter(tensor(x));

let before = 0;
beforeEach(() => {
  before = memory().tensors;
});
afterEach(() => {
  expect(memory().tensors, 'tensors leaked').toBe(before);
});

describe('backward', () => {
  test('a chain 100,000 ops deep is walked and freed without recursion', async () => {
    using x = leaf(1);
    {
      using _ = scope();
      let y = x;
      for (let i = 0; i < 100_000; i++) y = add(y, x);
      backward(y);
    }
    expect(await x.grad?.item()).toBe(100_001);
    x.grad?.dispose();
  });

  test('an unused graph 100,000 ops deep is freed with its scope', () => {
    using x = leaf(1);
    using _ = scope();
    let y = x;
    for (let i = 0; i < 100_000; i++) y = mul(y, x);
  });

  test('gradients survive the scopes in which the graph was built', async () => {
    using x = leaf([1, 2]);
    {
      using outer = scope();
      const inner = (): Tensor => {
        using s = scope();
        return s.keep(mul(exp(x), x));
      };
      const loss = outer.keep(sumTo(inner(), []));
      backward(loss);
      loss.dispose();
    }
    const values = await x.grad?.data();
    expect(values?.[0]).toBeCloseTo(2 * Math.E, 12);
    expect(values?.[1]).toBeCloseTo(3 * Math.exp(2), 12);
    x.grad?.dispose();
  });

  test('accumulates over calls and leaves the first gradient alone', async () => {
    using x = leaf(3);
    using _ = scope();
    backward(mul(x, x));
    backward(mul(x, x));
    expect(await x.grad?.item()).toBe(12);
    expect(x.gradCount).toBe(2);
    x.grad?.dispose();
  });

  test('a gradient that two inputs share is not overwritten when one of them receives more', async () => {
    using x = leaf(2);
    using y = leaf(5);
    using _ = scope();
    backward(add(add(x, y), mul(x, y)));
    expect(await x.grad?.item()).toBe(6);
    expect(await y.grad?.item()).toBe(3);
    for (const t of [x, y]) t.grad?.dispose();
  });

  test('what was saved is freed as the walk passes', () => {
    using x = leaf([1, 2, 3]);
    using _ = scope();
    const inner = (): Tensor => {
      using s = scope();
      let y = exp(x);
      for (let i = 0; i < 10; i++) y = exp(mul(y, 1e-3));
      return s.keep(sumTo(y, []));
    };
    const loss = inner();
    const held = memory().tensors;
    backward(loss);
    expect(memory().tensors).toBeLessThan(held - 10);
    x.grad?.dispose();
  });

  test('a second walk over a freed graph, a root without history and a missing seed are errors', () => {
    using x = leaf([1, 2]);
    using _ = scope();
    const y = mul(x, x);
    expect(() => backward(y)).toThrow(/shape \[2\] needs a seed/);
    const loss = sumTo(y, []);
    backward(loss);
    expect(() => backward(loss)).toThrow(/already freed/);
    expect(() => backward(tensor(1))).toThrow(/no gradient history/);
    x.grad?.dispose();
  });
});

describe('grad', () => {
  test('returns gradients without touching .grad', async () => {
    using x = leaf(4);
    using _ = scope();
    const [g] = grad(div(1, x), [x]);
    expect(await g.item()).toBeCloseTo(-1 / 16, 14);
    expect(x.grad).toBeUndefined();
  });

  test('second order is refused by name, and so is a tensor the root does not depend on', () => {
    using x = leaf(4);
    using y = leaf(4);
    using _ = scope();
    expect(() => grad(mul(x, x), [x], { createGraph: true })).toThrow(/second-order/);
    expect(() => grad(mul(x, x), [y])).toThrow(/does not depend on tensor 0/);
  });
});

describe('recording', () => {
  test('noGrad records nothing, also after an await', async () => {
    using x = leaf(1);
    await noGrad(async () => {
      using _ = scope();
      await Promise.resolve();
      expect(mul(x, x).requiresGrad).toBe(false);
    });
  });

  test('an op without a gradient refuses an input that needs one', () => {
    const opaque = op<void>({
      name: 'test.opaque',
      doc: 'x',
      outputs: ([x]) => [x],
      reference: ([y], [x]) => y.set(x),
      dtypes: [['f32']],
      sample: (gen) => [[gen.tensor([2])], undefined],
      cost: () => ({ multiplyAdds: 0, bytes: 0 }),
    });
    registry.delete('test.opaque');
    using x = leaf([1, 2]);
    using _ = scope();
    expect(() => opaque([x], undefined)).toThrow(/test.opaque has no gradient/);
  });

  test('what a cheap op was made from is kept in place of its result, and gives the same gradients', async () => {
    const values = [1, -2, 0.5, 3, 0.25, -1];
    const run = async (cheap: boolean): Promise<{ kept: number; gradients: number[][] }> => {
      using x = parameter(tensor(Float32Array.from(values), [2, 3]));
      using a = parameter(tensor(Float32Array.of(1, 2, 3, -1, 0.5, 2), [2, 3]));
      using b = parameter(tensor(Float32Array.of(0.5, -1, 2), [1, 3]));
      const g = tensor([1.5, -1, 2]);
      let kept = 0;
      {
        using _ = scope();
        const { bytes } = memory();
        const norm = rmsNorm(x, g, { eps: 0.1 });
        // A view has another node than the norm: its memory is kept.
        const h = cheap ? norm : reshape(norm, [2, 3]);
        const y = add(sumTo(linear(h, a), []), sumTo(linear(h, b), []));
        h.dispose();
        norm.dispose();
        kept = memory().bytes - bytes;
        backward(y);
      }
      const gradients: number[][] = [];
      for (const t of [x, a, b]) {
        using gradient = t.grad as Tensor;
        gradients.push([...(await gradient.data())]);
      }
      g.dispose();
      return { kept, gradients };
    };
    const [again, kept] = [await run(true), await run(false)];
    expect(again.gradients).toEqual(kept.gradients);
    expect(again.gradients.flat().every((v) => Number.isFinite(v) && v !== 0)).toBe(true);
    expect(kept.kept - again.kept).toBe(8 * values.length);
  });

  test('a graph that is never walked frees what it would have made again', () => {
    using x = leaf([1, 2]);
    using a = parameter(tensor([[1, 2]]));
    using _ = scope();
    linear(reshape(rmsNorm(x, tensor([1, 1]), { eps: 0 }), [1, 2]), a);
    linear(rmsNorm(reshape(x, [1, 2]), tensor([1, 1]), { eps: 0 }), a);
  });

  test('an op that writes in place refuses an input whose gradient would be lost', async () => {
    using x = parameter(tensor([[1, 2]]));
    using _ = scope();
    const cache = tensor([
      [0, 0],
      [0, 0],
    ]);
    expect(() => appendRows(cache, mul(x, 2), { at: 0 })).toThrow(
      'appendRows writes in place and is not recorded, so that the gradient of input 1 would be lost',
    );
    expect(() => appendRows(x, tensor([[3, 4]]), { at: 0 })).toThrow(/appendRows .* gradient of input 0/);
    noGrad(() => appendRows(cache, mul(x, 2), { at: 0 }));
    expect(await cache.data()).toEqual(Float64Array.of(2, 4, 0, 0));
    expect(await x.data()).toEqual(Float64Array.of(1, 2));
  });
});

describe('scopes', () => {
  test('only the innermost can be closed', () => {
    using outer = scope();
    const inner = scope();
    expect(() => outer[Symbol.dispose]()).toThrow(/innermost/);
    inner[Symbol.dispose]();
  });

  test('a freed tensor is named when it is used', () => {
    const make = (): Tensor => {
      using _ = scope();
      return tensor([1, 2]);
    };
    const freed = make();
    expect(() => add(freed, 1)).toThrow(/add: a tensor of shape \[2\] was used after it was freed/);
  });

  test('two trainings with interleaved awaits keep their tensors apart', async () => {
    const train = async (ms: number): Promise<number[]> => {
      const seen: number[] = [];
      for (let i = 0; i < 5; i++) {
        using _ = scope();
        const x = tensor([i, ms]);
        await new Promise((resolve) => setTimeout(resolve, ms));
        seen.push((await sumTo(x, []).data())[0]);
      }
      return seen;
    };
    const [a, b] = await Promise.all([withContext({}, () => train(1)), withContext({}, () => train(2))]);
    expect(a).toEqual([1, 2, 3, 4, 5]);
    expect(b).toEqual([2, 3, 4, 5, 6]);
  });
});

import { expect, test } from 'vitest';
import {
  argmax,
  backward,
  max,
  mean,
  min,
  parameter,
  scope,
  sum,
  type Tensor,
  tensor,
  variance,
} from '../../engine/index.ts';
import { describeBackends } from '../support/backends.ts';
import { relativeError } from '../support/golden.ts';

const shapes = [[7], [5, 9], [4, 3, 6]];
/** Every set of axes of a tensor of rank n, as NumPy counts them: also from the end. */
const axesOf = (n: number): number[][] => {
  const subsets = Array.from({ length: 2 ** n }, (_, bits) => [...Array(n).keys()].filter((a) => bits & (1 << a)));
  return subsets.map((axes, k) => axes.map((a) => (k % 2 ? a - n : a)));
};
const cases = shapes.flatMap((shape) => axesOf(shape.length).map((axis) => ({ shape, axis })));

/** Splits values into the groups that are reduced together, in row-major order of what is kept. */
function groups(values: number[], shape: number[], axes: number[]): number[][] {
  const reduced = axes.map((a) => (a < 0 ? a + shape.length : a));
  const out = new Map<string, number[]>();
  for (const [i, v] of values.entries()) {
    let rest = i;
    const index = shape.toReversed().map((n) => {
      const at = rest % n;
      rest = Math.floor(rest / n);
      return at;
    });
    const key = index
      .reverse()
      .filter((_, a) => !reduced.includes(a))
      .join();
    out.set(key, [...(out.get(key) ?? []), v]);
  }
  return [...out.values()];
}

const total = (g: number[]): number => g.reduce((s, v) => s + v, 0);
const spread =
  (correction: number) =>
  (g: number[]): number => {
    const m = total(g) / g.length;
    return g.reduce((s, v) => s + (v - m) ** 2, 0) / (g.length - correction);
  };

// Distinct values without a pattern, exact in float32.
const valuesOf = (n: number): number[] => Array.from({ length: n }, (_, i) => ((i * 37 + 11) % 101) / 8 - 5);

describeBackends('reductions against plain loops', (backendOf, kind) => {
  const tolerance = kind === 'reference' ? 1e-14 : 1e-6;
  const reductions: [
    string,
    (x: Tensor, o: { axis: number[]; keepDims?: boolean }) => Tensor,
    (g: number[]) => number,
  ][] = [
    ['sum', sum, total],
    ['mean', mean, (g) => total(g) / g.length],
    ['max', max, (g) => Math.max(...g)],
    ['min', min, (g) => Math.min(...g)],
    ['variance', (x, o) => variance(x, { ...o, correction: 0 }), spread(0)],
  ];

  test.each(cases)('of $shape over axes $axis', async ({ shape, axis }) => {
    using _ = scope();
    const values = valuesOf(shape.reduce((a, b) => a * b, 1));
    const x = tensor(Float64Array.from(values), shape, { backend: backendOf() });
    const reduced = axis.map((a) => (a < 0 ? a + shape.length : a));
    for (const [name, f, plain] of reductions) {
      const expected = groups(values, shape, axis).map(plain);
      const y = f(x, { axis });
      expect(y.shape, name).toEqual(shape.filter((_, a) => !reduced.includes(a)));
      expect(relativeError(await y.data(), expected) || 0, name).toBeLessThan(tolerance);
      const kept = f(x, { axis, keepDims: true });
      expect(kept.shape, name).toEqual(shape.map((n, a) => (reduced.includes(a) ? 1 : n)));
      expect([...(await kept.data())], name).toEqual([...(await y.data())]);
    }
  });

  test.each(cases.filter(({ axis }) => axis.length === 1))('argmax of $shape along $axis', async ({ shape, axis }) => {
    using _ = scope();
    // Rounded to halves there are ties, of which the first counts.
    const values = valuesOf(shape.reduce((a, b) => a * b, 1)).map((v) => Math.round(v / 4));
    const x = tensor(Float64Array.from(values), shape, { backend: backendOf() });
    const y = argmax(x, { axis: axis[0] });
    expect(y.dtype).toBe('i32');
    expect([...(await y.data())]).toEqual(groups(values, shape, axis).map((g) => g.indexOf(Math.max(...g))));
  });

  test('the default is all axes, and variance corrects as torch does', async () => {
    using _ = scope();
    const values = valuesOf(24);
    const x = tensor(Float64Array.from(values), [2, 3, 4], { backend: backendOf() });
    expect(relativeError([await sum(x).item()], [total(values)])).toBeLessThan(tolerance);
    expect(await max(x).item()).toBe(Math.max(...values));
    expect(relativeError([await variance(x).item()], [spread(1)(values)])).toBeLessThan(tolerance);
    const rows = groups(values, [2, 3, 4], [2]).map(spread(1));
    expect(relativeError(await variance(x, { axis: -1 }).data(), rows)).toBeLessThan(tolerance);
  });

  test('the gradient of a variance over two of three axes', async () => {
    const values = valuesOf(24);
    using x = parameter(tensor(Float64Array.from(values), [2, 3, 4], { backend: backendOf() }));
    {
      using _ = scope();
      backward(sum(variance(x, { axis: [0, 2] })));
    }
    // d/dx Σ(x − m)²/(n − 1) = 2(x − m)/(n − 1)
    const means = groups(values, [2, 3, 4], [0, 2]).map((g) => total(g) / g.length);
    const expected = values.map((v, i) => (2 * (v - means[Math.floor(i / 4) % 3])) / 7);
    expect(relativeError((await x.grad?.data()) ?? [], expected)).toBeLessThan(tolerance);
    x.grad?.dispose();
  });
});

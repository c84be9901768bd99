import { describe, expect, test } from 'vitest';
import { registry } from '../../engine/index.ts';
import { size } from '../../engine/shape.ts';

describe('what benchmarks and the README derive from an op', () => {
  test.each([...registry.values()])('$name', (def) => {
    expect(def.doc).toMatch(/^[^\n]{2,140}$/);
    const cases = def.bench?.() ?? [];
    expect(cases.length, 'sizes worth timing').toBeGreaterThan(0);
    for (const [inputs, attrs] of cases) {
      const needs = inputs.map(() => false);
      const [out] = def.outputs(inputs, attrs, needs);
      expect(size(out.shape)).toBeGreaterThan(0);
      const matches = def.dtypes.some((d) => inputs.every(({ dtype }, i) => dtype === d[i]));
      expect(matches, `a combination of types that is tested: ${inputs.map((s) => s.dtype)}`).toBe(true);
      for (const { shape, values } of inputs) if (values) expect(values.length).toBe(size(shape));
      const { multiplyAdds, bytes } = def.cost(inputs, attrs);
      expect(Number.isFinite(multiplyAdds) && multiplyAdds >= 0).toBe(true);
      // Nothing is read or written more cheaply than once, but by a view.
      expect(bytes).toBeGreaterThanOrEqual(def.view && !def.launch ? 0 : 4 * size(out.shape) * (def.inPlace ? 0 : 1));
    }
  });
});

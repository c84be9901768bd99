import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWasmBackend } from '../../engine/backends/wasm.ts';
import { type Backend, createReferenceBackend, memory, registry, scope, withBackend } from '../../engine/index.ts';
import { fastCheckGen } from '../support/gen.ts';
import { checkDefinition, checkParity } from '../support/parity.ts';

const reference = createReferenceBackend();
const all = [...registry.values()].flatMap((def) =>
  def.dtypes.map((dtypes) => ({ def, dtypes, name: `${def.name}(${dtypes.join(', ')})` })),
);

describe('a fused op means what its definition says', () => {
  test.each(all.filter(({ def }) => def.define))('$name', ({ def, dtypes }) =>
    withBackend(reference, () => {
      fc.assert(
        fc.property(fc.gen(), (g) => {
          using _ = scope();
          checkDefinition(def, ...def.sample(fastCheckGen(g, reference), dtypes));
        }),
        { numRuns: 50 },
      );
    }),
  );
});

describe.each(['relaxed', 'simd128'] as const)('wasm kernels (%s) agree with the reference', (build) => {
  let wasm: Awaited<ReturnType<typeof createWasmBackend>>;
  const launched = new Set<string>();
  beforeAll(async () => {
    wasm = await createWasmBackend({ threads: 2, build });
    const { launch } = wasm;
    wasm.launch = (kernel, ...rest) => {
      launched.add(kernel);
      launch.call(wasm, kernel, ...rest);
    };
  });
  afterAll(() => wasm.close());

  test.each(all)('$name', ({ def, dtypes }) =>
    withBackend(reference, async () => {
      const before = memory().tensors;
      await fc.assert(
        fc.asyncProperty(fc.gen(), async (g) => {
          using _ = scope();
          await checkParity(def, ...def.sample(fastCheckGen(g, reference), dtypes), wasm as Backend);
        }),
        { numRuns: 60 },
      );
      expect(memory().tensors, 'tensors leaked').toBe(before);
    }),
  );

  test('every exported kernel is launched by some op', () => {
    expect(wasm.kernels.filter((k) => !launched.has(k))).toEqual([]);
  });
});

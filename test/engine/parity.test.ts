import fc from 'fast-check';
import { describe, test } from 'vitest';
import { createWasmBackend } from '../../engine/backends/wasm.ts';
import { createReferenceBackend, registry, scope, withBackend } from '../../engine/index.ts';
import { fastCheckGen } from '../support/gen.ts';
import { checkDefinition, parityCases } from '../support/parity.ts';
import { describeParity } from '../support/paritySuite.ts';

const reference = createReferenceBackend();

describe('a fused op means what its definition says', () => {
  test.each(parityCases(registry.values(), ['f32']).filter(({ def }) => def.define))('$name', ({ def, dtypes }) =>
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

for (const build of ['relaxed', 'simd128'] as const) {
  describeParity(`wasm kernels (${build}) agree with the reference`, {
    open: () => createWasmBackend({ threads: 2, build }),
    computes: ['f32'],
    runs: 60,
  });
}

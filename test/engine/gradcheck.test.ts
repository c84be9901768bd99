import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createReferenceBackend, registry, scope, withBackend } from '../../engine/index.ts';
import { fastCheckGen, seededGen } from '../support/gen.ts';
import { differentiable, drawCase, gradcheck, mutantIsCaught, mutants } from '../support/gradcheck.ts';

const backend = createReferenceBackend();
const withReference = <T>(fn: () => T): T => withBackend(backend, fn);

const cases = [...registry.values()]
  .filter((def) => def.vjp)
  .flatMap((def) => def.dtypes.map((dtypes) => ({ def, dtypes, name: `${def.name}(${dtypes.join(', ')})` })))
  .filter(({ def, dtypes }) => differentiable(def, dtypes).includes(true));

describe('gradients agree with central differences in float64', () => {
  test.each(cases)('$name', ({ def, dtypes }) =>
    withReference(() => {
      fc.assert(
        fc.property(fc.gen(), (g) => gradcheck(def, dtypes, fastCheckGen(g, backend))),
        { numRuns: 100 },
      );
    }),
  );
});

describe('a wrong gradient is noticed', () => {
  let inapplicable = 0;
  for (const { def, dtypes, name } of cases) {
    for (const [i, yes] of differentiable(def, dtypes).entries()) {
      if (!yes) continue;
      test(`${name}, input ${i}`, () =>
        withReference(() => {
          for (const mutant of Object.keys(mutants)) {
            let caught = 0;
            for (let seed = 0; seed < 40 && caught < 3; seed++) {
              using _ = scope();
              const result = mutantIsCaught(def, drawCase(def, dtypes, seededGen(seed, backend)), i, mutant);
              if (result === undefined) continue;
              expect(result, `${mutant} (seed ${seed})`).toBe(true);
              caught++;
            }
            if (mutant === 'one element is off by 1%') expect(caught, `${mutant} never applied`).toBeGreaterThan(0);
            if (caught === 0) inapplicable++;
          }
        }));
    }
  }
  test('mutants that apply to no case are counted, not passed', () => {
    console.log(`${inapplicable} mutants apply to no case (no broadcast axis, no last row with weight)`);
  });
});

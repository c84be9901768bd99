import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceBackend } from '../../engine/backends/rehearsal.ts';
import type { ComputeDType } from '../../engine/dtype.ts';
import { createReferenceBackend, memory, registry, scope, withBackend } from '../../engine/index.ts';
import { fastCheckGen, stretched } from './gen.ts';
import { checkParity, type ParityOptions, parityCases } from './parity.ts';

const reference = createReferenceBackend();

interface SuiteOptions<B extends DeviceBackend> extends Pick<ParityOptions, 'operands'> {
  open(): Promise<B>;
  /** Types that the backend computes in. */
  computes: readonly ComputeDType[];
  /** Random cases for every op × types. */
  runs: number;
  /** Fixes the cases, where the suite says that they reach all there is. */
  seed?: number;
  /** Inputs begin so many elements into their storages in every second case, so that no kernel relies on alignment. */
  shift?: number;
  /** A quarter of the cases is as many times larger. */
  stretch?: number;
  /** More tests, which run after all others. */
  afterwards?(backend: () => B): void;
}

/** The suite derived from the registry: a backend's kernels agree with the float64 reference, and all of them are launched. */
export function describeParity<B extends DeviceBackend>(name: string, options: SuiteOptions<B>): void {
  describe(name, () => {
    let backend: B;
    const launched = new Set<string>();
    beforeAll(async () => {
      backend = await options.open();
      const { launch } = backend;
      backend.launch = (kernel, ...rest) => {
        launched.add(kernel);
        launch.call(backend, kernel, ...rest);
      };
    });
    afterAll(() => backend.close());

    test.for(parityCases(registry.values(), options.computes))('$name', ({ def, dtypes, compute }) =>
      withBackend(reference, async () => {
        const before = memory().tensors;
        let runs = 0;
        const property = fc.asyncProperty(fc.gen(), async (g) => {
          using _ = scope();
          const shift = runs % 2 === 1 ? options.shift : 0;
          const gen = fastCheckGen(g, reference);
          const sized = options.stretch && runs % 8 >= 6 ? stretched(gen, options.stretch) : gen;
          runs++;
          await checkParity(def, ...def.sample(sized, dtypes, compute), backend, {
            compute,
            shift,
            operands: options.operands,
          });
        });
        // Simulated kernels are slow: without a limit a failure would be shrunk for half an hour.
        const limit = { interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true };
        await fc.assert(property, { numRuns: options.runs, seed: options.seed, ...limit });
        expect(memory().tensors, 'tensors leaked').toBe(before);
      }),
    );

    test('every kernel is launched by some op', () => {
      expect(backend.kernels.filter((k) => !launched.has(k))).toEqual([]);
    });
    options.afterwards?.(() => backend);
  });
}

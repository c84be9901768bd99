import {
  type Backend,
  createCudaBackend,
  registry,
  scope,
  type Tensor,
  withBackend,
} from '../../../../engine/index.ts';
import type { AnyOp, Spec } from '../../../../engine/op.ts';
import { families } from '../../../../kernels/cuda/kernels.ts';
import { openSimulator } from '../../../../kernels/cuda/runtime/src/index.ts';
import type { Family } from '../../../../kernels/cuda/table.ts';
import { seededGen, stretched } from '../../../support/gen.ts';
import { differentiable } from '../../../support/gradcheck.ts';
import {
  attentionOverForests,
  chunkedLoss,
  deepProducts,
  type LargeCase,
  wideRows,
} from '../../../support/largeCases.ts';
import { checkParity, parityCases } from '../../../support/parity.ts';

/** One parity case, and the entries that it launches. */
export interface Case {
  name: string;
  entries: ReadonlySet<string>;
  run(backend: Backend): Promise<void>;
}

/** Entries of these kernels that an op launches for these inputs. */
function entriesOf(kernels: Family, def: AnyOp, specs: Spec[], attrs: unknown, alignment: number): Set<string> {
  const needs = differentiable(
    def,
    specs.map((s) => s.dtype),
  );
  const circumstances = { alignment, computeCapability: 80, sharedBytes: 163 * 1024, multiprocessors: 108 };
  const launches = def.launch?.(specs, attrs, needs) ?? [];
  const phases = launches.flatMap(
    ({ kernel, ints = [], floats = [], work }) =>
      kernels[kernel]?.phases({ ints, floats, work }, circumstances).filter(({ grid }) => !grid.includes(0)) ?? [],
  );
  return new Set(phases.map(({ entry }) => entry));
}

/**
 * What launches kernels of `files`: the derived suite's cases, `runs` for each op and combination of types, half of them at
 * four times the sizes (as `npm run test:cuda` has them), then those of test/support/largeCases.ts.
 */
export function cases(reference: Backend, files: readonly string[], runs: number): Case[] {
  const kernels: Family = Object.assign({}, ...files.map((file) => families[file]));
  const specsOf = (inputs: readonly Tensor[]): Spec[] => inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  const launching = parityCases(registry.values(), ['f32', 'bf16']).filter(({ def, dtypes, compute }) =>
    withBackend(reference, () => {
      using _ = scope();
      const [inputs, attrs] = def.sample(seededGen(1, reference), dtypes, compute);
      const launches =
        def.launch?.(
          specsOf(inputs),
          attrs,
          inputs.map(() => false),
        ) ?? [];
      return launches.some(({ kernel }) => kernel in kernels);
    }),
  );
  const derived = launching.flatMap(({ name, def, dtypes, compute }) =>
    Array.from({ length: runs }, (_, run): LargeCase & { shift: number } => ({
      name: `${name} ${run}`,
      def,
      compute,
      make: () => {
        const gen = seededGen(run + 1, reference);
        return def.sample(run < runs / 2 ? gen : stretched(gen, 4), dtypes, compute);
      },
      shift: run % 2,
    })),
  );
  const large = [...attentionOverForests(), ...chunkedLoss(), ...deepProducts(), ...wideRows()].flatMap((c) =>
    [0, 1].map((shift) => ({ ...c, shift })),
  );
  return withBackend(reference, () =>
    [...derived, ...large].map(({ name, def, compute, make, shift }) => {
      using _ = scope();
      const [inputs, attrs] = make(seededGen(1, reference));
      return {
        name,
        entries: entriesOf(kernels, def, specsOf(inputs), attrs, shift > 0 ? 2 : 256),
        run: (backend) =>
          withBackend(reference, async () => {
            using _ = scope();
            await checkParity(def, ...make(seededGen(1, reference)), backend, { compute, shift });
          }),
      } satisfies Case;
    }),
  );
}

/** Loops that a mutation keeps from ending are cut off here; the kernels' own take far fewer steps. */
const STEPS = 2 ** 22;

/** The simulator, with the texts of modules passed through `change`. */
export async function changedBackend(change: (ptx: string, file: string) => string) {
  const device = openSimulator({ computeCapability: [8, 0], stepLimit: STEPS });
  const { loadModule } = device;
  device.loadModule = (ptx, name = '') => loadModule.call(device, change(ptx, name.replace('.ptx', '')), name);
  return createCudaBackend({ device });
}

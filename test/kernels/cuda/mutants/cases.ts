import {
  type Backend,
  createCudaBackend,
  registry,
  scope,
  type Tensor,
  withBackend,
} from '../../../../engine/index.ts';
import { type AnyOp, combinations, type Launch, type Spec } from '../../../../engine/op.ts';
import { size } from '../../../../engine/shape.ts';
import { families } from '../../../../kernels/cuda/kernels.ts';
import { type Module, openSimulator } from '../../../../kernels/cuda/runtime/src/index.ts';
import { computeTypes, type Family, type Phase, type Target } from '../../../../kernels/cuda/table.ts';
import { seededGen, stretched } from '../../../support/gen.ts';
import { differentiable } from '../../../support/gradcheck.ts';
import { type LargeCase, largeCases } from '../../../support/largeCases/index.ts';
import { checkParity, operandsOf, parityCases } from '../../../support/parity.ts';

/** One parity case, and the entries that it launches. */
export interface Case {
  name: string;
  entries: ReadonlySet<string>;
  /** Of all launches: about what it costs. */
  threads: number;
  /** Whether it is one of many like it, with other sizes and types. */
  derived: boolean;
  run(backend: Backend): Promise<void>;
}

/** What an op launches for these inputs. */
function launchesOf(def: AnyOp, specs: Spec[], attrs: unknown): Launch[] {
  const needs = differentiable(
    def,
    specs.map((s) => s.dtype),
  );
  return def.launch?.(specs, attrs, needs) ?? [];
}

/** The phases of it that have work to do and are of these kernels. */
const phasesOf = (kernels: Family, launches: Launch[], target: Target, alignment: number): Phase[] =>
  launches.flatMap(
    ({ kernel, ints = [], floats = [], work }) =>
      kernels[kernel]?.phases({ ints, floats, work, target }, alignment).filter(({ grid }) => !grid.includes(0)) ?? [],
  );

/** Whether an op launches any of these kernels, be it with nothing to do: a sample may be empty. */
function launches(def: AnyOp, kernels: Family, reference: Backend): boolean {
  using _ = scope();
  const [inputs, attrs] = def.sample(seededGen(1, reference), combinations(def, 'f32')[0], 'f32');
  return launchesOf(def, specsOf(inputs), attrs).some(({ kernel }) => kernel in kernels);
}

const specsOf = (inputs: readonly Tensor[]): Spec[] => inputs.map(({ shape, dtype }) => ({ shape, dtype }));

/**
 * What launches kernels of a file, compiled for a target: the derived suite's cases, `runs` for each op and combination of
 * types, half of them at four times the sizes (as `npm run test:cuda` has them), and those of test/support/largeCases/index.ts.
 */
export function cases(reference: Backend, file: string, target: Target, runs: number): Case[] {
  const launching = new Set(
    withBackend(reference, () => [...registry.values()].filter((def) => launches(def, families[file], reference))),
  );
  const computes = target >= 80 ? computeTypes : (['f32'] as const);
  const derived = parityCases(launching, computes).flatMap(({ name, def, dtypes, compute }) =>
    Array.from({ length: runs }, (_, run) => ({
      name: `${name} ${run}`,
      def,
      compute,
      make: () => {
        const gen = seededGen(run + 1, reference);
        return def.sample(run < runs / 2 ? gen : stretched(gen, 4), dtypes, compute);
      },
      shift: run % 2,
      derived: true,
    })),
  );
  const large = largeCases(target).flatMap((c) => [0, 1].map((shift) => ({ ...c, shift, derived: false })));
  const ofFile = (c: LargeCase & { shift: number; derived: boolean }): Case[] => {
    using _ = scope();
    const { name, def, compute, make, shift, derived } = c;
    const [inputs, attrs] = make(seededGen(1, reference));
    const phases = phasesOf(families[file], launchesOf(def, specsOf(inputs), attrs), target, shift > 0 ? 2 : 256);
    if (phases.length === 0) return [];
    const options = { compute, shift, operands: operandsOf(target) };
    const run = (backend: Backend): Promise<void> =>
      withBackend(reference, async () => {
        using _ = scope();
        await checkParity(def, ...make(seededGen(1, reference)), backend, options);
      });
    const threads = phases.reduce((sum, { grid, block }) => sum + size([...grid, ...block]), 0);
    return [{ name, entries: new Set(phases.map(({ entry }) => entry)), threads, derived, run }];
  };
  return withBackend(reference, () => [...derived, ...large].filter(({ def }) => launching.has(def)).flatMap(ofFile));
}

/** Derived cases of one entry: products are launched by every type of weight, of which each brings its own. */
const MOST = 48;

/** All cases made for something, and of many derived ones every n-th. */
export function thinned(all: readonly Case[]): Case[] {
  const derived = all.filter((c) => c.derived);
  const step = Math.ceil(derived.length / MOST);
  return [...all.filter((c) => !c.derived), ...derived.filter((_, i) => i % step === 0)];
}

/** Loops that a mutation keeps from ending are cut off here; the kernels' own take far fewer steps. */
const STEPS = 2 ** 25;

/**
 * The simulator for modules of a target, with their texts passed through `change` for each entry that is launched, and compiled
 * for it alone.
 */
export async function changedBackend(target: Target, change: (ptx: string, file: string, entry: string) => string) {
  const device = openSimulator({ computeCapability: [Math.floor(target / 10), target % 10], stepLimit: STEPS });
  const { loadModule } = device;
  device.loadModule = (ptx, name = '') => {
    const modules = new Map<string, Module>();
    const moduleOf = (entry: string): Module => {
      const found =
        modules.get(entry) ?? loadModule.call(device, change(ptx, name.replace('.ptx', ''), entry), `${name}:${entry}`);
      modules.set(entry, found);
      return found;
    };
    return {
      infoLog: '',
      getFunction: (entry) => moduleOf(entry).getFunction(entry),
      getGlobal: (variable) => {
        throw new Error(`${name}: no kernel reads ${variable} from the host`);
      },
      [Symbol.dispose]: () => {
        for (const module of modules.values()) module[Symbol.dispose]();
      },
    };
  };
  return createCudaBackend({ device });
}

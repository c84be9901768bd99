// What the simulator counts of a kernel. Only small problems are simulated, two of each kernel: what a block counts is a sum of
// what it does once and of its equal steps, so that larger problems follow exactly.
import { createCudaBackend } from '../engine/backends/cuda.ts';
import { byteLength } from '../engine/dtype.ts';
import { execute } from '../engine/execute.ts';
import { fromBytes, registry, scope, tensor, withBackend } from '../engine/index.ts';
import type { AnyOp } from '../engine/op.ts';
import { openSimulator } from '../kernels/cuda/runtime/src/index.ts';
import type { Case, Sizes } from './ptxCases.ts';
import type { Counters, Problem } from './ptxModel.ts';

const off = { memory: false, uninitialised: false, races: false, sync: false };
const device = openSimulator({ checks: { ...off, counters: true } });
const backend = await createCudaBackend({ device });

/** A launch of a case's entry on the simulator. */
export interface Simulated {
  readonly threads: number;
  readonly dynamicSharedBytes: number;
  readonly counters: Counters;
}

/** The case's entry, which the op must launch for these sizes. */
function simulate({ op, entry, inputs }: Case, sizes: Sizes): Simulated {
  let found: Simulated | undefined;
  const { launch } = device;
  device.launch = (kernel, grid, block, dynamicSharedBytes, ...rest) => {
    device.resetCounts();
    launch.call(device, kernel, grid, block, dynamicSharedBytes, ...rest);
    if (kernel.name !== entry) return;
    const { warpInstructions, byClass, global, shared } = device.counts;
    const counters = {
      warpInstructions,
      mma: byClass.get('mma') ?? 0,
      ldmatrix: byClass.get('ldmatrix') ?? 0,
      wavefronts: shared.loads.wavefronts + shared.stores.wavefronts,
      ideal: shared.loads.ideal + shared.stores.ideal,
      loads: global.loads.requests,
      sectorsRead: global.loads.sectors,
      sectorsWritten: global.stores.sectors,
    };
    found = { threads: block[0], dynamicSharedBytes, counters };
  };
  withBackend(backend, () => {
    using _ = scope();
    const { inputs: all, attrs } = inputs(sizes);
    const tensors = all.map(({ shape, dtype, values }) =>
      values
        ? tensor(Int32Array.from(values), shape, { dtype })
        : fromBytes(new Uint8Array(byteLength(dtype, shape)), shape, dtype),
    );
    execute(registry.get(op) as AnyOp, tensors, attrs, []);
  });
  device.launch = launch;
  if (!found) throw new Error(`${op} of ${sizes.join('×')} does not launch ${entry}`);
  return found;
}

interface PerBlock {
  /** Of each step more. */
  readonly each: Counters;
  of(sizes: Sizes): Counters;
}

/** Counters of a block, from two sizes that were simulated. */
function perBlock(c: Case, [a, b]: readonly [Simulated, Simulated]): PerBlock {
  const [first, second] = c.simulated;
  const combined = (f: (x: number, y: number) => number): Counters =>
    Object.fromEntries(
      Object.entries(a.counters).map(([name, n]) => [
        name,
        f(n / c.blocks(first), b.counters[name as keyof Counters] / c.blocks(second)),
      ]),
    ) as unknown as Counters;
  const more = c.steps(second) - c.steps(first);
  return {
    each: combined((x, y) => (y - x) / more),
    of: (sizes: Sizes) => combined((x, y) => x + ((y - x) / more) * (c.steps(sizes) - c.steps(first))),
  };
}

/** The case's two simulated launches, and what follows for a block of any size. */
export function count(c: Case): PerBlock & { simulated: readonly [Simulated, Simulated] } {
  const simulated = [simulate(c, c.simulated[0]), simulate(c, c.simulated[1])] as const;
  return { simulated, ...perBlock(c, simulated) };
}

export const problem = (c: Case, sizes: Sizes, { of }: PerBlock): Problem => ({
  blocks: c.blocks(sizes),
  flops: c.flops(sizes),
  bytes: c.bytes(sizes),
  counters: of(sizes),
});

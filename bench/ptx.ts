// `npm run bench:ptx`: what can be known about the CUDA kernels' speed without a GPU. Registers, spills and shared memory are
// ptxas's, counters the simulator's; times are a roofline that both imply. Fails where a kernel spills or meets bank conflicts.
import { spawnSync } from 'node:child_process';
import { devNull } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createCudaBackend } from '../engine/backends/cuda.ts';
import { execute } from '../engine/execute.ts';
import { registry, scope, withBackend, zeros } from '../engine/index.ts';
import type { AnyOp, Spec } from '../engine/op.ts';
import { openSimulator } from '../kernels/cuda/runtime/src/index.ts';
import { compiler } from '../kernels/cuda/toolchain.mjs';
import { type Counters, gpus, type Problem, type Resources, residentBlocks, roofline } from './ptxModel.ts';
import { printTable } from './report.ts';

/** Sizes of a problem, as the case understands them. */
type Sizes = readonly number[];

/** A kernel that decides the speed of a training step. */
interface Case {
  readonly op: string;
  readonly module: string;
  readonly entry: string;
  readonly threads: number;
  inputs(sizes: Sizes): Spec[];
  blocks(sizes: Sizes): number;
  /** Counters are a sum of this many times what one block does once, and once for each of its steps. */
  steps(sizes: Sizes): number;
  flops(sizes: Sizes): number;
  bytes(sizes: Sizes): number;
  /** Run on the simulator; they differ in their steps. Counters of a block of the first one are printed. */
  readonly simulated: readonly [Sizes, Sizes];
  /** LLaMA2-7B, 2048 tokens; never simulated. */
  readonly extrapolated: readonly Sizes[];
}

/** Products [M, K]·[K, N] of a 7B layer: q, k, v, o; gate, up; down. */
const layers: readonly Sizes[] = [
  [2048, 4096, 4096],
  [2048, 11008, 4096],
  [2048, 4096, 11008],
];

function product(op: string, entry: string, tile: number, depth: number, threads: number): Case {
  const dtype = entry.includes('bf16') ? 'bf16' : 'f32';
  const size = dtype === 'bf16' ? 2 : 4;
  return {
    op,
    module: 'linear',
    entry,
    threads,
    inputs: ([M, N, K]) => [
      { shape: [M, K], dtype },
      { shape: op === 'linear' ? [N, K] : [K, N], dtype },
    ],
    blocks: ([M, N]) => Math.ceil(M / tile) * Math.ceil(N / tile),
    steps: ([, , K]) => Math.ceil(K / depth),
    flops: ([M, N, K]) => 2 * M * N * K,
    bytes: ([M, N, K]) => size * (M * K + N * K + M * N),
    // 128 blocks: the sums of fewer would be cut along k, as no large product's are.
    simulated: [
      [16 * tile, 8 * tile, 256],
      [16 * tile, 8 * tile, 512],
    ],
    extrapolated: layers,
  };
}

const cases: readonly Case[] = [
  product('linear', 'linear_bf16_async', 128, 32, 256),
  product('linearGradInput', 'linearGradInput_bf16_async', 128, 32, 256),
  product('linear', 'linear_f32', 64, 16, 128),
  product('linearGradInput', 'linearGradInput_f32', 64, 16, 128),
];

const { ptxas } = compiler();

/** What ptxas says about every entry of a module. */
function resourcesOf(module: string, architecture: number): Map<string, Resources> {
  const file = fileURLToPath(new URL(`../kernels/cuda/ptx/sm_80/${module}.ptx`, import.meta.url));
  const args = ['-v', `-arch=sm_${architecture}`, '--output-file', devNull, file];
  const { status, stderr } = spawnSync(ptxas, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`ptxas ${args.join(' ')}:\n${stderr}`);
  const entries = stderr.split("Compiling entry function '").slice(1);
  const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  return new Map(
    entries.map((text) => [
      text.slice(0, text.indexOf("'")),
      {
        registers: number(text, /Used (\d+) registers/),
        spilledBytes: number(text, /(\d+) bytes spill stores/) + number(text, /(\d+) bytes spill loads/),
        sharedBytes: number(text, /(\d+) bytes smem/),
      },
    ]),
  );
}

const off = { memory: false, uninitialised: false, races: false, sync: false };
const device = openSimulator({ checks: { ...off, counters: true } });
const backend = await createCudaBackend({ device });

/** Counters of the case's entry, which the op must launch for these sizes. */
function simulate({ op, entry, inputs }: Case, sizes: Sizes): Counters {
  let found: Counters | undefined;
  const { launch } = device;
  device.launch = (kernel, ...rest) => {
    device.resetCounts();
    launch.call(device, kernel, ...rest);
    if (kernel.name !== entry) return;
    const { warpInstructions, byClass, global, shared } = device.counts;
    found = {
      warpInstructions,
      mma: byClass.get('mma') ?? 0,
      ldmatrix: byClass.get('ldmatrix') ?? 0,
      wavefronts: shared.loads.wavefronts + shared.stores.wavefronts,
      ideal: shared.loads.ideal + shared.stores.ideal,
      sectorsRead: global.loads.sectors,
      sectorsWritten: global.stores.sectors,
    };
  };
  withBackend(backend, () => {
    using _ = scope();
    const tensors = inputs(sizes).map(({ shape, dtype }) => zeros(shape, { dtype }));
    execute(registry.get(op) as AnyOp, tensors, undefined, []);
  });
  device.launch = launch;
  if (!found) throw new Error(`${op} of ${sizes.join('×')} does not launch ${entry}`);
  return found;
}

/** Counters at other sizes: blocks·(once + steps·each), from two sizes that were simulated. */
function extrapolate(c: Case, [a, b]: readonly [Counters, Counters]): (sizes: Sizes) => Counters {
  const [first, second] = c.simulated;
  return (sizes) =>
    Object.fromEntries(
      Object.keys(a).map((name) => {
        const [x, y] = [a[name as keyof Counters] / c.blocks(first), b[name as keyof Counters] / c.blocks(second)];
        const each = (y - x) / (c.steps(second) - c.steps(first));
        return [name, c.blocks(sizes) * (x + each * (c.steps(sizes) - c.steps(first)))];
      }),
    ) as unknown as Counters;
}

const [a100] = gpus;
const resources = new Map(cases.map(({ module }) => [module, resourcesOf(module, 80)]));
const counters = cases.map((c): [Counters, Counters] => [simulate(c, c.simulated[0]), simulate(c, c.simulated[1])]);
const of = (c: Case): Resources => {
  const found = resources.get(c.module)?.get(c.entry);
  if (!found) throw new Error(`${c.module}.ptx has no entry ${c.entry}`);
  return found;
};

console.log('Entries as ptxas compiles them for sm_80, and how an A100 holds them');
printTable(
  ['entry', 'registers', 'spilled bytes', 'shared bytes', 'threads', 'blocks/SM', 'occupancy %'],
  cases.map((c) => {
    const { registers, spilledBytes, sharedBytes } = of(c);
    const blocks = residentBlocks(of(c), c.threads, a100);
    const occupancy = (100 * blocks * c.threads) / 32 / a100.warps;
    return [c.entry, registers, spilledBytes, sharedBytes, c.threads, blocks, occupancy];
  }),
);

console.log('\nCounters of the simulator for one block');
printTable(
  ['entry', 'sizes', 'mma', 'ldmatrix', 'mma : ldmatrix', 'wavefronts', 'ideal', 'bytes/FLOP', 'PTX instructions/mma'],
  cases.map((c, i) => {
    const [n, more] = counters[i];
    const [sizes] = c.simulated;
    const blocks = c.blocks(sizes);
    const moved = (32 * (n.sectorsRead + n.sectorsWritten)) / c.flops(sizes);
    const ratio = n.ldmatrix > 0 ? n.mma / n.ldmatrix : undefined;
    const perMma = n.mma > 0 ? (more.warpInstructions - n.warpInstructions) / (more.mma - n.mma) : undefined;
    const ofBlock = [n.mma, n.ldmatrix].map((x) => x / blocks);
    const wavefronts = [n.wavefronts, n.ideal].map((x) => x / blocks);
    return [c.entry, sizes.join('×'), ...ofBlock, ratio, ...wavefronts, moved, perMma];
  }),
);

console.log('\nRoofline of LLaMA2-7B sizes, extrapolated from the counters: a model, not a measurement');
printTable(
  ['entry', 'sizes', ...gpus.flatMap(({ name }) => [`${name} µs`, 'bound by', 'TFLOP/s'])],
  cases.flatMap((c, i) =>
    c.extrapolated.map((sizes) => {
      const problem: Problem = {
        blocks: c.blocks(sizes),
        flops: c.flops(sizes),
        bytes: c.bytes(sizes),
        counters: extrapolate(c, counters[i])(sizes),
      };
      const cells = gpus.flatMap((gpu) => {
        const [unit, seconds] = Object.entries(roofline(problem, gpu)).reduce((a, b) => (b[1] > a[1] ? b : a));
        return [1e6 * seconds, unit, problem.flops / seconds / 1e12];
      });
      return [c.entry, sizes.join('×'), ...cells];
    }),
  ),
);

const broken = cases.flatMap((c, i) => {
  const [{ wavefronts, ideal, mma }] = counters[i];
  return [
    ...(of(c).spilledBytes > 0 ? [`${c.entry} spills ${of(c).spilledBytes} bytes`] : []),
    ...(mma > 0 && wavefronts > ideal ? [`${c.entry} takes ${wavefronts} wavefronts where ${ideal} would do`] : []),
  ];
});
for (const line of broken) console.error(`\nbench:ptx: ${line}`);
process.exitCode = broken.length > 0 ? 1 : 0;

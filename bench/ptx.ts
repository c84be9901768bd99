// `npm run bench:ptx`: what can be known about the CUDA kernels' speed without a GPU. Registers, spills and shared memory are
// ptxas's, counters the simulator's; times are a roofline that both imply. Only small problems are simulated, two of each
// kernel: what a block counts is a sum of what it does once and of its equal steps, so that larger problems follow exactly.
// Fails where a kernel spills or meets bank conflicts.
import { spawnSync } from 'node:child_process';
import { devNull } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createCudaBackend } from '../engine/backends/cuda.ts';
import { byteLength, type WeightDType } from '../engine/dtype.ts';
import { execute } from '../engine/execute.ts';
import { Forest, fromBytes, registry, scope, tensor, withBackend } from '../engine/index.ts';
import type { AnyOp, BenchInput } from '../engine/op.ts';
import { planArrays } from '../engine/segments.ts';
import { gemvColumns } from '../kernels/cuda/linear.ts';
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
  /** Inputs without values are zeros: counters do not depend on numbers. */
  inputs(sizes: Sizes): { inputs: BenchInput[]; attrs?: unknown };
  blocks(sizes: Sizes): number;
  /** Counters are a sum of this many times what one block does once, and once for each of its steps; a mean where blocks differ. */
  steps(sizes: Sizes): number;
  /** Of what the op asks for: a kernel may do more, which it masks. */
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

function product(op: string, entry: string, tile: number, depth: number): Case {
  const dtype = entry.includes('bf16') ? 'bf16' : 'f32';
  const size = dtype === 'bf16' ? 2 : 4;
  return {
    op,
    module: 'linear',
    entry,
    inputs: ([M, N, K]) => ({
      inputs: [
        { shape: [M, K], dtype },
        { shape: op === 'linear' ? [N, K] : [K, N], dtype },
      ],
    }),
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

/** A product of one row with a weight that is read as it is stored, sizes [1, N, K]. */
function gemv(stored: WeightDType): Case {
  return {
    op: 'linear',
    module: 'linear',
    entry: `linear_bf16_${stored}_gemv`,
    inputs: ([M, N, K]) => ({
      inputs: [
        { shape: [M, K], dtype: 'bf16' },
        { shape: [N, K], dtype: stored },
      ],
    }),
    blocks: ([, N]) => N / gemvColumns(stored),
    steps: ([, , K]) => K / 1024,
    flops: ([M, N, K]) => 2 * M * N * K,
    bytes: ([M, N, K]) => 2 * M * (N + K) + byteLength(stored, [N, K]),
    simulated: [
      [1, 16, 1024],
      [1, 16, 2048],
    ],
    extrapolated: layers.map(([, N, K]) => [1, N, K]),
  };
}

/** Rows of q or k that a block has: four tiles of the plan. */
const OWN = 128;

/** Causal attention over one sequence, sizes [T, H, D]; of `rows` tensors of [T, H, D] and `products` products of length D. */
function attention(op: string, D: number, products: number, rows: number): Case {
  const pairs = (T: number): number => (T * (T + 1)) / 2;
  return {
    op,
    module: 'attention',
    entry: `${op}_bf16_mma${D}`,
    inputs: ([T, H]) => {
      const forest = new Forest();
      forest.add(-1, T);
      const { queryTiles, keySpans, keyTiles, querySpans } = planArrays(forest);
      const heads: BenchInput = { shape: [T, H, D], dtype: 'bf16' };
      const list = (values: number[], width: number): BenchInput => ({
        shape: [values.length / width, width],
        dtype: 'i32',
        values,
      });
      const byQuery = [list(queryTiles, 5), list(keySpans, 2)];
      const byKey = [list(keyTiles, 4), list(querySpans, 3)];
      const saved: BenchInput[] = [heads, heads, heads, heads, heads, { shape: [T, H], dtype: 'f32' }];
      const inputs = {
        attention: [heads, heads, heads, ...byQuery, ...byKey],
        attentionGradQuery: [...saved, ...byQuery],
        attentionGradKeyValue: [...saved, ...byKey],
      }[op] as BenchInput[];
      return { inputs, attrs: { scale: D ** -0.5, keys: T, pairs: pairs(T) } };
    },
    blocks: ([T, H]) => (T / OWN) * H,
    // The block on the diagonal is the same for all; of those beside it, the first block has none and the last one the most.
    steps: ([T]) => (T / OWN - 1) / 2,
    flops: ([T, H]) => 2 * products * pairs(T) * H * D,
    bytes: ([T, H]) => 2 * rows * T * H * D,
    simulated: [
      [2 * OWN, 1, D],
      [3 * OWN, 1, D],
    ],
    extrapolated: [[2048, 4096 / D, D]],
  };
}

const cases: readonly Case[] = [
  product('linear', 'linear_bf16_async', 128, 32),
  product('linearGradInput', 'linearGradInput_bf16_async', 128, 32),
  product('linear', 'linear_f32', 64, 16),
  product('linearGradInput', 'linearGradInput_f32', 64, 16),
  ...(['bf16', 'q8_0', 'q4_0', 'q4_k'] as const).map(gemv),
  ...[128, 64].flatMap((D) => [
    attention('attention', D, 2, 4),
    attention('attentionGradQuery', D, 3, 6),
    attention('attentionGradKeyValue', D, 4, 6),
  ]),
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

/** A launch of a case's entry on the simulator. */
interface Simulated {
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

/** Counters of a block, from two sizes that were simulated: those of `steps` steps, and of each one more. */
function perBlock(c: Case, [a, b]: readonly [Simulated, Simulated]) {
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

const [a100] = gpus;
const resources = new Map(cases.map(({ module }) => [module, resourcesOf(module, 80)]));
const simulated = cases.map((c): [Simulated, Simulated] => [simulate(c, c.simulated[0]), simulate(c, c.simulated[1])]);
const blocksOf = cases.map((c, i) => perBlock(c, simulated[i]));
const entries = cases.map(({ module, entry }, i): Resources => {
  const found = resources.get(module)?.get(entry);
  if (!found) throw new Error(`${module}.ptx has no entry ${entry}`);
  return { ...found, sharedBytes: found.sharedBytes + simulated[i][0].dynamicSharedBytes };
});

console.log('Entries as ptxas compiles them for sm_80, and how an A100 holds them');
printTable(
  ['entry', 'registers', 'spilled bytes', 'shared bytes', 'threads', 'blocks/SM', 'occupancy %'],
  cases.map(({ entry }, i) => {
    const { registers, spilledBytes, sharedBytes } = entries[i];
    const [{ threads }] = simulated[i];
    const blocks = residentBlocks(entries[i], threads, a100);
    const occupancy = (100 * blocks * threads) / 32 / a100.warps;
    return [entry, registers, spilledBytes, sharedBytes, threads, blocks, occupancy];
  }),
);

console.log('\nCounters of the simulator for one block');
const heads = ['loads', 'sectors/load', 'mma', 'ldmatrix', 'mma : ldmatrix', 'wavefronts', 'ideal'];
printTable(
  ['entry', 'sizes', ...heads, 'bytes/FLOP', 'PTX instructions/mma'],
  cases.map((c, i) => {
    const [sizes] = c.simulated;
    const { each, of } = blocksOf[i];
    const n = of(sizes);
    const moved = (32 * (n.sectorsRead + n.sectorsWritten) * c.blocks(sizes)) / c.flops(sizes);
    const ratio = n.ldmatrix > 0 ? n.mma / n.ldmatrix : undefined;
    const perMma = n.mma > 0 ? each.warpInstructions / each.mma : undefined;
    const counted = [n.loads, n.sectorsRead / n.loads, n.mma, n.ldmatrix, ratio, n.wavefronts, n.ideal];
    return [c.entry, sizes.join('×'), ...counted, moved, perMma];
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
        counters: blocksOf[i].of(sizes),
      };
      const cells = gpus.flatMap((gpu) => {
        const [unit, seconds] = Object.entries(roofline(problem, gpu)).reduce((a, b) => (b[1] > a[1] ? b : a));
        return [1e6 * seconds, unit, problem.flops / seconds / 1e12];
      });
      return [c.entry, sizes.join('×'), ...cells];
    }),
  ),
);

const broken = cases.flatMap(({ entry }, i) => {
  const { spilledBytes } = entries[i];
  const [{ counters }] = simulated[i];
  const { wavefronts, ideal, mma } = counters;
  return [
    ...(spilledBytes > 0 ? [`${entry} spills ${spilledBytes} bytes`] : []),
    ...(mma > 0 && wavefronts > ideal ? [`${entry} takes ${wavefronts} wavefronts where ${ideal} would do`] : []),
  ];
});
for (const line of broken) console.error(`\nbench:ptx: ${line}`);
process.exitCode = broken.length > 0 ? 1 : 0;

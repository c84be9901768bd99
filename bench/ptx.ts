// `npm run bench:ptx`: what can be known about the CUDA kernels' speed without a GPU. Registers, spills and shared memory are
// ptxas's, counters the simulator's; times are a roofline that both imply. Fails where a kernel spills or meets bank conflicts.
import { spawnSync } from 'node:child_process';
import { devNull } from 'node:os';
import { fileURLToPath } from 'node:url';
import { compiler } from '../kernels/cuda/toolchain.mjs';
import { cases } from './ptxCases.ts';
import { count, problem } from './ptxCounters.ts';
import { bound, gpus, type Resources, residentBlocks } from './ptxModel.ts';
import { printTable } from './report.ts';

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

const [a100] = gpus;
const resources = new Map(cases.map(({ module }) => [module, resourcesOf(module, 80)]));
const counted = cases.map(count);
const entries = cases.map(({ module, entry }, i): Resources => {
  const found = resources.get(module)?.get(entry);
  if (!found) throw new Error(`${module}.ptx has no entry ${entry}`);
  return { ...found, sharedBytes: found.sharedBytes + counted[i].simulated[0].dynamicSharedBytes };
});

console.log('Entries as ptxas compiles them for sm_80, and how an A100 holds them');
printTable(
  ['entry', 'registers', 'spilled bytes', 'shared bytes', 'threads', 'blocks/SM', 'occupancy %'],
  cases.map(({ entry }, i) => {
    const { registers, spilledBytes, sharedBytes } = entries[i];
    const [{ threads }] = counted[i].simulated;
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
    const { each, of } = counted[i];
    const n = of(sizes);
    const moved = (32 * (n.sectorsRead + n.sectorsWritten) * c.blocks(sizes)) / c.flops(sizes);
    const ratio = n.ldmatrix > 0 ? n.mma / n.ldmatrix : undefined;
    const perMma = n.mma > 0 ? each.warpInstructions / each.mma : undefined;
    const numbers = [n.loads, n.sectorsRead / n.loads, n.mma, n.ldmatrix, ratio, n.wavefronts, n.ideal];
    return [c.entry, sizes.join('×'), ...numbers, moved, perMma];
  }),
);

console.log('\nRoofline of LLaMA2-7B sizes, extrapolated from the counters: a model, not a measurement');
printTable(
  ['entry', 'sizes', ...gpus.flatMap(({ name }) => [`${name} µs`, 'bound by', 'TFLOP/s'])],
  cases.flatMap((c, i) =>
    c.extrapolated.map((sizes) => {
      const cells = gpus.flatMap((gpu) => {
        const { unit, seconds } = bound(problem(c, sizes, counted[i]), gpu);
        return [1e6 * seconds, unit, c.flops(sizes) / seconds / 1e12];
      });
      return [c.entry, sizes.join('×'), ...cells];
    }),
  ),
);

const broken = cases.flatMap(({ entry }, i) => {
  const { spilledBytes } = entries[i];
  const [{ counters }] = counted[i].simulated;
  const { wavefronts, ideal, mma } = counters;
  return [
    ...(spilledBytes > 0 ? [`${entry} spills ${spilledBytes} bytes`] : []),
    ...(mma > 0 && wavefronts > ideal ? [`${entry} takes ${wavefronts} wavefronts where ${ideal} would do`] : []),
  ];
});
for (const line of broken) console.error(`\nbench:ptx: ${line}`);
process.exitCode = broken.length > 0 ? 1 : 0;

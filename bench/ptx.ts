// `npm run bench:ptx`: what can be known about the CUDA kernels' speed without a GPU. Registers, spills and shared memory are
// ptxas's, counters the simulator's; times are a roofline that both imply. Prints the tables, writes bench/PTX.md of them, and
// fails where a kernel misses one of the bars in ptxBars.ts.
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { devNull } from 'node:os';
import { fileURLToPath } from 'node:url';
import { compiler } from '../kernels/cuda/toolchain.mjs';
import { type Figures, figureNames, judge } from './ptxBars.ts';
import { cases } from './ptxCases.ts';
import { count, problem } from './ptxCounters.ts';
import { bound, gpus, type Resources, residentBlocks } from './ptxModel.ts';
import { type Cell, markdownTable, printTable, significant } from './report.ts';

const { ptxas } = compiler();

/** What ptxas says about the cases' entries in a module. */
function resourcesOf(module: string, architecture: number): Map<string, Resources> {
  const file = fileURLToPath(new URL(`../kernels/cuda/ptx/sm_80/${module}.ptx`, import.meta.url));
  const own = cases.filter((c) => c.module === module).flatMap(({ entry }) => ['--entry', entry]);
  const args = ['-v', `-arch=sm_${architecture}`, ...own, '--output-file', devNull, file];
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

// H200 is H100's chip.
const chips = gpus.filter(({ architecture }, i) => architecture !== gpus[i - 1]?.architecture);
const modules = [...new Set(cases.map(({ module }) => module))];
const resources = chips.map(({ architecture }) => new Map(modules.flatMap((m) => [...resourcesOf(m, architecture)])));
const counted = cases.map(count);
/** Of each case, by chip. */
const held = cases.map(({ entry }, i) =>
  resources.map((ofChip): Resources => {
    const found = ofChip.get(entry);
    if (!found) throw new Error(`ptxas says nothing about ${entry}`);
    return { ...found, sharedBytes: found.sharedBytes + counted[i].simulated[0].dynamicSharedBytes };
  }),
);
const first = cases.map((c, i) => {
  const n = counted[i].of(c.simulated[0]);
  return {
    ...n,
    ratio: n.ldmatrix > 0 ? n.mma / n.ldmatrix : undefined,
    moved: (32 * (n.sectorsRead + n.sectorsWritten) * c.blocks(c.simulated[0])) / c.flops(c.simulated[0]),
  };
});
const judged = cases.map(({ entry }, i) => {
  const most = (of: (r: Resources) => number): number => Math.max(...held[i].map(of));
  const figures: Figures = {
    registers: most(({ registers }) => registers),
    'spilled bytes': most(({ spilledBytes }) => spilledBytes),
    'shared bytes': most(({ sharedBytes }) => sharedBytes),
    'mma : ldmatrix': first[i].ratio,
    'wavefronts above ideal': first[i].wavefronts - first[i].ideal,
    'bytes/FLOP': first[i].moved,
  };
  return { entry, bars: judge(entry, figures) };
});

const page: string[] = [];
function section(title: string, headings: readonly string[], rows: readonly (readonly Cell[])[]): void {
  console.log(`\n${title}`);
  printTable(headings, rows);
  page.push(`## ${title}`, markdownTable(headings, rows));
}

section(
  'Bars',
  ['entry', ...figureNames, 'holds'],
  judged.map(({ entry, bars }) => {
    const cells = figureNames.map((figure) => {
      const found = bars.find((b) => b.figure === figure);
      return found && `${significant(found.value)} ${found.sign} ${significant(found.bar)}`;
    });
    return [entry, ...cells, bars.every(({ holds }) => holds) ? 'yes' : 'NO'];
  }),
);

section(
  'Entries as ptxas compiles them for each GPU, and how a multiprocessor holds them',
  ['entry', 'threads', 'shared bytes', ...chips.flatMap(({ name }) => [`${name} registers`, 'blocks', 'occupancy %'])],
  cases.map(({ entry }, i) => {
    const [{ threads }] = counted[i].simulated;
    const cells = chips.flatMap((chip, k) => {
      const blocks = residentBlocks(held[i][k], threads, chip);
      return [held[i][k].registers, blocks, (100 * blocks * threads) / 32 / chip.warps];
    });
    return [entry, threads, held[i][0].sharedBytes, ...cells];
  }),
);

const heads = ['loads', 'sectors/load', 'mma', 'ldmatrix', 'mma : ldmatrix', 'wavefronts', 'ideal'];
section(
  'Counters of the simulator for one block',
  ['entry', 'sizes', ...heads, 'bytes/FLOP', 'PTX instructions/mma'],
  cases.map(({ entry, simulated: [sizes] }, i) => {
    const { each } = counted[i];
    const { loads, sectorsRead, mma, ldmatrix, ratio, wavefronts, ideal, moved } = first[i];
    const perMma = mma > 0 ? each.warpInstructions / each.mma : undefined;
    const numbers = [loads, sectorsRead / loads, mma, ldmatrix, ratio, wavefronts, ideal, moved, perMma];
    return [entry, sizes.join('×'), ...numbers];
  }),
);

section(
  'Roofline of LLaMA2-7B sizes, extrapolated from the counters: a model, not a measurement',
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

const release = execFileSync(ptxas, ['--version'], { encoding: 'utf8' }).match(/release [\d.]+/)?.[0];
const text = `# CUDA products and attention without a GPU

Written by \`npm run bench:ptx\`, which fails where a bar is missed. Registers, spills and shared memory are what ptxas (${release})
says of the PTX that ships; counters are the simulator's, and exact. Sizes are M×N×K of a product and T×H×D of causal attention.
Bars: registers and spills are the most that a GPU's compilation takes; those of the products in bf16 are a reference GEMM's with
the same tiles, 128×128×32 at K = 256, but for the adapter that loraLinear and its gradient read beside their operands. PTX moves
their sums, which pass from one loop to another, between registers at each step: instructions that ptxas removes.
**No time here is measured**: the last table is what data sheets and counters imply (bench/ptxModel.ts). \`npm run bench:gpu\` measures.

${page.join('\n\n')}
`;
await writeFile(new URL('PTX.md', import.meta.url), text);

const missed = judged.flatMap(({ entry, bars }) =>
  bars.filter(({ holds }) => !holds).map((bar) => ({ entry, ...bar })),
);
for (const { entry, figure, value, bar, sign } of missed) {
  console.error(`\nbench:ptx: ${entry} has ${figure} ${value}, where ${sign} ${bar} is expected`);
}
process.exitCode = missed.length > 0 ? 1 : 0;

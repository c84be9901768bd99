// `npm run bench:peers`: lorikeet beside what else there is for the same work on a CPU, measured in turns on one machine.
//
//   npm run bench:peers -- [PART …] [--pairs N] [--steps N] [--rounds N] [--threads N] [--no-revectorize]
//                          [--model NAME|PATH] [--data FILE] [--batch N] [--length N] [--json FILE]
//
// A PART is gemm, weights, train, train-bf16, prompt, eval, eval-bf16, memory, scaling, length, or page; without any, all of
// them. Each puts what it found into the JSON file (default runs/peers.json) as soon as it has it, pair by pair, and leaves the
// other parts there alone, so that they can be measured one by one when the machine is idle. `page` writes bench/RESULTS.md of
// all that the file holds. transformers + peft need Python: LORIKEET_PYTHON names one with torch, transformers, peft and gguf.
// onnxruntime and tfjs are installed by `gemm` when it first runs: they are 500 MB that nobody else needs, and so have a
// package.json with a lock of their own in bench/peers/packages, out of reach of lorikeet's `npm ci`.
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { resolveModel } from '../models/pull/index.ts';
import { type Settings, Unavailable } from './peers/context.ts';
import { measureGemm, measureWeights } from './peers/gemm.ts';
import { resultsPage } from './peers/page.ts';
import { type PartName, type Results, readResults, saveResults } from './peers/results.ts';
import { bars, holds } from './peers/summary.ts';
import { measureLengths, measureMemory, measurePairs, measureScaling } from './peers/workloads.ts';
import { machine, printMachine, printTable } from './report.ts';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: {
    pairs: { type: 'string', default: '5' },
    steps: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(availableParallelism()) },
    revectorize: { type: 'boolean', default: true },
    model: { type: 'string', default: 'smollm2-135m-instruct-q4_1' },
    data: { type: 'string' },
    batch: { type: 'string', default: '8' },
    length: { type: 'string', default: '256' },
    json: { type: 'string', default: 'runs/peers.json' },
  },
});
const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const settings: Settings = {
  model: await resolveModel(flags.model),
  data: flags.data ?? `${process.env.LORIKEET_DATA ?? beside('../../shared')}/data/imdb/train.jsonl.gz`,
  batch: Number(flags.batch),
  maxLength: Number(flags.length),
  threads: Number(flags.threads),
  revectorize: flags.revectorize,
  pairs: Number(flags.pairs),
  steps: Number(flags.steps),
  rounds: Number(flags.rounds),
};

/** Where bf16 has arithmetic of its own: elsewhere torch is slower with it than in f32. */
const hasBf16 = machine().features.some((f) => ['avx512_bf16', 'amx_bf16', 'bf16'].includes(f));
function needBf16(): void {
  if (!hasBf16) throw new Unavailable('this CPU does not list bf16 arithmetic');
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: beside('.'), encoding: 'utf8' }).trim();
  } catch {
    return 'no git';
  }
}

/** Puts a part into the file. */
async function save<P extends PartName>(part: P, result: Omit<NonNullable<Results[P]>, 'origin'>): Promise<void> {
  const origin = {
    machine: machine(),
    commit: commit(),
    command: ['npm run bench:peers --', ...process.argv.slice(2)].join(' '),
  };
  await saveResults(flags.json, { ...readResults(flags.json), [part]: { ...result, origin } });
}

const parts: Record<PartName, () => Promise<void>> = {
  gemm: async () => save('gemm', await measureGemm(settings)),
  weights: async () => save('weights', await measureWeights(settings)),
  train: () => measurePairs('train', settings, 'lora', 'float32', (result) => save('train', result)),
  'train-bf16': () => {
    needBf16();
    return measurePairs('train-bf16', settings, 'lora', 'bfloat16', (result) => save('train-bf16', result));
  },
  prompt: () => measurePairs('prompt', settings, 'prompt', 'float32', (result) => save('prompt', result)),
  eval: () => measurePairs('eval', settings, 'eval', 'float32', (result) => save('eval', result)),
  'eval-bf16': () => {
    needBf16();
    return measurePairs('eval-bf16', settings, 'eval', 'bfloat16', (result) => save('eval-bf16', result));
  },
  memory: async () => save('memory', await measureMemory(settings, hasBf16)),
  scaling: () => measureScaling(settings, (result) => save('scaling', result)),
  length: async () => save('length', await measureLengths(settings)),
};

function printBars(results: Results): void {
  const rows = bars(results).filter(({ measured }) => measured);
  printTable(
    ['measure', 'at least', 'aim', 'median', 'min', 'max', 'holds'],
    rows.map((bar) => {
      const { measure, least, aim, measured } = bar;
      return [measure, least, aim, measured?.median, measured?.min, measured?.max, holds(bar) ? 'yes' : 'NO'];
    }),
  );
}

async function main(): Promise<void> {
  const names = positionals.length > 0 ? positionals : [...Object.keys(parts), 'page'];
  for (const name of names) {
    if (name !== 'page' && !Object.hasOwn(parts, name)) {
      throw new Error(`there is no part ${name}; there are ${Object.keys(parts).join(', ')}, page`);
    }
  }
  printMachine(machine());
  for (const name of names) {
    if (name === 'page') {
      await writeFile(beside('RESULTS.md'), resultsPage(readResults(flags.json)));
      console.log('written to bench/RESULTS.md');
      continue;
    }
    try {
      await parts[name as PartName]();
      console.log(`${name}: written to ${flags.json}`);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      console.error(`SKIPPED ${name}: ${error.message}`);
    }
  }
  printBars(readResults(flags.json));
}

await main();

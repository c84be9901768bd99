// `npm run bench:peers`: lorikeet beside what else there is for the same work on a CPU, measured in turns on one machine.
//
//   npm run bench:peers -- [PART …] [--pairs N] [--steps N] [--rounds N] [--threads N] [--no-revectorize]
//                          [--model NAME|PATH] [--data FILE] [--batch N] [--length N] [--json FILE] [--more]
//
// A PART is gemm, weights, train, train-bf16, train-int16, train-int16-bf16, prompt, eval, eval-bf16, eval-int16,
// eval-int16-bf16, memory, scaling, length, or page; without any, all of them. Each puts what it found into the JSON file (default
// runs/peers.json, which begins as a copy of bench/RESULTS.json) as soon as it has it, pair by pair, and leaves the other parts
// there alone, so that they can be measured one by one when the machine is idle; with --more new pairs join those that the file
// has of a part. Comparisons of one job that are asked for together take their turns together. `page` writes bench/RESULTS.md
// and RESULTS.json of all that the file holds, and what bench/peers/earlier.md says of parts that were not measured again.
// transformers + peft need a Python with torch, transformers, peft and gguf, which LORIKEET_PYTHON names; reviews are IMDB's of
// LORIKEET_DATA unless --data names others.
//
// onnxruntime and tfjs are installed by `gemm` when it first runs: they are 500 MB that nobody else needs, and so have a
// package.json with a lock of their own in bench/peers/packages, out of reach of lorikeet's `npm ci`.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { resolveModel } from '../models/pull/index.ts';
import { type Settings, Unavailable } from './peers/context.ts';
import { measureGemm, measureWeights } from './peers/gemm.ts';
import { resultsPage } from './peers/page.ts';
import {
  type ComparisonName,
  comparisonNames,
  comparisons,
  type PartName,
  type Results,
  readResults,
  saveResults,
} from './peers/results.ts';
import { bars, holds } from './peers/summary.ts';
import { measureLengths, measureMemory, measurePairs, measureScaling, type PairStore } from './peers/workloads.ts';
import { referencePath } from './referenceData.ts';
import { machine, printMachine, printTable } from './report.ts';

const {
  values: flags,
  positionals,
  tokens,
} = parseArgs({
  tokens: true,
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
    more: { type: 'boolean', default: false },
  },
});
const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const settings: Settings = {
  model: await resolveModel(flags.model),
  data: flags.data ?? referencePath('data/imdb/train.jsonl.gz'),
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

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: beside('.'), encoding: 'utf8' }).trim();
  } catch {
    return 'no git';
  }
}

// Before anything is measured.
const [load] = loadavg();
/** What the last page was made of. */
const published = beside('RESULTS.json');
const found = (): Results => readResults(existsSync(flags.json) ? flags.json : published);

/** The command as the page shows it: where its files lie is this machine's own. */
const command = tokens.flatMap((token) => {
  if (token.kind === 'positional') return [token.value];
  if (token.kind !== 'option' || token.name === 'json') return [];
  return [token.rawName, ...(token.value === undefined ? [] : [basename(token.value)])];
});

/** Puts a part into the file. */
async function save<P extends PartName>(part: P, result: Omit<NonNullable<Results[P]>, 'origin'>): Promise<void> {
  const origin = {
    machine: machine(),
    commit: commit(),
    command: ['npm run bench:peers --', ...command].join(' '),
    load,
  };
  await saveResults(flags.json, { ...found(), [part]: { ...result, origin } });
}

const storeOf = (part: ComparisonName | 'scaling'): PairStore => ({
  earlier: flags.more ? found()[part] : undefined,
  onPair: (result) => save(part, result),
});

const parts: Record<Exclude<PartName, ComparisonName>, () => Promise<void>> = {
  gemm: async () => save('gemm', await measureGemm(settings)),
  weights: async () => save('weights', await measureWeights(settings)),
  memory: async () => save('memory', await measureMemory(settings, hasBf16)),
  scaling: () => measureScaling(settings, storeOf('scaling')),
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

const isComparison = (name: string): name is ComparisonName => Object.hasOwn(comparisons, name);

/** Comparisons of one job, which take their turns together. */
function compare(names: readonly ComparisonName[]): Promise<void> {
  const able = names.filter((name) => hasBf16 || comparisons[name].theirs !== 'bfloat16');
  if (able.length === 0) throw new Unavailable('this CPU lists no bf16 arithmetic');
  return measurePairs(
    able.map((name) => ({ ...comparisons[name], ...storeOf(name) })),
    settings,
  );
}

/** Measures a part; all comparisons of a job that are asked for at the first of them. */
function measure(name: string, names: readonly string[]): Promise<void> | undefined {
  if (!isComparison(name)) return parts[name as keyof typeof parts]();
  const together = names.filter(isComparison).filter((other) => comparisons[other].job === comparisons[name].job);
  return together[0] === name ? compare(together) : undefined;
}

async function main(): Promise<void> {
  const known = [...Object.keys(parts), ...comparisonNames];
  const names = positionals.length > 0 ? positionals : [...known, 'page'];
  const unknown = names.find((name) => name !== 'page' && !known.includes(name));
  if (unknown !== undefined) throw new Error(`there is no part ${unknown}; there are ${known.join(', ')}, page`);
  printMachine(machine());
  for (const name of names) {
    if (name === 'page') {
      const results = found();
      const earlier = readFileSync(beside('peers/earlier.md'), 'utf8');
      await writeFile(beside('RESULTS.md'), resultsPage(results) + earlier);
      await saveResults(published, results);
      console.log('written to bench/RESULTS.md and RESULTS.json');
      continue;
    }
    try {
      await measure(name, names);
      console.log(`${name}: written to ${flags.json}`);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      console.error(`SKIPPED ${name}: ${error.message}`);
    }
  }
  printBars(found());
}

await main();

// `npm run mutants:ptx`: how many small defects of the shipped PTX the parity cases and the simulator's checks notice.
//
//   npm run mutants:ptx -- [--count 240] [--seed 1] [--only REGEX] [--runs 8] [--out FILE]
//
// Mutants of the products, attention, norms and losses of both targets are drawn with a fixed seed, kinds of mutation in turn; with
// --only, every one whose key matches is taken instead. Each is judged by the cases that launch its entry, small ones first, until
// one fails. Every result is appended to FILE (runs/mutants.jsonl) at once; mutants that it holds already of the same PTX are not
// run again. Survivors are explained in mutants/survivors.json, those that compute the same apart. Exit status 1 when fewer than 90%
// of a target's others are caught. Writes mutants/RESULTS.md, except with --only.
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { createReferenceBackend } from '../../../engine/index.ts';
import { Rng } from '../../../engine/random.ts';
import { InvalidPtx } from '../../../kernels/cuda/runtime/src/index.ts';
import type { Target } from '../../../kernels/cuda/table.ts';
import { type Case, cases, changedBackend, thinned } from './mutants/cases.ts';
import { keyOf, mutated, mutationsOf } from './mutants/mutations.ts';
import { type Mutant, type Result, rateOf, resultsPage, type Survivors, summarise } from './mutants/page.ts';

const { values: flags } = parseArgs({
  options: {
    count: { type: 'string', default: '240' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    runs: { type: 'string', default: '8' },
    out: { type: 'string', default: 'runs/mutants.jsonl' },
  },
});

/** Files whose mutants are drawn in turn, of each target. */
const subjects = {
  products: ['linear', 'matmul'],
  attention: ['attention'],
  norm: ['norm'],
  loss: ['loss', 'linearLoss'],
};
const targets: readonly Target[] = [80, 75];

const ptxOf = (target: Target, file: string): string =>
  readFileSync(new URL(`../../../kernels/cuda/ptx/sm_${target}/${file}.ptx`, import.meta.url), 'utf8');

const mutantsOf = (target: Target, subject: keyof typeof subjects): Mutant[] =>
  subjects[subject].flatMap((file) => {
    const ptx = ptxOf(target, file);
    const sha256 = createHash('sha256').update(ptx).digest('hex');
    return mutationsOf(ptx).map((m): Mutant => ({ ...m, target, subject, file, sha256 }));
  });
/** Of each target's subjects. */
const groups = targets.flatMap((target) =>
  (Object.keys(subjects) as (keyof typeof subjects)[]).map((subject) => mutantsOf(target, subject)),
);

/** `count` different mutants: groups and, within them, kinds in turn, then any instruction of any entry. */
function draw(count: number, seed: number): Mutant[] {
  const pools = groups.map((all, i) => ({
    kinds: [...new Set(all.map(({ kind }) => kind))].map((kind) => all.filter((m) => m.kind === kind)),
    // A generator of its own: another build of one group leaves the others' mutants as they are.
    rng: new Rng(seed, i),
  }));
  const drawn = new Map<string, Mutant>();
  for (let i = 0; drawn.size < count && i < 100 * count; i++) {
    const { kinds, rng } = pools[i % pools.length];
    const sites = kinds[Math.floor(i / pools.length) % kinds.length];
    const mutant = sites[rng.int(sites.length)];
    drawn.set(keyOf(mutant), mutant);
  }
  return [...drawn.values()];
}

const reference = createReferenceBackend();
const casesOfFile = new Map<string, readonly Case[]>();
/** Cases that passed without a mutation; each is run so when it first catches one. */
const sound = new Set<Case>();

/** The cases that launch an entry, cheap ones first. */
function casesOf({ target, file, entry }: Mutant): Case[] {
  const key = `${target} ${file}`;
  const all = casesOfFile.get(key) ?? cases(reference, file, target, Number(flags.runs));
  casesOfFile.set(key, all);
  return thinned(all.filter(({ entries }) => entries.has(entry))).sort((a, b) => a.threads - b.threads);
}

/** What the first failing case says; null when all pass. */
async function firstFailure(mutant: Mutant, own: readonly Case[]): Promise<string | null> {
  const backend = await changedBackend(mutant.target, (ptx, file, entry) =>
    mutated(ptx, entry, file === mutant.file && entry === mutant.entry ? mutant : undefined),
  );
  try {
    for (const c of own) {
      try {
        await c.run(backend);
      } catch (error) {
        if (error instanceof InvalidPtx) throw error;
        await checkSound(mutant.target, c);
        return `${(error as Error).message.split('\n')[0].slice(0, 160)} (${c.name})`;
      }
    }
    return null;
  } finally {
    await backend.close();
  }
}

/** @throws Error when the case fails without a mutation, so that it says nothing */
async function checkSound(target: Target, c: Case): Promise<void> {
  if (sound.has(c)) return;
  const backend = await changedBackend(target, (ptx, _, entry) => mutated(ptx, entry));
  try {
    await c.run(backend);
    sound.add(c);
  } catch (error) {
    throw new Error(`${c.name} fails without a mutation`, { cause: error });
  } finally {
    await backend.close();
  }
}

/** A result holds for the PTX that it was found with. */
const doneKey = (m: Mutant): string => `${m.sha256} ${keyOf(m)}`;
const done = new Map<string, Result>();
if (existsSync(flags.out)) {
  for (const line of readFileSync(flags.out, 'utf8').split('\n').filter(Boolean)) {
    const result = JSON.parse(line) as Result;
    done.set(doneKey(result), result);
  }
}
mkdirSync(dirname(flags.out), { recursive: true });

const { only } = flags;
const mutants =
  only === undefined
    ? draw(Number(flags.count), Number(flags.seed))
    : groups.flat().filter((m) => new RegExp(only).test(keyOf(m)));
const results: Result[] = [];
for (const [i, mutant] of mutants.entries()) {
  let result = done.get(doneKey(mutant));
  if (result === undefined) {
    const own = casesOf(mutant);
    const start = performance.now();
    const caught = await firstFailure(mutant, own);
    result = { ...mutant, caught, seconds: (performance.now() - start) / 1000 };
    appendFileSync(flags.out, `${JSON.stringify(result)}\n`);
  }
  results.push(result);
  console.log(
    `${i + 1}/${mutants.length} ${result.caught === null ? 'SURVIVED' : 'caught'} ${result.seconds.toFixed(1)} s ${keyOf(mutant)}`,
  );
}

const survivors: Survivors = JSON.parse(readFileSync(new URL('mutants/survivors.json', import.meta.url), 'utf8'));
const summary = summarise(results, survivors);
console.table(Object.fromEntries([...summary.bySubject, ...summary.byTarget]));
for (const { kind, key, after, explanation } of summary.survivors) {
  console.log(`${kind} ${key} → ${after}\n  ${explanation}`);
}
if (![...summary.byTarget.values()].every((counts) => rateOf(counts) >= 0.9)) process.exitCode = 1;
if (only === undefined) {
  const run = { seed: Number(flags.seed), count: Number(flags.count), runs: Number(flags.runs) };
  const page = resultsPage(results, survivors, { ...run, date: new Date().toISOString().slice(0, 10) });
  writeFileSync(new URL('mutants/RESULTS.md', import.meta.url), page);
}

// `npm run mutants:ptx`: how many small defects of the shipped PTX the parity cases and the simulator's checks notice.
//
//   npm run mutants:ptx -- [--count 120] [--seed 1] [--only REGEX] [--runs 8] [--out FILE]
//
// Mutants of the products, attention, norms and losses are drawn with a fixed seed, kinds of mutation in turn; with --only, every
// one whose key matches is taken instead. Each is judged by the cases that launch its entry, small ones first, until one fails.
// Every result is appended to FILE (runs/mutants.jsonl) at once; mutants that it holds already are not run again. Survivors are
// explained in mutants/survivors.json, those that compute the same apart. Exit status 1 when fewer than 90% of the others are
// caught.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { createReferenceBackend } from '../../../engine/index.ts';
import { Rng } from '../../../engine/random.ts';
import { InvalidPtx } from '../../../kernels/cuda/runtime/src/index.ts';
import { type Case, cases, changedBackend, thinned } from './mutants/cases.ts';
import { keyOf, type Mutation, mutated, mutationsOf } from './mutants/mutations.ts';

const { values: flags } = parseArgs({
  options: {
    count: { type: 'string', default: '120' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    runs: { type: 'string', default: '8' },
    out: { type: 'string', default: 'runs/mutants.jsonl' },
  },
});

/** Files whose mutants are drawn in turn. */
const subjects = {
  products: ['linear', 'matmul'],
  attention: ['attention'],
  norm: ['norm'],
  loss: ['loss', 'linearLoss'],
};

interface Mutant extends Mutation {
  subject: string;
  file: string;
}
interface Result extends Mutant {
  /** What noticed it; null where nothing did. */
  caught: string | null;
  seconds: number;
}

const ptxOf = (file: string): string =>
  readFileSync(new URL(`../../../kernels/cuda/ptx/sm_80/${file}.ptx`, import.meta.url), 'utf8');

const mutantsOf = (subject: keyof typeof subjects): Mutant[] =>
  subjects[subject].flatMap((file) => mutationsOf(ptxOf(file)).map((m): Mutant => ({ ...m, subject, file })));
const names = Object.keys(subjects) as (keyof typeof subjects)[];

/** `count` different mutants: subjects and, within them, kinds in turn, then any instruction of any entry. */
function draw(count: number, seed: number): Mutant[] {
  const pools = names.map((subject, i) => {
    const all = mutantsOf(subject);
    // A generator of its own: another build of one subject leaves the others' mutants as they are.
    return {
      kinds: [...new Set(all.map(({ kind }) => kind))].map((kind) => all.filter((m) => m.kind === kind)),
      rng: new Rng(seed, i),
    };
  });
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
function casesOf({ file, entry }: Mutant): Case[] {
  const all = casesOfFile.get(file) ?? cases(reference, file, Number(flags.runs));
  casesOfFile.set(file, all);
  return thinned(all.filter(({ entries }) => entries.has(entry))).sort((a, b) => a.threads - b.threads);
}

/** What the first failing case says; null when all pass. */
async function firstFailure(mutant: Mutant, own: readonly Case[]): Promise<string | null> {
  const backend = await changedBackend((ptx, file, entry) =>
    mutated(ptx, entry, file === mutant.file && entry === mutant.entry ? mutant : undefined),
  );
  try {
    for (const c of own) {
      try {
        await c.run(backend);
      } catch (error) {
        if (error instanceof InvalidPtx) throw error;
        await checkSound(c);
        return `${(error as Error).message.split('\n')[0].slice(0, 160)} (${c.name})`;
      }
    }
    return null;
  } finally {
    await backend.close();
  }
}

/** @throws Error when the case fails without a mutation, so that it says nothing */
async function checkSound(c: Case): Promise<void> {
  if (sound.has(c)) return;
  const backend = await changedBackend((ptx, _, entry) => mutated(ptx, entry));
  try {
    await c.run(backend);
    sound.add(c);
  } catch (error) {
    throw new Error(`${c.name} fails without a mutation`, { cause: error });
  } finally {
    await backend.close();
  }
}

const done = new Map<string, Result>();
if (existsSync(flags.out)) {
  for (const line of readFileSync(flags.out, 'utf8').split('\n').filter(Boolean)) {
    const result = JSON.parse(line) as Result;
    done.set(keyOf(result), result);
  }
}
mkdirSync(dirname(flags.out), { recursive: true });

const { only } = flags;
const mutants =
  only === undefined
    ? draw(Number(flags.count), Number(flags.seed))
    : names.flatMap(mutantsOf).filter((m) => new RegExp(only).test(keyOf(m)));
const results: Result[] = [];
for (const [i, mutant] of mutants.entries()) {
  let result = done.get(keyOf(mutant));
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
summarise(results);

function summarise(results: readonly Result[]): void {
  const { equivalent, unnoticed } = JSON.parse(
    readFileSync(new URL('mutants/survivors.json', import.meta.url), 'utf8'),
  ) as Record<'equivalent' | 'unnoticed', Record<string, string>>;
  const isEquivalent = (r: Result): boolean => r.caught === null && keyOf(r) in equivalent;
  const rows = names.map((subject) => {
    const own = results.filter((r) => r.subject === subject);
    const counts = {
      mutants: own.length,
      caught: own.filter((r) => r.caught !== null).length,
      equivalent: own.filter(isEquivalent).length,
    };
    return [subject, { ...counts, survived: counts.mutants - counts.caught - counts.equivalent }] as const;
  });
  console.table(Object.fromEntries(rows));
  for (const r of results.filter((r) => r.caught === null)) {
    const key = keyOf(r);
    console.log(`${isEquivalent(r) ? 'equivalent' : 'SURVIVED'} ${key} → ${r.after || 'nothing'}`);
    console.log(`  ${equivalent[key] ?? unnoticed[key] ?? 'not explained yet'}`);
  }
  const relevant = results.filter((r) => !isEquivalent(r));
  const rate = relevant.filter((r) => r.caught !== null).length / relevant.length;
  console.log(`\n${(100 * rate).toFixed(1)}% of ${relevant.length} mutants that compute something else are caught`);
  if (!(rate >= 0.9)) process.exitCode = 1;
}

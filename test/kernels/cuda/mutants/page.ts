// RESULTS.md, from the results of `npm run mutants:ptx`.
import type { Target } from '../../../../kernels/cuda/table.ts';
import { keyOf, type Mutation } from './mutations.ts';

export interface Mutant extends Mutation {
  target: Target;
  subject: string;
  file: string;
  /** sha256 of the file. */
  sha256: string;
}
export interface Result extends Mutant {
  /** What noticed it; null where nothing did. */
  caught: string | null;
  seconds: number;
}
/** Why mutants survive, by key: those that compute the same, and the others. */
export type Survivors = Readonly<Record<'equivalent' | 'unnoticed', Readonly<Record<string, string>>>>;

interface Counts {
  drawn: number;
  caught: number;
  equivalent: number;
  unnoticed: number;
}

export interface Summary {
  /** By `sm_80 products`, and by `sm_80`. */
  bySubject: Map<string, Counts>;
  byTarget: Map<string, Counts>;
  /** Nothing noticed them. */
  survivors: { kind: 'equivalent' | 'unnoticed'; key: string; after: string; explanation: string }[];
}

/** Caught, as a share of those that compute something else. */
export const rateOf = ({ drawn, caught, equivalent }: Counts): number => caught / (drawn - equivalent);

export function summarise(results: readonly Result[], { equivalent, unnoticed }: Survivors): Summary {
  const kindOf = (r: Result) => (r.caught !== null ? 'caught' : keyOf(r) in equivalent ? 'equivalent' : 'unnoticed');
  const countsOf = (own: readonly Result[]): Counts => {
    const counts = { drawn: own.length, caught: 0, equivalent: 0, unnoticed: 0 };
    for (const r of own) counts[kindOf(r)]++;
    return counts;
  };
  const survivors = results.flatMap((r) => {
    const kind = kindOf(r);
    if (kind === 'caught') return [];
    const key = keyOf(r);
    const explanation = equivalent[key] ?? unnoticed[key] ?? 'not explained yet';
    return [{ kind, key, after: r.after || 'nothing', explanation } as const];
  });
  const countsBy = (nameOf: (r: Result) => string): Map<string, Counts> =>
    new Map(
      [...new Set(results.map(nameOf))].map((name) => [name, countsOf(results.filter((r) => nameOf(r) === name))]),
    );
  return {
    bySubject: countsBy(({ target, subject }) => `sm_${target} ${subject}`),
    byTarget: countsBy(({ target }) => `sm_${target}`),
    survivors,
  };
}

export interface Run {
  seed: number;
  /** Mutants asked for. */
  count: number;
  /** Cases of an op and combination of types. */
  runs: number;
  /** 2026-11-29. */
  date: string;
}

/** Percent, rounded down: 90.0 is at least 90. */
const percent = (rate: number): string => (Math.floor(1000 * rate) / 10).toFixed(1);

export function resultsPage(results: readonly Result[], survivors: Survivors, run: Run): string {
  const { bySubject, byTarget, survivors: survived } = summarise(results, survivors);
  const row = ([name, c]: readonly [string, Counts]): string =>
    `| ${name} | ${c.drawn} | ${c.caught} | ${c.equivalent} | ${c.unnoticed} |`;
  const list = (kind: 'equivalent' | 'unnoticed'): string[] => {
    const own = survived.filter((s) => s.kind === kind);
    const lines = own.map(
      (s) => `- \`${s.key.replace(/\s+/g, ' ')}\` → \`${s.after.replace(/\s+/g, ' ')}\`: ${s.explanation}`,
    );
    return own.length > 0 ? lines : ['None.'];
  };
  const rates = [...byTarget].map(([name, c]) => `${percent(rateOf(c))}% of ${name}'s ${c.drawn - c.equivalent}`);
  const digests = [...new Set(results.map(({ target, file, sha256 }) => `${sha256}  sm_${target}/${file}.ptx`))];
  return [
    '# Mutants of the shipped PTX',
    '',
    `Written by \`npm run mutants:ptx -- --count ${run.count} --seed ${run.seed} --runs ${run.runs}\` on ${run.date}. Of ${run.count} mutants asked for,`,
    `${results.length} were drawn; **of those that compute something else ${rates.join(' and ')} were caught** (90% expected).`,
    '',
    '| kernels | drawn | caught | equivalent | unnoticed |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...[...bySubject, ...byTarget].map(row),
    '',
    '## Unnoticed',
    '',
    ...list('unnoticed'),
    '',
    '## Equivalent',
    '',
    ...list('equivalent'),
    '',
    '## Mutated files',
    '',
    'sha256 of those in kernels/cuda/ptx: the results are of the PTX that ships where they are still the same.',
    '',
    '```',
    ...digests,
    '```',
    '',
  ].join('\n');
}

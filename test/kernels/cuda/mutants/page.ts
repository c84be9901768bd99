// RESULTS.md, from the results of `npm run mutants:ptx`.
import { keyOf, type Mutation } from './mutations.ts';

export interface Mutant extends Mutation {
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
  bySubject: Map<string, Counts>;
  /** Nothing noticed them. */
  survivors: { kind: 'equivalent' | 'unnoticed'; key: string; after: string; explanation: string }[];
  /** Share of those that compute something else. */
  rate: number;
  total: Counts;
}

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
  const total = countsOf(results);
  return {
    bySubject: new Map(
      [...new Set(results.map((r) => r.subject))].map((subject) => [
        subject,
        countsOf(results.filter((r) => r.subject === subject)),
      ]),
    ),
    survivors,
    rate: total.caught / (total.drawn - total.equivalent),
    total,
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
export const percent = (rate: number): string => (Math.floor(1000 * rate) / 10).toFixed(1);

export function resultsPage(results: readonly Result[], survivors: Survivors, run: Run): string {
  const { bySubject, survivors: survived, rate, total } = summarise(results, survivors);
  const row = (name: string, c: Counts): string =>
    `| ${name} | ${c.drawn} | ${c.caught} | ${c.equivalent} | ${c.unnoticed} |`;
  const list = (kind: 'equivalent' | 'unnoticed'): string[] => {
    const own = survived.filter((s) => s.kind === kind);
    const lines = own.map(
      (s) => `- \`${s.key.replace(/\s+/g, ' ')}\` → \`${s.after.replace(/\s+/g, ' ')}\`: ${s.explanation}`,
    );
    return own.length > 0 ? lines : ['None.'];
  };
  const digests = [...new Set(results.map(({ file, sha256 }) => `${sha256}  ${file}.ptx`))];
  return [
    '# Mutants of the shipped PTX',
    '',
    `Written by \`npm run mutants:ptx -- --count ${run.count} --seed ${run.seed} --runs ${run.runs}\` on ${run.date}. Of ${run.count} mutants asked for,`,
    `${total.drawn} were drawn; **${percent(rate)}% of the ${total.drawn - total.equivalent} that compute something else were caught** (90% expected).`,
    '',
    '| kernels | drawn | caught | equivalent | unnoticed |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...[...bySubject].map(([subject, counts]) => row(subject, counts)),
    row('all', total),
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
    'sha256 of those in kernels/cuda/ptx/sm_80: the results are of the PTX that ships where they are still the same.',
    '',
    '```',
    ...digests,
    '```',
    '',
  ].join('\n');
}

import { expect, test } from 'vitest';
import type { Target } from '../../../../kernels/cuda/table.ts';
import { keyOf } from './mutations.ts';
import { type Result, rateOf, resultsPage, summarise } from './page.ts';

const result = (subject: string, line: number, caught: string | null, target: Target = 80): Result => ({
  ...{ target, subject, file: subject, sha256: `${subject}-digest`, entry: 'kernel', line, kind: 'barrier dropped' },
  ...{ before: 'bar.sync \t0;', after: '', caught, seconds: 1 },
});
const results = [
  ...[1, 2, 3].map((line) => result('linear', line, 'race')),
  result('linear', 4, null),
  result('norm', 5, null),
  result('norm', 6, null),
  result('norm', 6, 'race', 75),
];
const survivors = {
  equivalent: { [keyOf(results[3])]: 'Nothing is read behind it.' },
  unnoticed: {
    [keyOf(results[4])]: 'No case is so large.',
    'sm_80 norm other 1 barrier dropped: bar.sync 0;': 'Not drawn.',
  },
};

test('counts, share and survivors', () => {
  const { bySubject, byTarget, survivors: survived } = summarise(results, survivors);
  expect(Object.fromEntries(bySubject)).toEqual({
    'sm_80 linear': { drawn: 4, caught: 3, equivalent: 1, unnoticed: 0 },
    'sm_80 norm': { drawn: 2, caught: 0, equivalent: 0, unnoticed: 2 },
    'sm_75 norm': { drawn: 1, caught: 1, equivalent: 0, unnoticed: 0 },
  });
  expect([...byTarget].map(([target, counts]) => [target, counts.drawn, rateOf(counts)])).toEqual([
    ['sm_80', 6, 0.6],
    ['sm_75', 1, 1],
  ]);
  expect(survived).toHaveLength(3);
});

test('the page says what was drawn, what survived and why, and of which PTX', () => {
  expect(
    resultsPage(results, survivors, { seed: 7, count: 8, runs: 2, date: '2026-11-29' }),
  ).toBe(`# Mutants of the shipped PTX

Written by \`npm run mutants:ptx -- --count 8 --seed 7 --runs 2\` on 2026-11-29. Of 8 mutants asked for,
7 were drawn; **of those that compute something else 60.0% of sm_80's 5 and 100.0% of sm_75's 1 were caught** (90% expected).

| kernels | drawn | caught | equivalent | unnoticed |
| --- | ---: | ---: | ---: | ---: |
| sm_80 linear | 4 | 3 | 1 | 0 |
| sm_80 norm | 2 | 0 | 0 | 2 |
| sm_75 norm | 1 | 1 | 0 | 0 |
| sm_80 | 6 | 3 | 1 | 2 |
| sm_75 | 1 | 1 | 0 | 0 |

## Unnoticed

- \`sm_80 norm kernel 5 barrier dropped: bar.sync 0;\` → \`nothing\`: No case is so large.
- \`sm_80 norm kernel 6 barrier dropped: bar.sync 0;\` → \`nothing\`: not explained yet

## Equivalent

- \`sm_80 linear kernel 4 barrier dropped: bar.sync 0;\` → \`nothing\`: Nothing is read behind it.

## Mutated files

sha256 of those in kernels/cuda/ptx: the results are of the PTX that ships where they are still the same.

\`\`\`
linear-digest  sm_80/linear.ptx
norm-digest  sm_80/norm.ptx
norm-digest  sm_75/norm.ptx
\`\`\`
`);
});

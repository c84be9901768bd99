import { expect, test } from 'vitest';
import { keyOf } from './mutations.ts';
import { type Result, resultsPage, summarise } from './page.ts';

const result = (subject: string, line: number, caught: string | null): Result => ({
  ...{ subject, file: subject, sha256: `${subject}-digest`, entry: 'kernel', line, kind: 'barrier dropped' },
  ...{ before: 'bar.sync \t0;', after: '', caught, seconds: 1 },
});
const results = [
  ...[1, 2, 3].map((line) => result('linear', line, 'race')),
  result('linear', 4, null),
  result('norm', 5, null),
  result('norm', 6, null),
];
const survivors = {
  equivalent: { [keyOf(results[3])]: 'Nothing is read behind it.' },
  unnoticed: { [keyOf(results[4])]: 'No case is so large.', 'norm other 1 barrier dropped: bar.sync 0;': 'Not drawn.' },
};

test('counts, share and survivors', () => {
  const { bySubject, total, rate } = summarise(results, survivors);
  expect(Object.fromEntries(bySubject)).toEqual({
    linear: { drawn: 4, caught: 3, equivalent: 1, unnoticed: 0 },
    norm: { drawn: 2, caught: 0, equivalent: 0, unnoticed: 2 },
  });
  expect(total).toEqual({ drawn: 6, caught: 3, equivalent: 1, unnoticed: 2 });
  expect(rate).toBe(0.6);
});

test('the page says what was drawn, what survived and why, and of which PTX', () => {
  expect(
    resultsPage(results, survivors, { seed: 7, count: 8, runs: 2, date: '2026-11-29' }),
  ).toBe(`# Mutants of the shipped PTX

Written by \`npm run mutants:ptx -- --count 8 --seed 7 --runs 2\` on 2026-11-29. Of 8 mutants asked for,
6 were drawn; **60.0% of the 5 that compute something else were caught** (90% expected).

| kernels | drawn | caught | equivalent | unnoticed |
| --- | ---: | ---: | ---: | ---: |
| linear | 4 | 3 | 1 | 0 |
| norm | 2 | 0 | 0 | 2 |
| all | 6 | 3 | 1 | 2 |

## Unnoticed

- \`norm kernel 5 barrier dropped: bar.sync 0;\` → \`nothing\`: No case is so large.
- \`norm kernel 6 barrier dropped: bar.sync 0;\` → \`nothing\`: not explained yet

## Equivalent

- \`linear kernel 4 barrier dropped: bar.sync 0;\` → \`nothing\`: Nothing is read behind it.

## Mutated files

sha256 of those in kernels/cuda/ptx/sm_80: the results are of the PTX that ships where they are still the same.

\`\`\`
linear-digest  linear.ptx
norm-digest  norm.ptx
\`\`\`
`);
});

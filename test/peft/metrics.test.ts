import { describe, expect, test } from 'vitest';
import { parseAnswer } from '../../peft/answer.ts';
import { metrics, type Outcome, wilson } from '../../peft/metrics.ts';

describe('Wilson’s interval', () => {
  // Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I, method 3.
  test.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
    [29, 29, 0.883, 1],
  ])('%d of %d', (successes, n, low, high) => {
    const [a, b] = wilson(successes, n);
    expect(a).toBeCloseTo(low, 4);
    expect(b).toBeCloseTo(high, 4);
  });

  test('of nothing is everything', () => expect(wilson(0, 0)).toEqual([0, 1]));
});

describe('metrics', () => {
  const labels = ['a', 'b', 'c'];
  const outcomes = (...pairs: [label: number, predicted: number | undefined, tie?: boolean][]): Outcome[] =>
    pairs.map(([label, predicted, tie]) => ({ label, predicted, tie }));

  test('by hand: precision, recall, F1, confusion, unparsed answers and ties', () => {
    const found = metrics(
      outcomes([0, 0], [0, 0, true], [0, 1], [0, undefined], [1, 1], [1, 0], [1, 1], [1, 1], [2, 1], [2, 2]),
      labels,
    );
    expect(found.confusion).toEqual([
      [2, 1, 0, 1],
      [1, 3, 0, 0],
      [0, 1, 1, 0],
    ]);
    expect(found).toMatchObject({ n: 10, accuracy: 0.6, unparsed: 1, ties: 1, ci95: wilson(6, 10) });
    const f1 = [4 / 7, 2 / 3, 2 / 3];
    const expected = [
      [2 / 3, 2 / 4, 4],
      [3 / 5, 3 / 4, 4],
      [1 / 1, 1 / 2, 2],
    ];
    for (const [c, [precision, recall, support]] of expected.entries()) {
      expect(found.perClass[c]).toEqual({
        label: labels[c],
        precision,
        recall,
        support,
        f1: expect.closeTo(f1[c], 12),
      });
    }
    expect(found.macroF1).toBeCloseTo((f1[0] + f1[1] + f1[2]) / 3, 12);
  });

  test('a class that is never predicted, and one that never occurs, count as 0', () => {
    const found = metrics(outcomes([0, 0], [1, 0]), labels);
    expect(found.perClass.map(({ f1 }) => f1)).toEqual([2 / 3, 0, 0]);
    expect(found.macroF1).toBeCloseTo(2 / 9, 12);
  });
});

test.each([
  ['positive', 1],
  ['  Positive.', 1],
  ['"NEGATIVE"!\n', 0],
  ['The review is positive, I think', 1],
  ['not negative but positive', undefined],
  ['it is fine', undefined],
  ['', undefined],
])('the answer %j names label %s', (answer, label) => {
  expect(parseAnswer(answer, ['negative', 'positive'])).toBe(label);
});

test('an answer that is one label and contains another is that one', () => {
  expect(parseAnswer('Very good.', ['good', 'very good'])).toBe(1);
  expect(parseAnswer('good', ['good', 'very good'])).toBe(0);
});

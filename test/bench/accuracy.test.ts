import { expect, test } from 'vitest';
import { verdict } from '../../bench/accuracyPage.ts';

const peft = [0.84, 0.844, 0.816];

test('a mean two points below peft’s holds, more does not, when seeds agree', () => {
  expect(verdict([0.814, 0.814, 0.814], peft).holds).toBe(true); // 83.3 − 2 = 81.3
  expect(verdict([0.812, 0.812, 0.812], peft).holds).toBe(false);
});

test('seeds that disagree widen the bound to 2·s·√(2/3)', () => {
  // Variances 0.0079 and 0.000229: s = 6.4 points, the bound is 83.3 − 10.4 = 72.9.
  const scattered = [0.64, 0.74, 0.818];
  expect(verdict(scattered, peft)).toMatchObject({ holds: true, text: expect.stringContaining('at least 72.9%') });
});

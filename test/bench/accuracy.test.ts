import { expect, test } from 'vitest';
import { accuracyPage, verdict } from '../../bench/accuracyPage.ts';

const peft = { name: 'peft', accuracies: [0.84, 0.844, 0.816] };

test('a mean two points below peft’s holds, more does not, when seeds agree', () => {
  expect(verdict([0.814, 0.814, 0.814], peft).holds).toBe(true); // 83.3 − 2 = 81.3
  expect(verdict([0.812, 0.812, 0.812], peft).holds).toBe(false);
});

test('seeds that disagree widen the bound to 2·s·√(2/3)', () => {
  // Variances 0.0079 and 0.000229: s = 6.4 points, the bound is 83.3 − 10.4 = 72.9.
  const scattered = [0.64, 0.74, 0.818];
  expect(verdict(scattered, peft)).toMatchObject({ holds: true, text: expect.stringContaining('at least 72.9%') });
});

test('int16 is judged by f32 too, seed by seed', () => {
  const result = (name: string, accuracy: number) => ({
    ...{ name, model: 'm', date: '2026-11-29', accuracy, n: 500, macroF1: accuracy },
    ci95: [accuracy, accuracy] as [number, number],
  });
  const f32 = [0.82, 0.802, 0.822].map((x, seed) => result(`imdb-lora-150-s${seed}-on`, x));
  const of = (...int16: number[]) =>
    accuracyPage([...f32, ...int16.map((x, seed) => result(`imdb-lora-150-s${seed}-int16`, x))]);
  expect(of(0.824, 0.802, 0.812)).toContain(
    '`--compute int16` minus f32: +0.4, +0.0, −1.0 points by seed, −0.2 in the mean; mean 81.3%, f32 81.5%, pooled s 1.1 points: at least 79.5% expected, holds',
  );
  expect(of(0.79, 0.78, 0.79)).toContain('−3.0, −2.2, −3.2 points by seed, −2.8 in the mean');
  expect(of(0.79, 0.78, 0.79)).toContain('f32 81.5%, pooled s 0.9 points: at least 79.5% expected, MISSED');
  expect(of(0.824, 0.802)).not.toContain('minus f32');
});

// What bench:peers makes of its samples, against known answers.
import { describe, expect, it } from 'vitest';
import { fitQuadratic, median, ratioOfPairs, spread } from '../../bench/statistics.ts';

describe('median and spread', () => {
  it('takes the middle, or the mean of the middle two', () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(spread([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4 });
  });

  it('leaves its input as it was', () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });
});

describe('ratioOfPairs', () => {
  it('divides pair by pair, then takes the median: not the ratio of the medians', () => {
    expect(ratioOfPairs([2, 30, 4], [1, 10, 4])).toEqual({ median: 2, min: 1, max: 3 });
  });

  it('refuses lists of unequal length', () => {
    expect(() => ratioOfPairs([1, 2], [1])).toThrow('2 and 1 values make no pairs');
  });
});

describe('fitQuadratic', () => {
  const lengths = [64, 128, 256, 512, 1024];

  it('finds the coefficients that made the points', () => {
    const fit = fitQuadratic(lengths.map((x) => ({ x, y: 0.25 + 3e-3 * x + 2e-6 * x ** 2 })));
    expect(fit.constant).toBeCloseTo(0.25, 10);
    expect(fit.linear).toBeCloseTo(3e-3, 12);
    expect(fit.quadratic).toBeCloseTo(2e-6, 14);
  });

  it('minimises relative errors: of two values at one place the smaller one counts for more', () => {
    // Σ((y − fit)/y)² over y = 1 and 3 is smallest at (1/1 + 1/3) / (1 + 1/9) = 1.2.
    const exact = [1, 2].map((x) => ({ x, y: 1.2 }));
    const fit = fitQuadratic([...exact, { x: 3, y: 1 }, { x: 3, y: 3 }]);
    expect(fit.constant + 3 * fit.linear + 9 * fit.quadratic).toBeCloseTo(1.2, 10);
  });

  it('refuses what has no answer', () => {
    expect(() => fitQuadratic([1, 1, 2].map((x) => ({ x, y: 1 })))).toThrow('three different x');
    expect(() => fitQuadratic([1, 2, 3].map((x) => ({ x, y: 0 })))).toThrow('above 0');
  });
});

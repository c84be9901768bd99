import { expect, test } from 'vitest';
import { schedule } from '../../engine/index.ts';

// Expected values: transformers.get_*_schedule_with_warmup evaluated by hand at 10 steps, 2 of warm-up.
test.each([
  ['constant', [0, 0.5, 1, 1, 1, 1]],
  ['linear', [0, 0.5, 1, 0.75, 0.5, 0]],
  ['cosine', [0, 0.5, 1, (1 + Math.SQRT1_2) / 2, 0.5, 0]],
] as const)('%s with warm-up', (kind, factors) => {
  const at = schedule({ kind, lr: 0.02, warmup: 2, steps: 10 });
  for (const [i, step] of [0, 1, 2, 4, 6, 10].entries()) expect(at(step)).toBeCloseTo(0.02 * factors[i], 15);
});

test('without warm-up the first step has the whole learning rate', () => {
  for (const kind of ['constant', 'linear', 'cosine'] as const) {
    expect(schedule({ kind, lr: 1, warmup: 0, steps: 3 })(0)).toBe(1);
  }
});

test('a run that is all warm-up ends at the peak, and nothing rises again beyond the end', () => {
  expect(schedule({ kind: 'cosine', lr: 1, warmup: 4, steps: 4 })(3)).toBe(0.75);
  expect(schedule({ kind: 'cosine', lr: 1, warmup: 0, steps: 4 })(7)).toBe(0);
  expect(schedule({ kind: 'linear', lr: 1, warmup: 0, steps: 4 })(7)).toBe(0);
});

test('a warm-up longer than the run is an error', () => {
  expect(() => schedule({ kind: 'linear', lr: 1, warmup: 5, steps: 4 })).toThrow('between 0 and the 4 steps');
});

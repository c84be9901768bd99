import { describe, expect, test } from 'vitest';
import { Sampler, type SamplingOptions } from '../../models/sampling.ts';

const logits = Float32Array.of(2, -1, 0.5, 3, 0.5, -4, 1, 2.5);

/**
 * transformers' processors, as its documentation and code state them: penalty on seen ids, division by temperature,
 * everything below the k-th largest removed, then, in ascending order, everything whose cumulative probability is ≤ 1 − p.
 * Which of equals come first is left open there; here it is the lower id.
 */
function probabilities(scores: number[], seen: number[], o: SamplingOptions): number[] {
  const { temperature = 1, topK, topP, repetitionPenalty = 1 } = o;
  const s = scores.map((x, i) => (seen.includes(i) ? (x < 0 ? x * repetitionPenalty : x / repetitionPenalty) : x));
  let warped = s.map((x) => x / temperature);
  if (topK !== undefined) {
    const kth = [...warped].sort((a, b) => b - a)[Math.min(topK, warped.length) - 1];
    warped = warped.map((x) => (x < kth ? Number.NEGATIVE_INFINITY : x));
  }
  const softmax = (xs: number[]): number[] => {
    const top = Math.max(...xs);
    const e = xs.map((x) => Math.exp(x - top));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((x) => x / sum);
  };
  if (topP !== undefined) {
    const p = softmax(warped);
    const ascending = [...warped.keys()].sort((a, b) => warped[a] - warped[b] || b - a);
    let cumulative = 0;
    for (const i of ascending.slice(0, -1)) {
      cumulative += p[i];
      if (cumulative <= 1 - topP) warped[i] = Number.NEGATIVE_INFINITY;
    }
  }
  return softmax(warped);
}

describe('sampling', () => {
  test.each<[string, SamplingOptions]>([
    ['temperature', { temperature: 0.7 }],
    ['a high temperature', { temperature: 3 }],
    ['top-k', { temperature: 1, topK: 3 }],
    ['top-k with equals at its end', { temperature: 1, topK: 5 }],
    ['top-k beyond the vocabulary', { temperature: 1, topK: 99 }],
    ['top-p', { temperature: 1, topP: 0.8 }],
    ['a top-p of a single token', { temperature: 1, topP: 0.01 }],
    ['all, with a repetition penalty', { temperature: 1.5, topK: 5, topP: 0.9, repetitionPenalty: 1.8 }],
    ['a penalty that reorders', { temperature: 1, topK: 2, repetitionPenalty: 4 }],
  ])('%s: the frequencies that transformers’ warpers give', (_, options) => {
    const prompt = [3, 1, 3, 99];
    const expected = probabilities([...logits], prompt, options);
    const draws = 20_000;
    const counts = expected.map(() => 0);
    for (let seed = 0; seed < draws; seed++) counts[new Sampler({ ...options, seed }, prompt).next(logits)]++;
    for (const [id, p] of expected.entries()) {
      if (p === 0) expect(counts[id], `token ${id}`).toBe(0);
      // Five standard deviations of the binomial.
      else expect(Math.abs(counts[id] - draws * p), `token ${id}`).toBeLessThan(5 * Math.sqrt(draws * p * (1 - p)) + 1);
    }
  });

  test('the likeliest without a temperature, the first of equals; what was generated counts as seen', () => {
    const greedy = new Sampler({ repetitionPenalty: 1.5 }, []);
    // 3 → 2 once it is seen, then 2.5 → 1.667, then the first of the two 2s.
    expect([greedy.next(logits), greedy.next(logits), greedy.next(logits)]).toEqual([3, 7, 0]);
    expect(new Sampler({}, [3]).next(logits)).toBe(3);
  });

  test('a seed and a stream decide the draws', () => {
    const draws = (seed: number, stream: number): number[] => {
      const sampler = new Sampler({ temperature: 2, seed }, [], stream);
      return Array.from({ length: 40 }, () => sampler.next(logits));
    };
    expect(draws(5, 0)).toEqual(draws(5, 0));
    expect(draws(5, 0)).not.toEqual(draws(5, 1));
    expect(draws(5, 0)).not.toEqual(draws(6, 0));
  });

  test('logits that are not numbers are an error', () => {
    for (const temperature of [0, 1]) {
      expect(() => new Sampler({ temperature }, []).next([1, Number.NaN, 2])).toThrow('not numbers');
    }
  });

  test.each<[SamplingOptions, string]>([
    [{ temperature: -1 }, 'temperature -1'],
    [{ temperature: Number.NaN }, 'temperature NaN'],
    [{ topK: 0 }, 'topK 0'],
    [{ topP: 0 }, 'topP 0'],
    [{ topP: 1.5 }, 'topP 1.5'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty 0'],
  ])('%o is refused', (options, message) => {
    expect(() => new Sampler(options, [])).toThrow(message);
  });
});

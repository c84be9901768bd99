import { Rng } from '../engine/index.ts';

export interface SamplingOptions {
  /** Divides the logits; 0 (default): always the likeliest token. */
  temperature?: number;
  /** Sample among the k likeliest tokens. */
  topK?: number;
  /** Sample among the likeliest tokens that together make up this probability, in (0, 1]. */
  topP?: number;
  /** Above 1: logits of tokens that were in prompt or answer are divided by it if positive, else multiplied. */
  repetitionPenalty?: number;
  seed?: number;
}

/**
 * Picks each next token of a sequence from its logits, as transformers' `generate` does: repetition penalty, temperature,
 * top-k, top-p, in this order (`RepetitionPenaltyLogitsProcessor`, `TemperatureLogitsWarper`, `TopKLogitsWarper`,
 * `TopPLogitsWarper`), then a draw. Without a temperature, the likeliest; of equals, the one with the lowest id.
 */
export class Sampler {
  readonly #options: SamplingOptions;
  readonly #seen: Set<number>;
  readonly #rng: Rng;

  /**
   * @param prompt ids that count as seen
   * @param stream sequences with streams of their own draw independently under one seed
   * @throws RangeError naming the option that is out of range
   */
  constructor(options: SamplingOptions, prompt: Iterable<number>, stream = 0) {
    const { temperature = 0, topK = 1, topP = 1, repetitionPenalty = 1, seed = 0 } = options;
    const check = (valid: boolean, what: string): void => {
      if (!valid) throw new RangeError(`generation: ${what}`);
    };
    check(temperature >= 0 && Number.isFinite(temperature), `temperature ${temperature} is not a number ≥ 0`);
    check(Number.isInteger(topK) && topK >= 1, `topK ${topK} is not a whole number ≥ 1`);
    check(topP > 0 && topP <= 1, `topP ${topP} is not in (0, 1]`);
    check(repetitionPenalty > 0, `repetitionPenalty ${repetitionPenalty} is not above 0`);
    this.#options = options;
    this.#seen = new Set(prompt);
    this.#rng = new Rng(seed, stream);
  }

  /** The next token, which counts as seen from now on. logits [V] @throws when they are not numbers */
  next(logits: ArrayLike<number>): number {
    const { temperature = 0, topK, topP, repetitionPenalty = 1 } = this.#options;
    const scores = Float64Array.from(logits);
    if (scores.some(Number.isNaN)) throw new Error('generation: the model’s logits are not numbers (NaN)');
    if (repetitionPenalty !== 1) {
      for (const id of this.#seen) {
        if (id < scores.length) scores[id] *= scores[id] < 0 ? repetitionPenalty : 1 / repetitionPenalty;
      }
    }
    const id = temperature > 0 ? this.#draw(scores, { temperature, topK, topP }) : likeliest(scores);
    this.#seen.add(id);
    return id;
  }

  #draw(scores: Float64Array, options: { temperature: number; topK?: number; topP?: number }): number {
    const candidates = distribution(scores, options);
    let left = this.#rng.uniform();
    for (const { id, probability } of candidates) {
      left -= probability;
      if (left < 0) return id;
    }
    // Rounding can leave a little of the unit interval behind the last candidate.
    return candidates[candidates.length - 1].id;
  }
}

function likeliest(scores: Float64Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
  return best;
}

/** Tokens that may be drawn, with probabilities that sum to 1. */
function distribution(
  scores: Float64Array,
  { temperature, topK = scores.length, topP = 1 }: { temperature: number; topK?: number; topP?: number },
): { id: number; probability: number }[] {
  const descending = scores.slice().sort().reverse();
  const weight = (score: number): number => Math.exp((score - descending[0]) / temperature);
  // transformers keeps everything that equals the k-th.
  const kth = descending[Math.min(topK, descending.length) - 1];
  let total = 0;
  for (const score of descending) if (score >= kth) total += weight(score);
  // A token stays while those likelier than it have not reached topP.
  let mass = 0;
  let n = 0;
  for (; n < descending.length && descending[n] >= kth && (n === 0 || mass < topP * total); n++) {
    mass += weight(descending[n]);
  }
  const least = descending[n - 1];
  // Of equals at the end, those with the lowest ids.
  let equals = n - descending.indexOf(least);
  const kept: { id: number; probability: number }[] = [];
  for (const [id, score] of scores.entries()) {
    if (score > least || (score === least && equals-- > 0)) kept.push({ id, probability: weight(score) / mass });
  }
  return kept;
}

import { Rng } from '../../engine/index.ts';
import type { Example } from '../../peft/examples.ts';

/** Examples of one length, with a shared prefix of 20 tokens, so that every micro-batch is the longest one. Ids are below 50. */
export function examplesOf(n: number, tokens: number): Example[] {
  const rng = new Rng(1);
  const draw = (count: number): number[] => Array.from({ length: count }, () => rng.int(50));
  const shared = draw(20);
  return Array.from({ length: n }, (_, index) => ({
    index,
    shared,
    prompt: draw(tokens),
    answer: draw(2),
    cut: false,
  }));
}

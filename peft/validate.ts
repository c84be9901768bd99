import { full, linearCrossEntropy, noGrad, scope, tensor } from '../engine/index.ts';
import { type Example, trainingRows } from './examples.ts';
import type { PeftModel } from './model.ts';

/**
 * Mean loss over the label tokens of examples that have an answer, without dropout.
 * @param batchSize examples computed at once
 */
export async function meanLoss(peft: PeftModel, examples: readonly Example[], batchSize: number): Promise<number> {
  const { backend, head } = peft.model;
  const labelTokens = examples.reduce((n, { answer }) => n + answer.length, 0);
  let total = 0;
  for (let at = 0; at < examples.length; at += batchSize) {
    const part = examples.slice(at, at + batchSize);
    total += await noGrad(async () => {
      using _ = scope();
      const options = { virtualTokens: peft.virtualTokens, sharePrefix: true };
      const { forest, ids, outputs, targets } = trainingRows(part, [...part.keys()], options);
      const pairs = tensor(Int32Array.from(targets.flat()), [targets.length, 2], { dtype: 'i32', backend });
      const weights = full([targets.length], 1 / labelTokens, { backend });
      return linearCrossEntropy(peft.forward({ forest, ids, outputs }), head, pairs, weights).item();
    });
  }
  return total;
}

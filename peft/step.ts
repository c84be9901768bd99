import { setImmediate } from 'node:timers/promises';
import { backward, full, linearCrossEntropy, scope, type Tensor, tensor, withContext } from '../engine/index.ts';
import { type Example, type RowOptions, trainingRows } from './examples.ts';
import type { PeftModel } from './model.ts';

/** An example with its place in the epoch's order, which its dropout masks depend on. */
export interface Placed {
  example: Example;
  place: number;
}

export interface StepOptions extends RowOptions {
  /** Examples whose activations are kept at once. */
  microBatch: number;
  recompute: boolean;
}

/** Tokens that a batch computes and those it learns from. */
export interface StepTokens {
  tokens: number;
  labelTokens: number;
}

/**
 * Adds one optimizer step's gradients to `.grad` and hands every micro-batch's part of the loss to `onLoss`. The loss is
 * the sum over label tokens divided by the label tokens of the whole step, whatever the micro-batch.
 * `rng` = i32 [2] (seed, step): what dropout masks depend on beside the rows.
 */
export async function accumulateGradients(
  peft: PeftModel,
  batch: readonly Placed[],
  rng: Tensor,
  options: StepOptions,
  onLoss: (loss: Tensor) => void,
): Promise<StepTokens> {
  const { backend, head } = peft.model;
  const labelTokens = batch.reduce((n, { example }) => n + example.answer.length, 0);
  let tokens = 0;
  for (let at = 0; at < batch.length; at += options.microBatch) {
    const part = batch.slice(at, at + options.microBatch);
    await withContext({ grad: true }, async () => {
      using _ = scope();
      const rows = trainingRows(
        part.map((p) => p.example),
        part.map((p) => p.place),
        options,
      );
      tokens += rows.forest.rows;
      const { forest, ids, outputs, targets, owners } = rows;
      const hidden = peft.forward({ forest, ids, outputs, dropout: { rng, owners } }, { recompute: options.recompute });
      const pairs = tensor(Int32Array.from(targets.flat()), [targets.length, 2], { dtype: 'i32', backend });
      const weights = full([targets.length], 1 / labelTokens, { backend });
      const loss = linearCrossEntropy(hidden, head, pairs, weights);
      backward(loss);
      onLoss(loss);
      // Gives timers, progress and Ctrl-C their turn, without waiting for the device.
      await setImmediate();
    });
  }
  return { tokens, labelTokens };
}

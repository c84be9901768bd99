import { readFile } from 'node:fs/promises';
import {
  AdamW,
  type Backend,
  backward,
  FlatParameters,
  linearCrossEntropy,
  scope,
  tensor,
} from '../../engine/index.ts';
import type { LlamaOptions } from '../../models/llama.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { PeftModel } from '../../peft/model.ts';
import { goldenBatch, goldenPath, loadGolden, readNumbers } from './golden.ts';

/** A training by torch and peft, step by step. */
interface Curve {
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  max_grad_norm: number | null;
  loss: number[];
  grad_norm: number[];
}

/** A step of a training beside peft's: loss and gradient norm, relative to its own. */
export interface CurveStep {
  step: number;
  lossError: number;
  normError: number;
}

/** What a training does other than peft: factors of the learning rate and of all gradients, for tests of the tests. */
interface CurveChange {
  lr?: number;
  gradients?: number;
}

const rowsOfBatch = [3, 2, 4];

/**
 * Trains a golden model's adapter as peft did, from the same values on the same batches.
 * @returns the trained model and how far every step's loss and gradient norm were from peft's
 */
export async function followCurve(
  model: string,
  kind: string,
  backend: Backend,
  {
    steps = Number.POSITIVE_INFINITY,
    change: { lr: lrFactor = 1, gradients = 1 } = {},
    ...options
  }: LlamaOptions & { steps?: number; change?: CurveChange } = {},
): Promise<{ peft: PeftModel; errors: CurveStep[] }> {
  const peft = new PeftModel(await loadGolden(model, backend, options));
  await loadAdapter(peft, goldenPath(model, kind, 'start'));
  const curve = JSON.parse(await readFile(goldenPath(model, kind, 'curve.json'), 'utf8')) as Curve;
  const numbers = await readNumbers(model, 'reference.safetensors');
  const optimizer = new AdamW(new FlatParameters(peft.namedParameters()), {
    beta1: curve.betas[0],
    beta2: curve.betas[1],
    eps: curve.eps,
    weightDecay: curve.weight_decay,
    maxNorm: curve.max_grad_norm ?? undefined,
  });
  const errors: CurveStep[] = [];
  peft.train();
  for (const [step, expectedLoss] of curve.loss.slice(0, steps).entries()) {
    const i = step % 3;
    const batch = goldenBatch(numbers, i, rowsOfBatch[i], peft.virtualTokens);
    optimizer.zeroGrad();
    {
      using _ = scope();
      const outputs = batch.targets.map(([row]) => row);
      const hidden = peft.forward({ ...batch, outputs });
      const pairs = Int32Array.from(batch.targets.flatMap(([, token], k) => [k, token]));
      const targets = tensor(pairs, [outputs.length, 2], { dtype: 'i32', backend });
      const weights = tensor(new Float32Array(outputs.length).fill(1 / outputs.length), [outputs.length], { backend });
      const loss = linearCrossEntropy(hidden, peft.model.head, targets, weights);
      backward(loss, tensor(gradients, { backend }));
      optimizer.addLoss(loss);
    }
    optimizer.step(lrFactor * curve.lr);
    const { loss, norm } = await optimizer.snapshot();
    errors.push({
      step: step + 1,
      lossError: Math.abs(loss / expectedLoss - 1),
      normError: Math.abs(norm / curve.grad_norm[step] - 1),
    });
  }
  optimizer.dispose();
  return { peft, errors };
}

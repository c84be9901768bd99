import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { AdamW, backward, FlatParameters, linearCrossEntropy, scope, tensor } from '../../engine/index.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { PeftModel } from '../../peft/model.ts';
import { describeBackends } from '../support/backends.ts';
import {
  goldenBatch,
  goldenModels,
  goldenPath,
  loadGolden,
  readAdapter,
  readNumbers,
  relativeError,
} from '../support/golden.ts';

const kinds = ['lora', 'lora-all', 'rslora', 'prompt'] as const;
const runs = goldenModels.flatMap((model) =>
  kinds.filter((kind) => model !== 'llama-odd' || kind !== 'rslora').map((kind) => ({ model, kind })),
);
const rowsOfBatch = [3, 2, 4];

interface Curve {
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  max_grad_norm: number | null;
  loss: number[];
  grad_norm: number[];
}

describeBackends('peft’s 30-step curves', (backendOf) => {
  describe.each(runs)('$kind on $model', ({ model, kind }) => {
    test('loss and gradient norm at every step, and the trained adapter', async () => {
      const backend = backendOf();
      const peft = new PeftModel(await loadGolden(model, backend));
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
      peft.train();
      for (const [step, expectedLoss] of curve.loss.entries()) {
        const i = step % 3;
        const batch = goldenBatch(numbers, i, rowsOfBatch[i], peft.virtualTokens);
        optimizer.zeroGrad();
        {
          using _ = scope();
          const outputs = batch.targets.map(([row]) => row);
          const hidden = peft.forward({ ...batch, outputs });
          const pairs = Int32Array.from(batch.targets.flatMap(([, token], k) => [k, token]));
          const targets = tensor(pairs, [outputs.length, 2], { dtype: 'i32', backend });
          const weights = tensor(new Float32Array(outputs.length).fill(1 / outputs.length), [outputs.length], {
            backend,
          });
          const loss = linearCrossEntropy(hidden, peft.model.head, targets, weights);
          backward(loss);
          optimizer.addLoss(loss);
        }
        optimizer.step(curve.lr);
        const { loss, norm } = await optimizer.snapshot();
        expect(Math.abs(loss / expectedLoss - 1), `loss of step ${step + 1}`).toBeLessThan(1e-4);
        expect(Math.abs(norm / curve.grad_norm[step] - 1), `gradient norm of step ${step + 1}`).toBeLessThan(1e-3);
      }
      const trained = await readAdapter(model, kind, 'trained');
      for (const [name, t] of peft.namedParameters()) {
        expect(relativeError(await t.data(), trained.get(name) as Float32Array), name).toBeLessThan(1e-3);
      }
      optimizer.dispose();
      peft.dispose();
    });
  });
});

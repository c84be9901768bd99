import { describe, expect, test } from 'vitest';
import { backward, linearCrossEntropy, noGrad, scope, tensor } from '../../engine/index.ts';
import { prepareBatch } from '../../models/batch.ts';
import { describeBackends } from '../support/backends.ts';
import { goldenBatch, goldenModels, loadGolden, readNumbers, relativeError } from '../support/golden.ts';

const rowsOfBatch = [3, 2, 4];

describeBackends('transformers’ numbers', (backendOf) => {
  describe.each(goldenModels)('%s', (name) => {
    test('logits and losses of three padded batches', async () => {
      const backend = backendOf();
      const model = await loadGolden(name, backend);
      const numbers = await readNumbers(name, 'reference.safetensors');
      const V = model.config.vocabSize;
      for (const [i, rows] of rowsOfBatch.entries()) {
        const batch = goldenBatch(numbers, i, rows);
        await noGrad(async () => {
          using _ = scope();
          const hidden = model.forward(prepareBatch(batch, backend));
          const expected = numbers.get(`batch${i}.logits`) as Float32Array;
          const valid = batch.padded.flatMap((p) => [...expected.subarray(p * V, (p + 1) * V)]);
          expect(relativeError(await model.logits(hidden).data(), valid), `logits of batch ${i}`).toBeLessThan(1e-5);
          const targets = tensor(Int32Array.from(batch.targets.flat()), [batch.targets.length, 2], {
            dtype: 'i32',
            backend,
          });
          const weights = tensor(
            new Float32Array(batch.targets.length).fill(1 / batch.targets.length),
            [batch.targets.length],
            { backend },
          );
          const loss = await linearCrossEntropy(hidden, model.head, targets, weights).item();
          expect(
            relativeError([loss], numbers.get(`batch${i}.loss`) as Float32Array),
            `loss of batch ${i}`,
          ).toBeLessThan(1e-5);
        });
      }
      model.dispose();
    });

    test.each([
      ['all activations kept', false],
      ['layers recomputed', true],
    ])('the gradient of every parameter, %s', async (_name, recompute) => {
      const backend = backendOf();
      const model = await loadGolden(name, backend);
      const numbers = await readNumbers(name, 'reference.safetensors');
      for (const [, t] of model.namedTensors()) t.requiresGrad = true;
      const batch = goldenBatch(numbers, 0, rowsOfBatch[0]);
      {
        using _ = scope();
        const outputs = batch.targets.map(([row]) => row);
        const hidden = model.forward(prepareBatch({ ...batch, outputs }, backend), { recompute });
        const pairs = batch.targets.flatMap(([, token], i) => [i, token]);
        const targets = tensor(Int32Array.from(pairs), [outputs.length, 2], { dtype: 'i32', backend });
        const weights = tensor(new Float32Array(outputs.length).fill(1 / outputs.length), [outputs.length], {
          backend,
        });
        backward(linearCrossEntropy(hidden, model.head, targets, weights));
      }
      const names = [...numbers.keys()].filter((n) => n.startsWith('batch0.grad.'));
      expect(names.length).toBeGreaterThan(10);
      for (const [tensorName, t] of model.namedTensors()) {
        const expected = numbers.get(`batch0.grad.${tensorName}`) as Float32Array;
        expect(expected, `${tensorName} in the reference`).toBeDefined();
        expect(t.grad, `${tensorName} has a gradient`).toBeDefined();
        expect(relativeError((await t.grad?.data()) ?? [], expected), tensorName).toBeLessThan(1e-4);
      }
      model.dispose();
    });
  });
});

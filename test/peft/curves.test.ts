import { describe, expect, test } from 'vitest';
import { describeBackends } from '../support/backends.ts';
import { followCurve } from '../support/curve.ts';
import { goldenModels, readAdapter, relativeError } from '../support/golden.ts';

const kinds = ['lora', 'lora-all', 'rslora', 'prompt'] as const;
const runs = goldenModels.flatMap((model) =>
  kinds.filter((kind) => model !== 'llama-odd' || kind !== 'rslora').map((kind) => ({ model, kind })),
);

describeBackends('peft’s 30-step curves', (backendOf) => {
  describe.each(runs)('$kind on $model', ({ model, kind }) => {
    test('loss and gradient norm at every step, and the trained adapter', async () => {
      const { peft, errors } = await followCurve(model, kind, backendOf());
      expect(errors.length).toBe(30);
      for (const { step, lossError, normError } of errors) {
        expect(lossError, `loss of step ${step}`).toBeLessThan(1e-4);
        expect(normError, `gradient norm of step ${step}`).toBeLessThan(1e-3);
      }
      const trained = await readAdapter(model, kind, 'trained');
      for (const [name, t] of peft.namedParameters()) {
        expect(relativeError(await t.data(), trained.get(name) as Float32Array), name).toBeLessThan(1e-3);
      }
      peft.dispose();
    });
  });
});

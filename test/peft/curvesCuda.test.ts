// Training on simulated PTX, beside torch's and peft's numbers, which are float32. More of it in mode `full` (`npm run test:cuda`).
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CudaBackend, createCudaBackend } from '../../engine/index.ts';
import { openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import { followCurve } from '../support/curve.ts';

const full = process.env.MODE === 'full';

/** With `short` of the runs below. On sm_75 operands of f32 products are rounded to f16, to 11 bits where bf16 has 8. */
const devices = [
  { architecture: [8, 0], dtype: 'f32', tolerance: 1e-4, short: 2 },
  { architecture: [8, 0], dtype: 'bf16', tolerance: 2e-2, short: 2 },
  { architecture: [7, 5], dtype: 'f32', tolerance: 1e-3, short: 1 },
] as const;

describe.each(devices)('peft’s curves on sm_$architecture in $dtype', ({ architecture, dtype, tolerance, short }) => {
  let backend: CudaBackend;
  beforeAll(async () => {
    backend = await createCudaBackend({ device: openSimulator({ computeCapability: architecture }) });
  });
  afterAll(() => backend.close());

  const runs = [
    { model: 'llama2', kind: 'lora' },
    { model: 'llama2', kind: 'prompt' },
    { model: 'llama2-gqa-tied', kind: 'lora-all' },
    { model: 'llama3-scaled', kind: 'prompt' },
  ];
  test.each(runs.slice(0, full ? runs.length : short))(
    '$kind on $model: 5 steps',
    async ({ model, kind }) => {
      const { peft, errors } = await followCurve(model, kind, backend, { dtype, steps: 5 });
      expect(errors.length).toBe(5);
      for (const { step, lossError } of errors) expect(lossError, `loss of step ${step}`).toBeLessThan(tolerance);
      peft.dispose();
    },
    240_000,
  );
});

// Training on simulated PTX, and on a GPU where there is one, beside torch's and peft's numbers, which are float32. More of it in
// mode `full` (`npm run test:cuda`).
import { describe, expect, test } from 'vitest';
import { createWasmBackend } from '../../engine/index.ts';
import { describeCuda } from '../support/cudaDevices.ts';
import { type CurveStep, followCurve } from '../support/curve.ts';

const full = process.env.MODE === 'full';

/** What loss and gradient norm may differ by: twice what is reached, of f32 twenty times. On sm_75 f32 products round operands to f16. */
const tolerances = {
  f32: { loss: 1e-5, norm: 1e-5 },
  sm75: { loss: 1e-4, norm: 1e-3 },
  bf16: { loss: 1e-3, norm: 1e-2 },
};
type Tolerance = (typeof tolerances)[keyof typeof tolerances];

/** The numbers of a training that are out of tolerance. */
const outside = (errors: readonly CurveStep[], { loss, norm }: Tolerance): string[] =>
  errors.flatMap(({ step, lossError, normError }) => [
    ...(lossError < loss ? [] : [`loss of step ${step}: ${lossError}`]),
    ...(normError < norm ? [] : [`gradient norm of step ${step}: ${normError}`]),
  ]);

const runs = [
  { model: 'llama2', kind: 'lora-all' },
  { model: 'llama2', kind: 'prompt' },
  { model: 'llama2', kind: 'lora' },
  { model: 'llama2-gqa-tied', kind: 'lora-all' },
  { model: 'llama3-scaled', kind: 'prompt' },
];
/** With `short` of the runs outside of mode `full`. */
const devices = [
  { target: 80, dtype: 'f32', tolerance: tolerances.f32, short: 2 },
  { target: 80, dtype: 'bf16', tolerance: tolerances.bf16, short: 2 },
  { target: 75, dtype: 'f32', tolerance: tolerances.sm75, short: 1 },
] as const;

for (const { target, dtype, tolerance, short } of devices) {
  describeCuda(`peft’s curves in ${dtype} with modules for sm_${target}`, target, (backend) => {
    test.each(runs.slice(0, full ? runs.length : short))(
      '$kind on $model: 5 steps',
      async ({ model, kind }) => {
        const { peft, errors } = await followCurve(model, kind, backend(), { dtype, steps: 5 });
        expect(errors.length).toBe(5);
        expect(outside(errors, tolerance)).toEqual([]);
        peft.dispose();
      },
      240_000,
    );
  });
}

// On wasm, where it takes no time: adapters that do not move and gradients that are wrong are outside of the widest tolerance.
describe.each(runs)('$kind on $model can fail', ({ model, kind }) => {
  test.each([
    { what: 'no learning rate', found: 'loss', change: { lr: 0 } },
    { what: 'gradients × 1.1', found: 'gradient norm', change: { gradients: 1.1 } },
  ])('$what', async ({ found, change }) => {
    const backend = await createWasmBackend({ threads: 1 });
    const { peft, errors } = await followCurve(model, kind, backend, { steps: 5, change });
    expect(outside(errors, tolerances.bf16)).toContainEqual(expect.stringContaining(found));
    peft.dispose();
    await backend.close();
  });
});

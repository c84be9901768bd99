// The type of a model's activations.
import { expect, test } from 'vitest';
import {
  type Backend,
  createCudaBackend,
  createReferenceBackend,
  createWasmBackend,
  memory,
  type Observer,
  withContext,
} from '../../engine/index.ts';
import { openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import { followCurve } from '../support/curve.ts';
import { loadGolden } from '../support/golden.ts';

const sm75 = () => createCudaBackend({ device: openSimulator({ computeCapability: [7, 5] }) });

test.each([
  ['wasm', () => createWasmBackend({ threads: 1 })],
  ['cuda-sim', sm75],
])('bf16 is refused by name where there are no kernels for it: %s', async (name, open) => {
  const backend = await open();
  const before = memory().tensors;
  await expect(loadGolden('llama2', backend, { dtype: 'bf16' })).rejects.toThrow(
    new TypeError(`backend ${name} computes in f32, not in bf16: that needs CUDA from sm_80 on`),
  );
  expect(memory().tensors).toBe(before);
  await backend.close();
});

// The reference holds float64 under any type, so that all that can differ are the types.
test.each(['lora-all', 'prompt'])('training in bf16 is training in f32, with other types: %s', async (kind) => {
  const backend: Backend = createReferenceBackend();
  const activations = new Set<string>();
  const observer: Observer = ({ def, outputs }) => {
    if (['rmsNorm', 'rope', 'attention', 'swiglu'].includes(def.name)) activations.add(outputs[0].dtype);
  };
  const { peft, errors } = await withContext({ observer }, () =>
    followCurve('llama2', kind, backend, { dtype: 'bf16', steps: 3 }),
  );
  for (const { lossError } of errors) expect(lossError).toBeLessThan(1e-5);
  expect([...activations]).toEqual(['bf16']);
  for (const [name, t] of peft.namedParameters()) expect([name, t.dtype, t.grad?.dtype]).toEqual([name, 'f32', 'f32']);
  peft.dispose();
});

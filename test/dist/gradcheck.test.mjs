// A sample of the gradient suite on dist/: a small network's gradients against central differences in float64, then the
// same network on the WebAssembly kernels and threads that this Node can run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  add,
  backward,
  createReferenceBackend,
  createWasmBackend,
  exp,
  linear,
  mul,
  parameter,
  scope,
  sumTo,
  tensor,
  withBackend,
} from 'lorikeet/engine';

const wave = (n, phase) => Float64Array.from({ length: n }, (_, i) => 0.3 * Math.sin(phase + 1.7 * i));
const x = wave(3 * 8, 0);
const shapes = { up: [16, 8], down: [4, 16], bias: [4] };
const weights = { up: wave(16 * 8, 1), down: wave(4 * 16, 2), bias: wave(4, 3) };

/** The network's loss on a backend and its gradient by each weight. */
function lossAndGradients(backend, values) {
  return withBackend(backend, async () => {
    const leaves = Object.entries(values).map(([name, data]) => [name, parameter(tensor(data, shapes[name]))]);
    const { up, down, bias } = Object.fromEntries(leaves);
    const step = scope();
    const output = add(linear(exp(linear(tensor(x, [3, 8]), up)), down), bias);
    const loss = sumTo(mul(output, output), []);
    backward(loss);
    const value = await loss.item();
    const gradients = {};
    for (const [name, leaf] of leaves) gradients[name] = Array.from(await leaf.grad.data());
    step[Symbol.dispose]();
    return { value, gradients };
  });
}

const reference = createReferenceBackend();

test('gradients agree with central differences in float64', async () => {
  const { gradients } = await lossAndGradients(reference, weights);
  const h = 1e-5;
  for (const [name, gradient] of Object.entries(gradients)) {
    for (const i of gradient.keys()) {
      const [ahead, behind] = await Promise.all(
        [h, -h].map(async (d) => {
          const moved = { ...weights, [name]: weights[name].with(i, weights[name][i] + d) };
          return (await lossAndGradients(reference, moved)).value;
        }),
      );
      const numeric = (ahead - behind) / (2 * h);
      assert.ok(Math.abs(numeric - gradient[i]) <= 1e-6 * Math.max(1, Math.abs(numeric)), `${name}[${i}]`);
    }
  }
});

test('the WebAssembly kernels give the same loss and gradients', async () => {
  const expected = await lossAndGradients(reference, weights);
  const wasm = await createWasmBackend({ threads: 2 });
  try {
    assert.equal(wasm.info.threads, 2, wasm.info.threadsReason);
    const { value, gradients } = await lossAndGradients(wasm, weights);
    assert.ok(Math.abs(value - expected.value) <= 1e-5 * Math.abs(expected.value), `loss ${value}`);
    for (const [name, gradient] of Object.entries(gradients)) {
      const largest = Math.max(...expected.gradients[name].map(Math.abs));
      for (const i of gradient.keys()) {
        assert.ok(Math.abs(gradient[i] - expected.gradients[name][i]) <= 1e-5 * largest, `${name}[${i}]`);
      }
    }
  } finally {
    await wasm.close();
  }
});

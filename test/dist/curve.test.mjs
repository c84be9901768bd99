// One golden curve on dist/: 30 steps of peft's LoRA run on the small llama2 model, on the kernels that this Node can run.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  AdamW,
  backward,
  createWasmBackend,
  FlatParameters,
  Forest,
  linearCrossEntropy,
  scope,
  tensor,
} from 'lorikeet/engine';
import { LlamaModel, openCheckpoint } from 'lorikeet/models';
import { loadAdapter, PeftModel } from 'lorikeet/peft';

const golden = (path) => fileURLToPath(new URL(`../golden/llama2/${path}`, import.meta.url));

/** The i32 tensors of a safetensors file. */
function readIntegers(path) {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  const integers = Object.entries(header).filter(([, { dtype }]) => dtype === 'I32');
  return Object.fromEntries(
    integers.map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => [
        name,
        {
          shape,
          values: new Int32Array(
            bytes.buffer.slice(bytes.byteOffset + 8 + length + from, bytes.byteOffset + 8 + length + to),
          ),
        },
      ],
    ),
  );
}

/** A right-padded batch as segments side by side, with the rows that predict labels. */
function segments(numbers, i) {
  const [{ shape, values: ids }, mask, labels] = ['input_ids', 'attention_mask', 'labels'].map(
    (n) => numbers[`batch${i}.${n}`],
  );
  const [B, T] = shape;
  const rows = { forest: new Forest(), ids: [], outputs: [], tokens: [] };
  for (let b = 0; b < B; b++) {
    const length = mask.values.subarray(b * T, (b + 1) * T).reduce((n, x) => n + x, 0);
    const start = rows.forest.rows;
    rows.forest.add(-1, length);
    for (let t = 0; t < length; t++) {
      rows.ids.push(ids[b * T + t]);
      const next = t + 1 < length ? labels.values[b * T + t + 1] : -100;
      if (next < 0) continue;
      rows.outputs.push(start + t);
      rows.tokens.push(next);
    }
  }
  return rows;
}

test('the 30-step LoRA curve of peft', async () => {
  const backend = await createWasmBackend({ threads: 2 });
  const checkpoint = await openCheckpoint(golden(''));
  const peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
  await checkpoint.close();
  await loadAdapter(peft, golden('lora/start'));
  const curve = JSON.parse(readFileSync(golden('lora/curve.json'), 'utf8'));
  const numbers = readIntegers(golden('reference.safetensors'));
  const [beta1, beta2] = curve.betas;
  const settings = { beta1, beta2, eps: curve.eps, weightDecay: curve.weight_decay, maxNorm: curve.max_grad_norm };
  const optimizer = new AdamW(new FlatParameters(peft.namedParameters()), settings);
  peft.train();
  for (const [step, expected] of curve.loss.entries()) {
    const { forest, ids, outputs, tokens } = segments(numbers, step % 3);
    optimizer.zeroGrad();
    const memory = scope();
    const targets = tensor(Int32Array.from(tokens.flatMap((token, k) => [k, token])), [tokens.length, 2], {
      dtype: 'i32',
      backend,
    });
    const weights = tensor(new Float32Array(tokens.length).fill(1 / tokens.length), [tokens.length], { backend });
    const loss = linearCrossEntropy(peft.forward({ forest, ids, outputs }), peft.model.head, targets, weights);
    backward(loss);
    optimizer.addLoss(loss);
    memory[Symbol.dispose]();
    optimizer.step(curve.lr);
    const found = await optimizer.snapshot();
    assert.ok(
      Math.abs(found.loss / expected - 1) < 1e-4,
      `loss of step ${step + 1}: ${found.loss}, expected ${expected}`,
    );
    assert.ok(Math.abs(found.norm / curve.grad_norm[step] - 1) < 1e-3, `gradient norm of step ${step + 1}`);
  }
  await backend.close();
});

// A training step never waits for the device: its numbers are read when the next step is queued.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createWasmBackend, Rng } from '../../engine/index.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { train } from '../../peft/train.ts';
import { loadGolden } from '../support/golden.ts';

const steps = 4;
let backend: Awaited<ReturnType<typeof createWasmBackend>>;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.close());

/** Counts what waits, and answers a read only when another optimizer step is queued, or the last one is. */
function slowDown(): { reads: number; syncs: number } {
  const { launch, read, sync } = backend;
  const counts = { reads: 0, syncs: 0 };
  let queued = 0;
  let held: { until: number; answer(): void }[] = [];
  backend.launch = (kernel, ...rest) => {
    launch.call(backend, kernel, ...rest);
    if (kernel !== 'adamwStep_f32') return;
    queued++;
    for (const { until, answer } of held) if (queued >= until) answer();
    held = held.filter(({ until }) => queued < until);
  };
  backend.read = async (...args) => {
    counts.reads++;
    const bytes = await read.call(backend, ...args);
    const until = Math.min(queued + 1, steps);
    if (queued < until) await new Promise<void>((answer) => held.push({ until, answer }));
    return bytes;
  };
  backend.sync = () => {
    counts.syncs++;
    return sync.call(backend);
  };
  return counts;
}

test('a step reads one tensor, and the next one does not wait for it', async () => {
  const peft = new PeftModel(await loadGolden('llama2', backend));
  const rng = new Rng(0);
  peft.addLora({ r: 2, alpha: 4, dropout: 0.1, rslora: false, targetModules: ['q_proj'], init: 'true' }, rng);
  const tokens = (n: number): number[] => Array.from({ length: n }, () => rng.int(90));
  const examples = Array.from(
    { length: 2 * steps },
    (_, index): Example => ({ index, shared: [], prompt: tokens(5), answer: tokens(2), cut: false }),
  );
  const options = { epochs: 1, batchSize: 2, microBatch: 1, lr: 1e-3, maxGradNorm: 1 };
  const counts = slowDown();
  const seen: number[] = [];
  for await (const { step, loss } of train(peft, examples, options)) {
    expect(loss).toBeGreaterThan(0);
    seen.push(step);
  }
  expect(seen).toEqual([1, 2, 3, 4]);
  expect(counts).toEqual({ reads: steps, syncs: 0 });
  peft.dispose();
}, 20_000);

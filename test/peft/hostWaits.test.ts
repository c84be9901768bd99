// A training step never waits for the device: its numbers are read when the next step is queued.
import { afterEach, expect, test } from 'vitest';
import { createCudaBackend, createWasmBackend, Rng } from '../../engine/index.ts';
import type { Device } from '../../kernels/cuda/runtime/src/index.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { train } from '../../peft/train.ts';
import { loadGolden } from '../support/golden.ts';
import { simulatedGpu } from '../support/gpu.ts';

const steps = 4;
type Slow = Awaited<ReturnType<typeof createWasmBackend>> | Awaited<ReturnType<typeof createCudaBackend>>;
let backend: Slow;
afterEach(() => backend.close());

async function tiny(): Promise<PeftModel> {
  const peft = new PeftModel(await loadGolden('llama2', backend));
  const config = { r: 2, alpha: 4, dropout: 0.1, rslora: false, targetModules: ['q_proj'], init: 'true' as const };
  peft.addLora(config, new Rng(0));
  return peft;
}

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

/** Counts what a driver may wait for the device in: synchronisations, and copies to and from memory that is not page-locked. */
function watch(device: Device): { syncs: number; copies: number; pageable: number } {
  const { synchronize, allocHost, writeAsync, readAsync } = device;
  const counts = { syncs: 0, copies: 0, pageable: 0 };
  const locked = new Set<ArrayBufferLike>();
  const count = ({ buffer }: Uint8Array): void => {
    counts.copies++;
    if (!locked.has(buffer)) counts.pageable++;
  };
  device.synchronize = () => {
    counts.syncs++;
    return synchronize.call(device);
  };
  device.allocHost = (bytes) => {
    const memory = allocHost.call(device, bytes);
    locked.add(memory.bytes.buffer);
    return memory;
  };
  device.writeAsync = (to, source, stream) => {
    count(source);
    writeAsync.call(device, to, source, stream);
  };
  device.readAsync = (destination, from, stream) => {
    count(destination);
    readAsync.call(device, destination, from, stream);
  };
  return counts;
}

/** Trains while the device is slow. */
async function trainSlowly(peft: PeftModel): Promise<void> {
  const rng = new Rng(0);
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
}

test('a step reads one tensor, and the next one does not wait for it', async () => {
  backend = await createWasmBackend({ threads: 1 });
  await trainSlowly(await tiny());
}, 20_000);

test('neither does it on a GPU, and no copy of a step waits for the device', async () => {
  const { device } = simulatedGpu();
  const counts = watch(device);
  backend = await createCudaBackend({ device });
  const peft = await tiny();
  // Loading waits.
  Object.assign(counts, { syncs: 0, copies: 0, pageable: 0 });
  await trainSlowly(peft);
  expect(counts).toEqual({ syncs: 0, copies: expect.any(Number), pageable: 0 });
  expect(counts.copies).toBeGreaterThan(4 * steps);
}, 60_000);

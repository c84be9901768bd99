// `npm run bench:gpu`, as far as it goes without a GPU: its timing on the simulator, and what it says where there is none.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { time } from '../../bench/gpuTiming.ts';
import { type Case, cases, storedCases } from '../../bench/ptxCases.ts';
import { type CudaBackend, createCudaBackend, memory } from '../../engine/index.ts';
import { openSimulator } from '../../kernels/cuda/runtime/src/index.ts';

let backend: CudaBackend;
afterEach(() => backend?.close());

/** A simulator that writes down what is queued. */
async function open(): Promise<string[]> {
  const device = openSimulator();
  const { launch, memsetAsync, createEvent } = device;
  const queued: string[] = [];
  device.launch = (kernel, ...rest) => {
    queued.push(kernel.name);
    launch.call(device, kernel, ...rest);
  };
  device.memsetAsync = (...args) => {
    queued.push(`fill ${args[2]}`);
    memsetAsync.call(device, ...args);
  };
  device.createEvent = () => {
    const event = createEvent.call(device);
    const { record } = event;
    event.record = (stream) => {
      queued.push('event');
      record.call(event, stream);
    };
    return event;
  };
  backend = await createCudaBackend({ device });
  return queued;
}

const find = (list: readonly Case[], entry: string): Case => list.find((c) => c.entry === entry) as Case;
const product = ['linear_bf16_async', 'linear_bf16_total'];

test.each([
  ['a product', find(cases, 'linear_bf16_async'), [24, 40, 256], product],
  ['one with a widened weight', storedCases[2], [24, 40, 256], [expect.stringContaining('q4_k'), ...product]],
  ['a product of one row', find(cases, 'linear_bf16_q4_k_gemv'), [1, 16, 1024], ['linear_bf16_q4_k_gemv']],
  ['attention', find(cases, 'attention_bf16_mma64'), [128, 1, 64], ['attention_bf16_mma64']],
])('%s is timed between two events, behind memory that the device fills', async (_, c, sizes, entries) => {
  const queued = await open();
  const before = memory().tensors;
  const milliseconds = await time(backend, c, sizes, { runs: 2, fillBytes: 1000 });
  expect(milliseconds.map((ms) => ms > 0)).toEqual([true, true]);
  const run = ['fill 1000', 'event', ...entries, 'event'];
  expect(queued).toEqual(Array(5).fill(run).flat());
  expect(memory().tensors, 'tensors leaked').toBe(before);
});

test('a case whose op launches another kernel is an error', async () => {
  await open();
  const wrong = { ...find(cases, 'linear_f32'), entry: 'linear_f32_other' };
  await expect(time(backend, wrong, [16, 16, 16], { runs: 1, fillBytes: 1000 })).rejects.toThrow(
    /^linear of 16×16×16 launches .*, not linear_f32_other$/,
  );
});

test('without a GPU it is one sentence and status 6', () => {
  const env = { ...process.env, CUDA_VISIBLE_DEVICES: '' };
  const script = join(import.meta.dirname, '..', '..', 'bench', 'gpu.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', env });
  expect(stderr).toMatch(/^lorikeet: bench:gpu: .*NVIDIA driver.*\n$/);
  expect({ status, stdout }).toEqual({ status: 6, stdout: '' });
});

// How long an op takes on a CUDA device, by the device's own clock.
import type { CudaBackend } from '../engine/backends/cuda.ts';
import { execute } from '../engine/execute.ts';
import { registry, scope, withBackend } from '../engine/index.ts';
import type { AnyOp } from '../engine/op.ts';
import { inputTensor } from './inputs.ts';
import type { Case, Sizes } from './ptxCases.ts';

const WARM_UPS = 3;

/**
 * Milliseconds of `runs` runs of a case's op, which must launch its entry. Before each one the device fills `fillBytes` of memory:
 * meanwhile the host queues the run, so that no launch is waited for, and what an earlier run left in the L2 cache goes.
 */
export async function time(
  backend: CudaBackend,
  { op, entry, inputs }: Case,
  sizes: Sizes,
  { runs, fillBytes }: { runs: number; fillBytes: number },
): Promise<number[]> {
  const { device } = backend;
  const { launch } = device;
  const launched = new Set<string>();
  device.launch = (kernel, ...rest) => {
    launched.add(kernel.name);
    launch.call(device, kernel, ...rest);
  };
  const filled = device.alloc(fillBytes);
  const milliseconds: number[] = [];
  await withBackend(backend, async () => {
    using _ = scope();
    const { inputs: specs, attrs } = inputs(sizes);
    const tensors = specs.map(inputTensor);
    using start = device.createEvent();
    using end = device.createEvent();
    for (let run = -WARM_UPS; run < runs; run++) {
      using _ = scope();
      device.memsetAsync(filled, 0, fillBytes);
      start.record();
      execute(registry.get(op) as AnyOp, tensors, attrs, []);
      end.record();
      await end.synchronize();
      if (run >= 0) milliseconds.push(end.elapsedSince(start));
    }
  });
  device.free(filled);
  device.launch = launch;
  if (!launched.has(entry)) throw new Error(`${op} of ${sizes.join('×')} launches ${[...launched]}, not ${entry}`);
  return milliseconds;
}

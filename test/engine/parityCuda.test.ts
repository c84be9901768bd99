// The CUDA kernels on the simulator, which fails a launch on whatever its checks report. A few cases for each op, and in
// mode `full` (`npm run test:cuda`) as many as the wasm kernels have.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createCudaBackend } from '../../engine/backends/cuda.ts';
import { families } from '../../kernels/cuda/kernels.ts';
import { openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import { describeParity } from '../support/paritySuite.ts';

const full = process.env.MODE === 'full';

function entriesOf(target: number): string[] {
  return Object.keys(families).flatMap((file) => {
    const ptx = readFileSync(new URL(`../../kernels/cuda/ptx/sm_${target}/${file}.ptx`, import.meta.url), 'utf8');
    return [...ptx.matchAll(/\.entry (\w+)/g)].map(([, entry]) => entry);
  });
}

for (const target of [75, 80]) {
  const launched = new Set<string>();
  describeParity(`CUDA kernels for sm_${target} agree with the reference`, {
    open: () => {
      const device = openSimulator({ computeCapability: [Math.floor(target / 10), target % 10] });
      const { launch } = device;
      device.launch = (kernel, ...rest) => {
        launched.add(kernel.name);
        launch.call(device, kernel, ...rest);
      };
      return createCudaBackend({ device });
    },
    computes: target >= 80 ? ['f32', 'bf16'] : ['f32'],
    operands: target >= 80 ? 'f32' : 'f16',
    runs: full ? 60 : 8,
    seed: 1,
    shift: 1,
    stretch: full ? 4 : undefined,
    afterwards: () =>
      test.runIf(full)('every entry of every module is launched', () => {
        expect(entriesOf(target).filter((entry) => !launched.has(entry))).toEqual([]);
      }),
  });
}

// The CUDA kernels on the simulator, which fails a launch on whatever its checks report, and on a GPU where there is one. A few
// cases for each op, and in mode `full` (`npm run test:cuda`) as many as the wasm kernels have.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { families } from '../../kernels/cuda/kernels.ts';
import { describeCuda } from '../support/cudaDevices.ts';
import { operandsOf } from '../support/parity.ts';
import { describeParity } from '../support/paritySuite.ts';

const full = process.env.MODE === 'full';

function entriesOf(target: number): string[] {
  return Object.keys(families).flatMap((file) => {
    const ptx = readFileSync(new URL(`../../kernels/cuda/ptx/sm_${target}/${file}.ptx`, import.meta.url), 'utf8');
    return [...ptx.matchAll(/\.entry (\w+)/g)].map(([, entry]) => entry);
  });
}

for (const target of [75, 80] as const) {
  describeCuda(`CUDA kernels for sm_${target}`, target, (backend) => {
    const launched = new Set<string>();
    describeParity('agree with the reference', {
      open: async () => {
        const { device } = backend();
        const { launch } = device;
        device.launch = (kernel, ...rest) => {
          launched.add(kernel.name);
          launch.call(device, kernel, ...rest);
        };
        return backend();
      },
      computes: target >= 80 ? ['f32', 'bf16'] : ['f32'],
      operands: operandsOf(target),
      runs: full ? 60 : 8,
      seed: 1,
      shift: 1,
      stretch: full ? 4 : undefined,
      afterwards: () =>
        test.runIf(full)('every entry of every module is launched', () => {
          expect(entriesOf(target).filter((entry) => !launched.has(entry))).toEqual([]);
        }),
    });
  });
}

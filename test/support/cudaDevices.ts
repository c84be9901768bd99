// Suites of the CUDA kernels run on the simulator and, where the machine has a GPU that its driver opens, on that as well.
import { afterAll, beforeAll, describe, test } from 'vitest';
import { type CudaBackend, createCudaBackend } from '../../engine/index.ts';
import { CudaError, type Driver, openDriver, openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import type { Target } from '../../kernels/cuda/table.ts';

interface CudaDevice {
  readonly name: string;
  open(): Promise<CudaBackend>;
}

interface Missing {
  readonly name: string;
  readonly reason: string;
}

/** What of the driver is needed to find a GPU. */
export type GpuDriver = () => Pick<Driver, 'devices' | 'open'>;

const simulator = (target: Target): CudaDevice => ({
  name: `simulator sm_${target}`,
  open: () =>
    createCudaBackend({ device: openSimulator({ computeCapability: [Math.floor(target / 10), target % 10] }) }),
});

/** The first GPU, or why it is not one for modules of this target. */
export function gpuFor(wanted: Target, driver: GpuDriver = openDriver): CudaDevice | Missing {
  const missing = (reason: string): Missing => ({ name: 'cuda:0', reason });
  try {
    const opened = driver();
    const [{ name, attributes }] = opened.devices;
    const [major, minor] = attributes.computeCapability;
    const target = ([80, 75] as const).find((t) => t <= 10 * major + minor);
    if (target !== wanted) return missing(`${name} is sm_${major}${minor}, which takes no modules for sm_${wanted}`);
    return { name: `cuda:0 (${name})`, open: () => createCudaBackend({ device: opened.open(0) }) };
  } catch (error) {
    if (error instanceof CudaError) return missing(error.message);
    throw error;
  }
}

/**
 * A suite on the simulator and on the GPU, both with modules for `target`; the GPU's is skipped with a reason where there is
 * none. The backend exists when tests run, not when they are listed.
 */
export function describeCuda(
  name: string,
  target: Target,
  suite: (backend: () => CudaBackend) => void,
  driver?: GpuDriver,
): void {
  for (const device of [simulator(target), gpuFor(target, driver)]) {
    if ('reason' in device) {
      test.skip(`${name} on ${device.name} (skipped: ${device.reason})`, () => {});
      continue;
    }
    describe(`${name} on ${device.name}`, () => {
      let backend: CudaBackend;
      beforeAll(async () => {
        backend = await device.open();
      });
      afterAll(() => backend.close());
      suite(() => backend);
    });
  }
}

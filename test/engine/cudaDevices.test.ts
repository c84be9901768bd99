// Suites of the CUDA kernels on a GPU, for which a simulator stands in here.
import { afterAll, describe, expect, test } from 'vitest';
import { tensor } from '../../engine/index.ts';
import { add } from '../../engine/ops/elementwise.ts';
import { NoDevice, openSimulator } from '../../kernels/cuda/runtime/src/index.ts';
import { describeCuda, type GpuDriver, gpuFor } from '../support/cudaDevices.ts';

const standIn =
  (computeCapability: [number, number]): GpuDriver =>
  () => {
    const device = openSimulator({ computeCapability });
    return { devices: [{ ordinal: 0, name: 'Stand-in', attributes: device.attributes }], open: () => device };
  };

describe('a suite of the CUDA kernels', () => {
  const ran: string[] = [];
  describeCuda(
    'computes',
    80,
    (backend) => {
      test('a sum', async () => {
        const [a, b] = [
          [1, 2],
          [3, 4],
        ].map((numbers) => tensor(numbers, { backend: backend() }));
        expect([...(await add(a, b).data())]).toEqual([4, 6]);
        ran.push(backend().device.name);
      });
    },
    standIn([9, 0]),
  );
  afterAll(() => expect(ran).toEqual(['simulator sm_80', 'simulator sm_90']));
});

test.each([
  ['that takes newer modules', standIn([8, 6]), 75, 'Stand-in is sm_86, which takes no modules for sm_75'],
  ['older than the kernels', standIn([7, 0]), 75, 'Stand-in is sm_70, which takes no modules for sm_75'],
  [
    'that is not there',
    () => {
      throw new NoDevice('CUDA_ERROR_NO_DEVICE', 'no device');
    },
    80,
    'no device',
  ],
] as const)('a GPU %s is skipped with the reason', (_, driver, target, reason) => {
  expect(gpuFor(target, driver)).toEqual({ name: 'cuda:0', reason });
});

test('a fault of the driver half fails the suite', () => {
  const broken = () => {
    throw new TypeError('not a function');
  };
  expect(() => gpuFor(80, broken)).toThrow(TypeError);
});

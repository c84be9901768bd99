import { expect, test } from 'vitest';
import { createCudaBackend } from '../../../engine/index.ts';
import { openSimulator, PtxVersionUnsupported } from '../../../kernels/cuda/runtime/src/index.ts';
import { emptyGpu } from '../../support/gpu.ts';

test('a launch that needs no scratch memory gets none, though an earlier one has left some', async () => {
  const scratch: bigint[] = [];
  const device = emptyGpu((_kernel, _grid, _block, _shared, args) => {
    scratch.push(new DataView(args.buffer, args.byteOffset).getBigUint64(8 * pointers, true));
  });
  const backend = await createCudaBackend({ device: device.device });
  const tensors = Array.from({ length: 4 }, () => ({ handle: backend.alloc(1024), byteOffset: 0 }));
  let pointers = 2;
  backend.launch('globalNorm_f32', tensors.slice(0, pointers), [256], [1], [256, 1, 1]);
  expect(scratch.splice(0)).not.toContain(0n);
  // It takes the weight as it is stored where there is no widened one.
  pointers = 4;
  backend.launch('linear_f32_f32', tensors, [9, 4, 4, 0], [], [4, 9, 1]);
  expect(scratch.splice(0)).toEqual([0n]);
  pointers = 2;
  backend.launch('globalNorm_f32', tensors.slice(0, pointers), [256], [1], [256, 1, 1]);
  expect(scratch).not.toContain(0n);
  await backend.close();
});

test('a number of a phase that 32 bits do not hold is refused as those of the call are', async () => {
  const backend = await createCudaBackend({ device: emptyGpu().device });
  const tensors = Array.from({ length: 4 }, () => ({ handle: backend.alloc(1024), byteOffset: 0 }));
  const linear = (rows: number, N: number, K: number) => () =>
    backend.launch('linear_f32_q8_0', tensors, [rows, N, K, 0], [], [N, rows, 1]);
  expect(linear(9, 65536, 32)).not.toThrow();
  // The elements of the weight that is widened.
  expect(linear(9, 65536, 65536)).toThrow(/^kernel linear_f32_q8_0: .*4294967296.* exceed 32 bits/);
  expect(linear(2 ** 31, 1, 32)).toThrow(/^kernel linear_f32_q8_0: .*2147483648.* exceed 32 bits/);
  await backend.close();
});

test('a GPU older than the kernels is one of the runtime’s errors, and is let go', async () => {
  const device = openSimulator({ computeCapability: [7, 0] });
  const error = await createCudaBackend({ device }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(PtxVersionUnsupported);
  expect(error).toMatchObject({
    code: 'CUDA_ERROR_NO_BINARY_FOR_GPU',
    message: `${device.name} is sm_70; the kernels need sm_75 or newer`,
  });
  expect(() => device.alloc(4)).toThrow(/disposed/);
});

import { expect, test } from 'vitest';
import { createCudaBackend } from '../../../engine/index.ts';
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
  pointers = 3;
  backend.launch('linearAdd_f32', tensors.slice(0, pointers), [4, 4, 4], [], [4, 4, 1]);
  expect(scratch.splice(0)).toEqual([0n]);
  pointers = 2;
  backend.launch('globalNorm_f32', tensors.slice(0, pointers), [256], [1], [256, 1, 1]);
  expect(scratch).not.toContain(0n);
  await backend.close();
});

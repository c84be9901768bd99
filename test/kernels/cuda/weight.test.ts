// Quantised weights on a CUDA device: planes there, blocks for whoever writes and reads them.
import { afterAll, expect, test } from 'vitest';
import { byteLength, type DType, dtypes, isQuantized, type WeightDType, weightDTypes } from '../../../engine/dtype.ts';
import { cast, createCudaBackend, empty, fromBytes, scope, type Tensor } from '../../../engine/index.ts';
import { dequantize } from '../../../engine/quant.ts';
import { Rng } from '../../../engine/random.ts';
import { openSimulator } from '../../../kernels/cuda/runtime/src/index.ts';
import { randomBlocks } from '../../support/gen.ts';

const device = openSimulator();
const backend = await createCudaBackend({ device });
afterAll(() => backend.close());

const types = weightDTypes.filter(isQuantized);
/** Single blocks, odd numbers of them, and more than are taken apart at once. */
const counts = [1, 2, 3, 7, 65];
const many = (dtype: DType): number => Math.ceil((2.5 * 2 ** 20) / dtypes[dtype].bytes);

/** A tensor of so many blocks in one row. */
function blocks(dtype: WeightDType, count: number): { t: Tensor; bytes: Uint8Array } {
  const shape = [1, count * dtypes[dtype].block];
  return { t: empty(shape, { dtype, backend }), bytes: randomBlocks(dtype, shape, new Rng(count)) };
}

const write = ({ storage }: Tensor, bytes: Uint8Array, offset: number): void =>
  backend.write(storage.handle, bytes, offset);

test.each(types)('%s: the bytes of a file come back', async (dtype) => {
  for (const count of [...counts, many(dtype)]) {
    using _ = scope();
    const shape = [1, count * dtypes[dtype].block];
    const bytes = Uint8Array.from({ length: byteLength(dtype, shape) }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 24);
    const t = fromBytes(bytes, shape, dtype, backend);
    expect(Buffer.compare(await t.bytes(), bytes), `${count} blocks`).toBe(0);
  }
});

test.each(types)('%s: written from the last block to the first, read in other pieces', async (dtype) => {
  const { bytes: block } = dtypes[dtype];
  for (const count of counts) {
    using _ = scope();
    const { t, bytes } = blocks(dtype, count);
    const rng = new Rng(1, count);
    for (let end = count; end > 0; ) {
      const begin = rng.int(end);
      // At any address, as a part of a file that was read at once may begin.
      const moved = new Uint8Array((end - begin) * block + 1);
      moved.set(bytes.subarray(begin * block, end * block), 1);
      write(t, moved.subarray(1), begin * block);
      end = begin;
    }
    for (let begin = 0; begin < count; ) {
      const end = begin + 1 + rng.int(count - begin);
      const part = await backend.read(t.storage.handle, (end - begin) * block, begin * block);
      expect(Buffer.compare(part, bytes.subarray(begin * block, end * block)), `${count}: ${begin}–${end}`).toBe(0);
      begin = end;
    }
    // What is exact in float64 is rounded once; of zeros only the sign may differ.
    const unsigned = (x: number): number => x + 0;
    const expected = Float32Array.from(dequantize(bytes, dtype, t.size), unsigned);
    expect(Float32Array.from(await cast(t).data(), unsigned)).toEqual(expected);
  }
});

test('quants are the first plane, without gaps, at a multiple of 256', async () => {
  using _ = scope();
  const pointers: number[] = [];
  const { alloc } = device;
  device.alloc = (bytes) => {
    pointers.push(alloc.call(device, bytes));
    return pointers[pointers.length - 1];
  };
  const { t, bytes } = blocks('q4_0', 5);
  device.alloc = alloc;
  write(t, bytes, 0);
  expect(pointers.map((p) => p % 256)).toEqual([0]);
  const raw = new Uint8Array(bytes.length);
  device.readAsync(raw, pointers[0]);
  await device.synchronize();
  const part = (from: number, to: number) =>
    Array.from({ length: 5 }, (_, i) => [...bytes.subarray(18 * i + from, 18 * i + to)]).flat();
  expect([...raw]).toEqual([...part(2, 18), ...part(0, 2)]);
});

test('a part of a block is refused, and nothing written', async () => {
  using _ = scope();
  const { t, bytes } = blocks('q5_0', 3);
  write(t, bytes, 0);
  expect(() => write(t, new Uint8Array(30), 22)).toThrow(
    new RangeError('bytes 22 to 52 are not whole blocks of 22 bytes'),
  );
  expect(() => write(t, new Uint8Array(22), 11)).toThrow(/bytes 11 to 33 are not whole blocks/);
  await expect(backend.read(t.storage.handle, 21, 0)).rejects.toThrow(/bytes 0 to 21 are not whole blocks/);
  expect(Buffer.compare(await t.bytes(), bytes)).toBe(0);
});

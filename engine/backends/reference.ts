import { MissingKernelError, type ReferenceBackend } from '../backend.ts';
import { computeDTypes, isQuantized } from '../dtype.ts';

/**
 * Float64 memory on the host, with no kernels: `op.ts` runs ops' reference loops on it. Slow and obviously right;
 * every other backend is tested against it.
 */
export function createReferenceBackend(): ReferenceBackend {
  const buffer = (handle: unknown): ArrayBuffer => handle as ArrayBuffer;
  return {
    name: 'reference',
    computes: computeDTypes,
    alloc: (bytes) => new ArrayBuffer(Math.max(8, bytes)),
    free: () => {},
    write: (handle, bytes, byteOffset = 0) => new Uint8Array(buffer(handle), byteOffset, bytes.length).set(bytes),
    read: async (handle, bytes, byteOffset = 0) => new Uint8Array(buffer(handle).slice(byteOffset, byteOffset + bytes)),
    launch: (kernel) => {
      throw new MissingKernelError(kernel, 'reference');
    },
    sync: async () => {},
    view: (handle, dtype, byteOffset, elements) => {
      if (dtype === 'i32') return new Int32Array(buffer(handle), byteOffset, elements);
      if (isQuantized(dtype)) return new Uint8Array(buffer(handle), byteOffset);
      return new Float64Array(buffer(handle), byteOffset, elements);
    },
  };
}

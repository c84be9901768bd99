import { formatShape, type Shape, ShapeError, size } from './shape.ts';

/**
 * Element types. `f32` (and `bf16` on CUDA) compute; the others hold frozen weights as they are stored.
 * Block formats are llama.cpp's: `block` consecutive elements of a row share `bytes` bytes.
 */
export const dtypes = {
  f32: { bytes: 4, block: 1 },
  f16: { bytes: 2, block: 1 },
  bf16: { bytes: 2, block: 1 },
  i32: { bytes: 4, block: 1 },
  q8_0: { bytes: 34, block: 32 },
  q4_0: { bytes: 18, block: 32 },
  q4_1: { bytes: 20, block: 32 },
  q5_0: { bytes: 22, block: 32 },
  q5_1: { bytes: 24, block: 32 },
  q4_k: { bytes: 144, block: 256 },
  q5_k: { bytes: 176, block: 256 },
  q6_k: { bytes: 210, block: 256 },
} as const;

export type DType = keyof typeof dtypes;
/** Types that a model's activations come in. Ops compute in f32 and round what they write; bf16 runs on CUDA alone. */
export const computeDTypes = ['f32', 'bf16'] as const;
export type ComputeDType = (typeof computeDTypes)[number];
/** The type that numbers of `dtype` are computed in: its own if it is bf16, else f32. */
export const computeDType = (dtype: DType): ComputeDType => (dtype === 'bf16' ? 'bf16' : 'f32');
/** Types a frozen weight may be stored in. */
export type WeightDType = Exclude<DType, 'i32'>;

export const weightDTypes = (Object.keys(dtypes) as DType[]).filter((d): d is WeightDType => d !== 'i32');
export const isQuantized = (dtype: DType): boolean => dtypes[dtype].block > 1;

/**
 * Bytes of a tensor as it is stored on a device (and in a checkpoint).
 * @throws ShapeError when a quantised tensor's last axis is not a multiple of its block
 */
export function byteLength(dtype: DType, shape: Shape): number {
  const { bytes, block } = dtypes[dtype];
  const columns = shape[shape.length - 1] ?? 1;
  if (columns % block !== 0) {
    throw new ShapeError(`${dtype}: the last axis of ${formatShape(shape)} is not a multiple of the block of ${block}`);
  }
  return (size(shape) / block) * bytes;
}

/** Host arrays that tensor data is read into. */
export type HostArray = Float32Array | Float64Array | Int32Array;

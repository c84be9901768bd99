// Inputs of ops that are timed.
import { byteLength, isQuantized } from '../engine/dtype.ts';
import { fromBytes, type Tensor, tensor } from '../engine/index.ts';
import type { BenchInput } from '../engine/op.ts';
import { Rng } from '../engine/random.ts';
import { size } from '../engine/shape.ts';
import { randomBlocks } from '../test/support/gen.ts';

/** Fills an array with a piece of random values over and over: drawing every one would take longer than the benchmark. */
function repeat<T extends Float32Array | Uint8Array>(into: T, piece: T): T {
  for (let at = 0; at < into.length; at += piece.length) into.set(piece.subarray(0, into.length - at) as never, at);
  return into;
}

/** A tensor of these values, or of random ones, on the backend in force. */
export function inputTensor({ shape, dtype, values }: BenchInput): Tensor {
  const rng = new Rng(0);
  const n = size(shape);
  if (dtype === 'i32')
    return tensor(
      Int32Array.from(values ?? { length: n }, (v, i) => (values ? v : i)),
      shape,
      { dtype },
    );
  if (values) return tensor(Float32Array.from(values), shape);
  if (isQuantized(dtype)) {
    const row = randomBlocks(dtype, [1, shape[shape.length - 1]], rng);
    return fromBytes(repeat(new Uint8Array(byteLength(dtype, shape)), row), shape, dtype);
  }
  const piece = Float32Array.from({ length: Math.min(n, 4099) }, () => rng.uniform(-1, 1));
  return tensor(repeat(new Float32Array(n), piece), shape, { dtype });
}

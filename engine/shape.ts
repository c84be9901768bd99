/** Sizes of a tensor's axes, outermost first. `[]` is a scalar. */
export type Shape = readonly number[];

/** An op was given shapes that do not fit. The message names the op, the shapes and the axis. */
export class ShapeError extends Error {
  override name = 'ShapeError';
}

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** Number of elements of a tensor of this shape. */
export function size(shape: Shape): number {
  let n = 1;
  for (const s of shape) n *= s;
  return n;
}

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((s, i) => s === b[i]);

/**
 * The shape two operands broadcast to (NumPy's rule: align at the last axis, 1 stretches).
 * @throws ShapeError naming the op, both shapes and the first axis that differs
 */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const n = Math.max(a.length, b.length);
  return Array.from({ length: n }, (_, i) => {
    const x = a[a.length - n + i] ?? 1;
    const y = b[b.length - n + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(
        `${op}: cannot broadcast ${formatShape(a)} with ${formatShape(b)}: axis ${i} is ${x} against ${y}`,
      );
    }
    return x === 1 ? y : x;
  });
}

/** Row-major element strides of `shape` seen as `out` (aligned at the last axis): 0 along stretched axes. */
export function broadcastStrides(shape: Shape, out: Shape): number[] {
  const strides = new Array<number>(out.length).fill(0);
  let stride = 1;
  for (let d = 1; d <= shape.length; d++) {
    const s = shape[shape.length - d];
    if (s !== 1) strides[out.length - d] = stride;
    stride *= s;
  }
  return strides;
}

/**
 * `axis` counted from the front; negative axes count from the back.
 * @throws ShapeError when the tensor has no such axis
 */
export function normalizeAxis(op: string, axis: number, shape: Shape): number {
  const a = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || a < 0 || a >= shape.length) {
    throw new ShapeError(`${op}: axis ${axis} does not exist in ${formatShape(shape)}`);
  }
  return a;
}

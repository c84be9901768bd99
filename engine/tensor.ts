import { type Backend, isReference } from './backend.ts';
import { byteLength, type DType, dtypes, type HostArray, isQuantized } from './dtype.ts';
import { fromBf16, fromF16, toBf16, toF16 } from './half.ts';
import type { Node } from './node.ts';
import { context, type Owned, type Scope } from './scope.ts';
import { formatShape, type Shape, ShapeError, size } from './shape.ts';
import { countTensors, Storage } from './storage.ts';

/** Numbers nested as deep as the tensor has axes. */
export type Nested = number | readonly Nested[];

export interface TensorOptions {
  dtype?: DType;
  /** Where the tensor lives; default: the context's backend. */
  backend?: Backend;
  /** A leaf that `backward` gives a `.grad`. Such a tensor belongs to no scope. */
  requiresGrad?: boolean;
}

/** Bytes this backend spends on a tensor: the reference backend keeps every float as float64. */
export function storedBytes(backend: Backend, dtype: DType, shape: Shape): number {
  return isReference(backend) && dtype !== 'i32' && !isQuantized(dtype) ? size(shape) * 8 : byteLength(dtype, shape);
}

/** A contiguous row-major array on a backend: storage + byte offset + shape. */
export class Tensor implements Owned, Disposable {
  readonly shape: Shape;
  readonly dtype: DType;
  requiresGrad = false;
  /** d(loss)/d(this) of a leaf, summed over calls of `backward`; belongs to no scope. */
  grad: Tensor | undefined;
  /** How many gradients `backward` has added to `.grad`. */
  gradCount = 0;
  /** What made it, while its history is needed. Engine-internal. */
  node: Node | undefined;
  owner: Scope | undefined;
  #storage: Storage;
  #byteOffset: number;
  #disposed = false;

  /** Takes over one reference to `storage`. Engine-internal: users call `tensor`, `zeros`, …. */
  constructor(storage: Storage, byteOffset: number, shape: Shape, dtype: DType) {
    this.#storage = storage;
    this.#byteOffset = byteOffset;
    this.shape = shape;
    this.dtype = dtype;
    countTensors(1);
    context().scope?.own(this);
  }

  get ndim(): number {
    return this.shape.length;
  }

  get size(): number {
    return size(this.shape);
  }

  get backend(): Backend {
    return this.#storage.backend;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get storage(): Storage {
    return this.#storage;
  }

  get byteOffset(): number {
    return this.#byteOffset;
  }

  /**
   * The same memory as another tensor object, from `byteOffset` on, without history.
   * @throws RangeError for a part of a quantised tensor: a backend may keep the parts of its blocks apart
   */
  view(shape: Shape = this.shape, byteOffset = 0): Tensor {
    this.assertAlive('view');
    if (isQuantized(this.dtype) && size(shape) !== this.size) {
      const [part, all] = [formatShape(shape), formatShape(this.shape)];
      throw new RangeError(`view: ${part} of ${this.dtype} ${all}: quantised tensors are viewed whole`);
    }
    return new Tensor(this.#storage.retain(), this.#byteOffset + byteOffset, shape, this.dtype);
  }

  /** The same values, cut off from the graph. */
  detach(): Tensor {
    return this.view();
  }

  /** Moves the tensor to other memory that already holds its values; parameters become views of a flat storage. */
  rebase(storage: Storage, byteOffset: number): void {
    this.#storage.release();
    this.#storage = storage.retain();
    this.#byteOffset = byteOffset;
  }

  /** Takes the tensor out of every scope: it lives until it is disposed. */
  persist(): this {
    this.owner?.disown(this);
    return this;
  }

  assertAlive(op: string): void {
    if (this.#disposed) {
      throw new Error(`${op}: a tensor of shape ${formatShape(this.shape)} was used after it was freed`);
    }
  }

  /**
   * The values on the host: Float64Array on the reference backend, Int32Array for i32, else Float32Array.
   * @throws for quantised tensors: `cast` them first
   */
  async data(): Promise<HostArray> {
    this.assertAlive('data');
    const bytes = await this.bytes();
    if (this.dtype === 'i32') return new Int32Array(bytes.buffer, bytes.byteOffset, this.size);
    if (isReference(this.backend)) return new Float64Array(bytes.buffer, bytes.byteOffset, this.size);
    if (this.dtype === 'f32') return new Float32Array(bytes.buffer, bytes.byteOffset, this.size);
    const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, this.size);
    return Float32Array.from(bits, this.dtype === 'f16' ? fromF16 : fromBf16);
  }

  /** The bytes as the backend stores them, copied. */
  async bytes(): Promise<Uint8Array> {
    this.assertAlive('bytes');
    const bytes = storedBytes(this.backend, this.dtype, this.shape);
    return this.backend.read(this.#storage.handle, bytes, this.#byteOffset);
  }

  /** @throws ShapeError unless the tensor has exactly one element */
  async item(): Promise<number> {
    if (this.size !== 1) throw new ShapeError(`item: a tensor of shape ${formatShape(this.shape)} is not one number`);
    return (await this.data())[0];
  }

  /** Overwrites the values in place. Not recorded: for leaves and buffers. */
  set(values: ArrayLike<number>): void {
    this.assertAlive('set');
    if (values.length !== this.size) {
      throw new ShapeError(`set: ${values.length} values for a tensor of shape ${formatShape(this.shape)}`);
    }
    this.backend.write(this.#storage.handle, encode(this.backend, this.dtype, values), this.#byteOffset);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.owner?.disown(this);
    this.#storage.release();
    this.node?.release();
    this.node = undefined;
    countTensors(-1);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor(${formatShape(this.shape)}, ${this.dtype}, ${this.backend.name}${this.requiresGrad ? ', requiresGrad' : ''})`;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}

function encode(backend: Backend, dtype: DType, values: ArrayLike<number>): Uint8Array {
  if (isQuantized(dtype))
    throw new TypeError(`${dtype} tensors are made from their bytes (fromBytes), not from numbers`);
  const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
  if (dtype === 'i32') return bytes(values instanceof Int32Array ? values : Int32Array.from(values));
  if (isReference(backend)) return bytes(values instanceof Float64Array ? values : Float64Array.from(values));
  if (dtype === 'f32') return bytes(values instanceof Float32Array ? values : Float32Array.from(values));
  return bytes(Uint16Array.from(values, dtype === 'f16' ? toF16 : toBf16));
}

export function currentBackend(): Backend {
  const { backend } = context();
  if (!backend) throw new Error('no backend: call setBackend(await createWasmBackend()) or pass { backend }');
  return backend;
}

/** A tensor whose contents are undefined until they are written. */
export function empty(shape: Shape, { dtype = 'f32', backend = currentBackend() }: TensorOptions = {}): Tensor {
  return new Tensor(new Storage(backend, storedBytes(backend, dtype, shape), dtype), 0, shape, dtype);
}

function fromValues(values: ArrayLike<number>, shape: Shape, options: TensorOptions): Tensor {
  const t = empty(shape, options);
  t.set(values);
  return options.requiresGrad ? parameter(t) : t;
}

/**
 * A tensor from nested arrays, a number, or a typed array with its shape.
 * @throws ShapeError when nested arrays are ragged or the count does not fit the shape
 */
export function tensor(values: Nested, options?: TensorOptions): Tensor;
export function tensor(values: HostArray, shape: Shape, options?: TensorOptions): Tensor;
export function tensor(
  values: Nested | HostArray,
  second: Shape | TensorOptions = {},
  third: TensorOptions = {},
): Tensor {
  if (ArrayBuffer.isView(values)) return fromValues(values, second as Shape, third);
  const shape: number[] = [];
  for (let v: Nested = values as Nested; typeof v !== 'number'; v = v[0] ?? 0) shape.push(v.length);
  const flat: number[] = [];
  const walk = (v: Nested, axis: number): void => {
    const length = typeof v === 'number' ? undefined : v.length;
    if (length !== shape[axis])
      throw new ShapeError(`tensor: ragged values: axis ${axis} has ${length} against ${shape[axis]}`);
    if (typeof v === 'number') flat.push(v);
    else for (const inner of v) walk(inner, axis + 1);
  };
  walk(values as Nested, 0);
  return fromValues(flat, shape, second as TensorOptions);
}

export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  // In the precision of the backend: 1/3 in float32 is not what the reference computes with.
  const wide = isReference(options.backend ?? currentBackend());
  const Values = options.dtype === 'i32' ? Int32Array : wide ? Float64Array : Float32Array;
  return fromValues(new Values(size(shape)).fill(value), shape, options);
}

export const zeros = (shape: Shape, options?: TensorOptions): Tensor => full(shape, 0, options);
export const ones = (shape: Shape, options?: TensorOptions): Tensor => full(shape, 1, options);

/** 0, 1, …, n − 1. */
export function arange(n: number, options: TensorOptions = {}): Tensor {
  return fromValues(
    Int32Array.from({ length: n }, (_, i) => i),
    [n],
    options,
  );
}

/**
 * A tensor from bytes as a checkpoint stores them (little-endian; quantised blocks as they are).
 * @throws ShapeError when the number of bytes does not fit the shape
 */
export function fromBytes(bytes: Uint8Array, shape: Shape, dtype: DType, backend: Backend = currentBackend()): Tensor {
  const expected = byteLength(dtype, shape);
  if (bytes.length !== expected) {
    throw new ShapeError(`fromBytes: ${dtype} ${formatShape(shape)} takes ${expected} bytes, found ${bytes.length}`);
  }
  const t = empty(shape, { dtype, backend });
  if (!isReference(backend) || isQuantized(dtype)) backend.write(t.storage.handle, bytes, 0);
  else t.set(numbersOf(bytes, dtype));
  return t;
}

function numbersOf(bytes: Uint8Array, dtype: DType): ArrayLike<number> {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const n = bytes.length / dtypes[dtype].bytes;
  if (dtype === 'f32') return new Float32Array(aligned.buffer, aligned.byteOffset, n);
  if (dtype === 'i32') return new Int32Array(aligned.buffer, aligned.byteOffset, n);
  return Float64Array.from(
    new Uint16Array(aligned.buffer, aligned.byteOffset, n),
    dtype === 'f16' ? fromF16 : fromBf16,
  );
}

/** Makes `t` a trainable leaf that belongs to no scope. */
export function parameter(t: Tensor): Tensor {
  t.requiresGrad = true;
  return t.persist();
}

import type { Shape } from '../../engine/shape.ts';

/** A metadata value: strings, booleans, integers (u32), `{ f32: number }`, lists of strings, or typed arrays. */
export type Value = string | boolean | number | { f32: number } | string[] | Float32Array | Int32Array;

export interface GgufTensorInput {
  shape: Shape;
  /** A type number of the format. */
  type: number;
  data: Uint8Array;
}

const u32 = (n: number) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n);
  return b;
};
const u64 = (n: number) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(n));
  return b;
};
const text = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const view = (a: ArrayBufferView) => Buffer.from(a.buffer, a.byteOffset, a.byteLength);

function value(v: Value): Buffer {
  if (typeof v === 'string') return Buffer.concat([u32(8), text(v)]);
  if (typeof v === 'boolean') return Buffer.concat([u32(7), Buffer.from([v ? 1 : 0])]);
  if (typeof v === 'number') return Buffer.concat([u32(4), u32(v)]);
  if (Array.isArray(v)) return Buffer.concat([u32(9), u32(8), u64(v.length), ...v.map(text)]);
  if (ArrayBuffer.isView(v)) {
    return Buffer.concat([u32(9), u32(v instanceof Float32Array ? 6 : 5), u64(v.length), view(v)]);
  }
  return Buffer.concat([u32(6), view(Float32Array.of(v.f32))]);
}

/** A GGUF file, by the letter of the specification (shapes go in innermost first, data at multiples of `alignment`). */
export function ggufFile(
  metadata: Iterable<readonly [string, Value]>,
  tensors: Iterable<readonly [string, GgufTensorInput]>,
  { version = 3, alignment = 32 } = {},
): Buffer {
  const keys = [...metadata].map(([key, v]) => Buffer.concat([text(key), value(v)]));
  const pad = (n: number) => Buffer.alloc((alignment - (n % alignment)) % alignment);
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, type, data: bytes }] of tensors) {
    infos.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    const padded = Buffer.concat([bytes, pad(bytes.length)]);
    data.push(padded);
    offset += padded.length;
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(data.length),
    u64(keys.length),
    ...keys,
    ...infos,
  ]);
  return Buffer.concat([head, pad(head.length), ...data]);
}

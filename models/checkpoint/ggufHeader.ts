import { isUtf8 } from 'node:buffer';
import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { byteLength, type DType, dtypes } from '../../engine/dtype.ts';
import { FormatError } from '../../engine/file.ts';
import { formatShape, type Shape } from '../../engine/shape.ts';

// Why not @huggingface/gguf: it pads a truncated file with zeros and parses on, cuts strings off at the end of its
// buffer, and lets the last of duplicate keys win. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

/** Arrays of numbers are typed arrays (64-bit ones of bigints); single 64-bit integers are numbers where exact. */
export type GgufValue = string | number | bigint | boolean | string[] | ArrayBufferView;

export interface GgufTensor {
  dtype: DType;
  /** Outermost first (the file has it innermost first). */
  shape: Shape;
  /** Where in the file its data begin. */
  offset: number;
  byteLength: number;
}

export interface GgufHeader {
  metadata: Record<string, GgufValue>;
  /** By the file's own names. */
  tensors: Map<string, GgufTensor>;
}

const tensorTypes: Record<number, DType> = {
  0: 'f32',
  1: 'f16',
  2: 'q4_0',
  3: 'q4_1',
  6: 'q5_0',
  7: 'q5_1',
  8: 'q8_0',
  12: 'q4_k',
  13: 'q5_k',
  14: 'q6_k',
  30: 'bf16',
};

const refusedTypes: Record<number, string> = {
  ...{ 9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K', 15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S' },
  ...{ 20: 'IQ4_NL', 21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64' },
  ...{ 29: 'IQ1_M', 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4' },
};

/** Metadata value types by number: bytes of one and how many are read from little-endian bytes. */
const numberTypes: Record<
  number,
  { bytes: number; array: (buffer: ArrayBuffer) => ArrayBufferView & ArrayLike<unknown> }
> = {
  0: { bytes: 1, array: (b) => new Uint8Array(b) },
  1: { bytes: 1, array: (b) => new Int8Array(b) },
  2: { bytes: 2, array: (b) => new Uint16Array(b) },
  3: { bytes: 2, array: (b) => new Int16Array(b) },
  4: { bytes: 4, array: (b) => new Uint32Array(b) },
  5: { bytes: 4, array: (b) => new Int32Array(b) },
  6: { bytes: 4, array: (b) => new Float32Array(b) },
  7: { bytes: 1, array: (b) => new Uint8Array(b) },
  10: { bytes: 8, array: (b) => new BigUint64Array(b) },
  11: { bytes: 8, array: (b) => new BigInt64Array(b) },
  12: { bytes: 8, array: (b) => new Float64Array(b) },
};
const boolType = 7;
const stringType = 8;
const arrayType = 9;

/**
 * Reads everything before the tensor data.
 * @param source names the file in messages
 * @throws FormatError naming the key or tensor that is malformed, truncated, given twice or of a type not supported
 */
export async function readGgufHeader(source: string, file: FileHandle): Promise<GgufHeader> {
  const cursor = new Cursor(source, file.fd, (await file.stat()).size);
  if (cursor.take(4, 'magic').toString('latin1') !== 'GGUF') cursor.fail('not a GGUF file');
  const version = cursor.u32('version');
  if (version !== 2 && version !== 3) {
    const bigEndian = (version & 0xffff) === 0 && version !== 0;
    cursor.fail(
      bigEndian ? 'big-endian GGUF is not supported' : `GGUF version ${version} is not supported (2 and 3 are)`,
    );
  }
  const tensorCount = cursor.u64('tensor count');
  const keyCount = cursor.u64('key count');

  const metadata: Record<string, GgufValue> = Object.create(null);
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string(`key ${i}`);
    if (key in metadata) cursor.fail(`key ${JSON.stringify(key)} is there twice`);
    metadata[key] = cursor.value(key, cursor.u32(key));
  }

  const infos = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.string(`tensor ${i}`);
    if (infos.has(name)) cursor.fail(`tensor ${JSON.stringify(name)} is there twice`);
    const rank = cursor.u32(name);
    if (rank > 4) cursor.fail(`${JSON.stringify(name)}: ${rank} dimensions, at most 4`);
    const shape = Array.from({ length: rank }, () => cursor.u64(name)).reverse();
    const type = cursor.u32(name);
    const dtype = tensorTypes[type];
    if (!dtype) cursor.fail(`${JSON.stringify(name)}: type ${refusedTypes[type] ?? type} is not supported`);
    if ((shape[rank - 1] ?? 1) % dtypes[dtype].block !== 0) {
      cursor.fail(`${JSON.stringify(name)}: rows of ${formatShape(shape)} are not whole ${dtype} blocks`);
    }
    infos.set(name, { dtype, shape, offset: cursor.u64(name), byteLength: byteLength(dtype, shape) });
  }

  const alignment = metadata['general.alignment'] ?? 32;
  if (typeof alignment !== 'number' || !Number.isInteger(alignment) || alignment < 1) {
    return cursor.fail(`general.alignment = ${alignment} is not a positive integer`);
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  let end = 0;
  for (const [name, info] of [...infos].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    if (info.offset % alignment !== 0) {
      cursor.fail(`${JSON.stringify(name)}: offset ${info.offset} is not a multiple of ${alignment}`);
    }
    if (info.offset < end) cursor.fail(`${JSON.stringify(name)}: its data overlap those of another tensor`);
    end = info.offset + info.byteLength;
    if (dataStart + end > cursor.fileSize) {
      cursor.fail(
        `${JSON.stringify(name)}: truncated: its data end at ${dataStart + end}, the file has ${cursor.fileSize} bytes`,
      );
    }
    info.offset += dataStart;
  }
  return { metadata, tensors: infos };
}

/** Reads on through a file, a chunk at a time. Nothing is allocated for a length before the file is known to have it. */
class Cursor {
  readonly fileSize: number;
  position = 0;
  readonly #source: string;
  readonly #fd: number;
  #chunk = Buffer.alloc(0);
  #chunkStart = 0;

  constructor(source: string, fd: number, fileSize: number) {
    this.#source = source;
    this.#fd = fd;
    this.fileSize = fileSize;
  }

  fail(message: string): never {
    throw new FormatError(`${this.#source}: ${message}`);
  }

  /** The next `n` bytes, valid until the next call. `what` is what they belong to. */
  take(n: number, what: string): Buffer {
    if (this.position + n > this.fileSize) {
      this.fail(
        `truncated: ${JSON.stringify(what)} goes on to ${this.position + n}, the file has ${this.fileSize} bytes`,
      );
    }
    let start = this.position - this.#chunkStart;
    if (start + n > this.#chunk.length) {
      const chunk = Buffer.allocUnsafe(Math.min(Math.max(n, 2 ** 20), this.fileSize - this.position));
      let filled = 0;
      while (filled < chunk.length) {
        const read = readSync(this.#fd, chunk, filled, chunk.length - filled, this.position + filled);
        if (read === 0) this.fail('the file became shorter while it was read');
        filled += read;
      }
      this.#chunk = chunk;
      this.#chunkStart = this.position;
      start = 0;
    }
    this.position += n;
    return this.#chunk.subarray(start, start + n);
  }

  u32(what: string): number {
    return this.take(4, what).readUInt32LE();
  }

  u64(what: string): number {
    const value = this.take(8, what).readBigUInt64LE();
    if (value > Number.MAX_SAFE_INTEGER) this.fail(`${JSON.stringify(what)}: ${value} is out of range`);
    return Number(value);
  }

  string(what: string): string {
    const bytes = this.take(this.u64(what), what);
    if (!isUtf8(bytes)) this.fail(`${JSON.stringify(what)}: not UTF-8`);
    return bytes.toString();
  }

  value(key: string, type: number): GgufValue {
    if (type === stringType) return this.string(key);
    if (type === arrayType) return this.#array(key);
    const value = this.#numbers(key, type, 1)[0] as number | bigint;
    if (type === boolType) return value !== 0;
    return typeof value === 'bigint' && BigInt(Number(value)) === value ? Number(value) : value;
  }

  #array(key: string): GgufValue {
    const type = this.u32(key);
    const length = this.u64(key);
    if (type !== stringType) return this.#numbers(key, type, length);
    const strings: string[] = [];
    for (let i = 0; i < length; i++) strings.push(this.string(key));
    return strings;
  }

  #numbers(key: string, type: number, length: number): ArrayBufferView & ArrayLike<unknown> {
    const numbers = numberTypes[type];
    if (!numbers) this.fail(`${JSON.stringify(key)}: value type ${type} is not supported`);
    const bytes = this.take(length * numbers.bytes, key);
    return numbers.array(new Uint8Array(bytes).buffer); // a copy: typed arrays want aligned bytes
  }
}

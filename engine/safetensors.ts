import { type FileHandle, open } from 'node:fs/promises';
import { FormatError, readExactly, replaceFile } from './file.ts';
import { formatShape, type Shape, size } from './shape.ts';

/** Bits of an element, in the format's own order, by which a file's tensors are sorted (largest alignment first). */
const bits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** Element types as a safetensors header spells them. */
export type SafetensorsDType = keyof typeof bits;

const order = Object.keys(bits);
const maxHeaderLength = 100_000_000;

export interface SafetensorsEntry {
  dtype: SafetensorsDType;
  shape: Shape;
  /** Bytes of the data, and where in the file they begin. */
  byteLength: number;
  offset: number;
}

/** A tensor to write: its little-endian bytes, or a function that makes them when their turn comes. */
export interface SafetensorsTensor {
  dtype: SafetensorsDType;
  shape: Shape;
  data: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
}

/**
 * A safetensors file opened for reading. Only the header is in memory; `read` fetches one tensor at a time.
 * Format: https://github.com/huggingface/safetensors#format
 */
export class SafetensorsFile {
  readonly path: string;
  /** `__metadata__` of the header. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Tensors in the order of the header. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, header: Header) {
    this.path = path;
    this.#file = file;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
  }

  /** @throws FormatError naming the file and the tensor when the header or the file's size is not as the format says */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await open(path, 'r');
    try {
      return new SafetensorsFile(path, file, await readHeader(path, file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The tensor's bytes, little-endian, row-major. */
  async read(name: string): Promise<Uint8Array> {
    const entry = this.tensors.get(name);
    if (!entry) throw new FormatError(`${this.path}: there is no tensor ${JSON.stringify(name)}`);
    return readExactly(this.#file, entry.offset, entry.byteLength, `${this.path}: ${name}`);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface Header {
  metadata: Record<string, string>;
  tensors: Map<string, SafetensorsEntry>;
}

async function readHeader(path: string, file: FileHandle): Promise<Header> {
  const fail = (message: string): never => {
    throw new FormatError(`${path}: ${message}`);
  };
  const fileSize = (await file.stat()).size;
  if (fileSize < 8) fail(`not a safetensors file: ${fileSize} bytes, a header length takes 8`);
  const lengthBytes = await readExactly(file, 0, 8, path);
  const length = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  if (length > maxHeaderLength) fail(`not a safetensors file: header of ${length} bytes, at most ${maxHeaderLength}`);
  if (8n + length > fileSize) fail(`truncated: header of ${length} bytes in a file of ${fileSize}`);
  const dataStart = 8 + Number(length);

  let json = '';
  let parsed: unknown;
  try {
    json = new TextDecoder('utf-8', { fatal: true }).decode(await readExactly(file, 8, Number(length), path));
    parsed = JSON.parse(json);
  } catch (error) {
    fail(`header is not JSON in UTF-8: ${(error as Error).message}`);
  }
  if (!isObject(parsed)) return fail('header is not a JSON object');
  const duplicate = duplicateKey(json);
  if (duplicate !== undefined) fail(`header has ${JSON.stringify(duplicate)} twice`);

  const { __metadata__: metadata = {}, ...entries } = parsed;
  if (!isObject(metadata) || !Object.values(metadata).every((v) => typeof v === 'string')) {
    fail('__metadata__ is not a map of strings');
  }
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, entry] of Object.entries(entries)) {
    const failTensor = (message: string): never => fail(`${JSON.stringify(name)}: ${message}`);
    if (!isObject(entry)) return failTensor('its header entry is not an object');
    const { dtype, shape, data_offsets: range, ...rest } = entry;
    if (!isDType(dtype)) return failTensor(`unknown dtype ${JSON.stringify(dtype)}`);
    if (!isCounts(shape)) return failTensor(`shape ${JSON.stringify(shape)} is not a list of sizes`);
    if (!isCounts(range) || range.length !== 2)
      return failTensor(`data_offsets ${JSON.stringify(range)} is not a pair`);
    for (const key of Object.keys(rest)) failTensor(`unknown key ${JSON.stringify(key)}`);
    const [begin, end] = range;
    const expected = byteLength(dtype, shape);
    if (end - begin !== expected) {
      failTensor(`${dtype} ${formatShape(shape)} takes ${expected} bytes, data_offsets give ${end - begin}`);
    }
    if (dataStart + end > fileSize) {
      failTensor(`truncated: its data end at ${dataStart + end}, the file has ${fileSize} bytes`);
    }
    tensors.set(name, {
      dtype,
      shape,
      byteLength: expected,
      offset: dataStart + begin,
    });
  }

  let end = dataStart;
  const byOffset = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const [name, entry] of byOffset) {
    if (entry.offset !== end) {
      const how = entry.offset < end ? 'overlap those of another tensor' : 'leave a gap before them';
      fail(`${JSON.stringify(name)}: its data begin at ${entry.offset}, not ${end}: they ${how}`);
    }
    end += entry.byteLength;
  }
  if (end !== fileSize) fail(`${fileSize - end} bytes after the last tensor belong to none`);
  return { metadata: metadata as Record<string, string>, tensors };
}

/**
 * Writes a safetensors file byte for byte as the reference implementation does: tensors by dtype (descending), then by
 * name (bytewise), header padded with spaces to a multiple of 8. The file appears whole or not at all.
 * @throws FormatError when a tensor's bytes do not match its dtype and shape; file system errors as they come
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const sorted = [...tensors].sort(
    ([aName, a], [bName, b]) =>
      order.indexOf(b.dtype) - order.indexOf(a.dtype) || Buffer.compare(Buffer.from(aName), Buffer.from(bName)),
  );
  // Written by hand: an object would move names that look like numbers to the front.
  const fields = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  let offset = 0;
  for (const [name, { dtype, shape }] of sorted) {
    const end = offset + byteLength(dtype, shape);
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = Buffer.from(`{${fields.join(',')}}`);
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);

  await replaceFile(path, async (file) => {
    await file.writeFile(header);
    for (const [name, { dtype, shape, data }] of sorted) {
      const bytes = typeof data === 'function' ? await data() : data;
      const expected = byteLength(dtype, shape);
      if (bytes.byteLength !== expected) {
        throw new FormatError(
          `${path}: ${name}: ${dtype} ${formatShape(shape)} takes ${expected} bytes, got ${bytes.byteLength}`,
        );
      }
      await file.writeFile(bytes);
    }
  });
}

const byteLength = (dtype: SafetensorsDType, shape: Shape): number => (size(shape) * bits[dtype]) / 8;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isDType = (value: unknown): value is SafetensorsDType => typeof value === 'string' && Object.hasOwn(bits, value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** The first key that valid JSON text has twice in one object: JSON.parse keeps the last without a word. */
function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | null)[] = []; // keys so far of each object we are in; null for an array
  let key = false; // a string here would be a key
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === '{') open.push(new Set());
    else if (c === '[') open.push(null);
    else if (c === '}' || c === ']') open.pop();
    else if (c === '"') {
      const start = i;
      for (i++; json[i] !== '"'; i++) if (json[i] === '\\') i++;
      if (!key) continue;
      const name = JSON.parse(json.slice(start, i + 1)) as string;
      const keys = open[open.length - 1];
      if (keys?.has(name)) return name;
      keys?.add(name);
    }
    if (c === '{' || c === ',') key = open[open.length - 1] instanceof Set;
    else if (c === ':' || c === '[') key = false;
  }
  return undefined;
}

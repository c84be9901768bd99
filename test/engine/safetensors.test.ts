import { globSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../engine/file.ts';
import { SafetensorsFile, type SafetensorsTensor, writeSafetensors } from '../../engine/safetensors.ts';
import { mutations } from '../support/mutations.ts';

const golden = join(import.meta.dirname, '../golden');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A file of this header and `dataLength` bytes of data. */
async function file(header: string | object, dataLength = 0): Promise<string> {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, 'case.safetensors');
  await writeFile(path, Buffer.concat([length, json, Buffer.alloc(dataLength, 7)]));
  return path;
}

const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

async function contents(path: string): Promise<[ReadonlyMap<string, SafetensorsTensor>, Record<string, string>]> {
  await using opened = await SafetensorsFile.open(path);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, { dtype, shape }] of opened.tensors) {
    tensors.set(name, { dtype, shape, data: await opened.read(name) });
  }
  return [tensors, { ...opened.metadata }];
}

describe('writer', () => {
  const written = globSync('**/*.safetensors', { cwd: golden });

  it('finds the golden files', () => {
    expect(written.filter((f) => f.endsWith('adapter_model.safetensors')).length).toBe(38);
  });

  it.each(written)('load, shuffle, save gives %s byte for byte', async (name) => {
    const [tensors, metadata] = await contents(join(golden, name));
    const copy = join(folder, 'copy.safetensors');
    await writeSafetensors(copy, new Map([...tensors].reverse()), metadata);
    expect((await readFile(copy)).equals(await readFile(join(golden, name)))).toBe(true);
  });

  it('sorts by dtype, then bytewise by name, and pads the header', async () => {
    const path = join(folder, 'order.safetensors');
    const tensor = (dtype: 'F32' | 'F16' | 'BF16' | 'I64', bytes: number): SafetensorsTensor => ({
      dtype,
      shape: [1],
      data: () => new Uint8Array(bytes),
    });
    await writeSafetensors(
      path,
      new Map([
        ['\u{1F600}', tensor('F16', 2)], // after U+FFFD in UTF-8, before it in UTF-16
        ['\uFFFD', tensor('F16', 2)],
        ['layers.2.', tensor('BF16', 2)],
        ['layers.10.', tensor('F32', 4)],
        ['layers.1.', tensor('F32', 4)],
        ['7', tensor('F32', 4)],
        ['z', tensor('I64', 8)],
      ]),
    );
    const bytes = await readFile(path);
    const headerLength = Number(bytes.readBigUInt64LE());
    expect(headerLength % 8).toBe(0);
    const header = bytes.subarray(8, 8 + headerLength).toString();
    const names = ['z', '7', 'layers.1.', 'layers.10.', 'layers.2.', '\uFFFD', '\u{1F600}'];
    const positions = names.map((name) => header.indexOf(JSON.stringify(name)));
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(Math.min(...positions)).toBeGreaterThan(0);
    expect(
      header.startsWith('{"__metadata__":{"format":"pt"},"z":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}'),
    ).toBe(true);
  });

  it('leaves the old file and nothing else when a tensor cannot be made', async () => {
    const inner = await mkdtemp(join(folder, 'atomic-'));
    const path = join(inner, 'a.safetensors');
    const good: SafetensorsTensor = {
      dtype: 'F32',
      shape: [2],
      data: new Uint8Array(8),
    };
    await writeSafetensors(path, new Map([['a', good]]));
    const before = await readFile(path);
    const failing = new Map<string, SafetensorsTensor>([
      ['a', good],
      ['b', { ...good, data: new Uint8Array(7) }],
    ]);
    await expect(writeSafetensors(path, failing)).rejects.toThrow(/b: F32 \[2\] takes 8 bytes, got 7/);
    expect(await readdir(inner)).toEqual(['a.safetensors']);
    expect(await readFile(path)).toEqual(before);
  });
});

describe('reader', () => {
  it('reads scalars, empty tensors and empty files', async () => {
    await using opened = await SafetensorsFile.open(await file({ scalar: f32([], 0, 4), empty: f32([0, 3], 4, 4) }, 4));
    expect(await opened.read('scalar')).toEqual(new Uint8Array(4).fill(7));
    expect(await opened.read('empty')).toEqual(new Uint8Array(0));
    await using none = await SafetensorsFile.open(await file({}));
    expect(none.tensors.size).toBe(0);
    await expect(opened.read('absent')).rejects.toThrow(/no tensor "absent"/);
  });

  const bad: [string, string | object, number, RegExp][] = [
    ['an unknown dtype', { w: { ...f32([1], 0, 4), dtype: 'Q9' } }, 4, /"w": unknown dtype "Q9"/],
    ['a dtype of Object.prototype', { w: { ...f32([1], 0, 4), dtype: 'toString' } }, 4, /unknown dtype/],
    ['a shape that does not match', { w: f32([3], 0, 8) }, 8, /"w": F32 \[3\] takes 12 bytes, data_offsets give 8/],
    ['a negative size', { w: f32([-1], 0, 4) }, 4, /shape \[-1\]/],
    ['a product beyond 2^53', { w: f32([2 ** 40, 2 ** 40], 0, 4) }, 4, /"w": F32/],
    ['missing offsets', { w: { dtype: 'F32', shape: [1] } }, 4, /data_offsets undefined/],
    ['overlap', { a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8, /"b": .*overlap/],
    ['a gap', { a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12, /"b": .*gap/],
    ['surplus bytes', { a: f32([1], 0, 4) }, 9, /5 bytes after the last tensor/],
    ['a truncated tensor', { a: f32([1], 0, 4), b: f32([100], 4, 404) }, 100, /"b": truncated/],
    ['the same tensor twice', '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\\u0061":{}}', 0, /"a" twice/],
    [
      'the same field twice',
      '{"a":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      0,
      /"dtype" twice/,
    ],
    ['metadata that is not strings', { __metadata__: { n: 1 } }, 0, /__metadata__/],
    ['an array for a header', '[]', 0, /not a JSON object/],
    ['a header that is not JSON', '{', 0, /not JSON/],
  ];
  it.each(bad)('refuses %s', async (_, header, dataLength, message) => {
    const path = await file(header, dataLength);
    const error = await SafetensorsFile.open(path).then(
      () => expect.unreachable('opened'),
      (e) => e,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(path);
  });

  it('refuses a header length beyond the limit or the file without reading it', async () => {
    const path = join(folder, 'length.safetensors');
    for (const [length, message] of [
      [2n ** 63n, /at most 100000000/],
      [1000n, /truncated: header of 1000 bytes in a file of 8/],
    ] as const) {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(length);
      await writeFile(path, bytes);
      await expect(SafetensorsFile.open(path)).rejects.toThrow(message);
    }
  });

  it('2,000 mutations give a FormatError or tensors that can be read', async () => {
    const original = await readFile(join(golden, 'llama-odd/prompt/start/adapter_model.safetensors'));
    const path = join(folder, 'mutant.safetensors');
    let refused = 0;
    for (const mutant of mutations(original, 2000, 1)) {
      await writeFile(path, mutant);
      try {
        await contents(path);
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(500);
  });
});

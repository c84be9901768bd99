import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../../engine/file.ts';
import { openCheckpoint } from '../../../models/checkpoint/index.ts';
import { itWithData } from '../../support/data.ts';
import { llama2cFile } from '../../support/llama2c.ts';

const golden = join(import.meta.dirname, '../../golden');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-llama2c-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function refusal(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'bad.bin');
  await writeFile(path, bytes);
  const error = await openCheckpoint(path).then(
    (checkpoint) => checkpoint.close().then(() => expect.unreachable('opened')),
    (e) => e,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error.message;
}

describe.each(['llama2', 'llama2-gqa-tied'])('%s, exported', (model) => {
  it('reads back as the model it was made from', async () => {
    const original = await openCheckpoint(join(golden, model));
    const path = join(folder, `${model}.bin`);
    await writeFile(path, await llama2cFile(original));
    const copy = await openCheckpoint(path);
    try {
      expect(copy.format).toBe('llama2c');
      expect({ ...copy.config, raw: null }).toEqual({ ...original.config, raw: null });
      expect(new Map(copy.tensors)).toEqual(new Map([...copy.tensors.keys()].map((n) => [n, original.tensors.get(n)])));
      for (const name of original.tensors.keys()) {
        expect(Buffer.compare(await copy.read(name), await original.read(name)), name).toBe(0);
      }
      await expect(copy.tokenizer()).rejects.toThrow(/no tokenizer beside it \(looked for tokenizer.bin, tok96.bin/);
    } finally {
      await original.close();
      await copy.close();
    }
  });
});

itWithData(
  'opens stories260K with the tokenizer beside it',
  'data/models/stories260K/stories260K.bin',
  async (path) => {
    const checkpoint = await openCheckpoint(path);
    try {
      expect(checkpoint.config).toMatchObject({ hiddenSize: 64, numKeyValueHeads: 4, tieWordEmbeddings: true });
      expect((await checkpoint.tokenizer()).vocabSize).toBe(512);
    } finally {
      await checkpoint.close();
    }
  },
);

describe('refuses', () => {
  const bytes = async () => {
    const model = await openCheckpoint(join(golden, 'llama2'));
    try {
      return await llama2cFile(model);
    } finally {
      await model.close();
    }
  };

  it('a truncated file, naming the first tensor that is not there, and a longer one', async () => {
    const whole = await bytes();
    expect(await refusal(whole.subarray(0, whole.length - 96 * 32 * 4 - 8))).toMatch(/truncated before lm_head.weight/);
    expect(await refusal(whole.subarray(0, whole.length - 8))).toMatch(/truncated before its end/);
    expect(await refusal(whole.subarray(0, 20))).toMatch(/llama2.c header: expected 28 bytes/);
    expect(await refusal(Buffer.concat([whole, Buffer.alloc(4)]))).toMatch(/its header gives/);
  });

  it('later versions and files of other kinds', async () => {
    expect(await refusal(Buffer.concat([Buffer.from('24ka'), Buffer.from([2, 0, 0, 0]), Buffer.alloc(248)]))).toMatch(
      /llama2.c version 2 is not supported/,
    );
    expect(await refusal(Buffer.from('PK\x03\x04 a pickled checkpoint of another kind'))).toMatch(
      /neither a GGUF file nor/,
    );
  });
});

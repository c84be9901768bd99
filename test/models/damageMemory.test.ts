// Memory of loading a model or tokenizer file, whole or damaged: each load in a process of its own, as a user's is.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { openTokenizer } from '../../models/tokenizer/index.ts';
import { describeWithData, itWithData } from '../support/data.ts';
import { convert, ggufFile } from '../support/gguf.ts';
import { goldenPath } from '../support/golden.ts';
import { llama2cFile } from '../support/llama2c.ts';
import type { Load } from '../support/load.ts';
import { mutations } from '../support/mutations.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';
import { ggufBytePairs, ggufPieces, tokenizerFiles } from '../support/vocabulary.ts';

type Kind = 'tokenizer' | 'checkpoint' | 'safetensors';
const script = join(import.meta.dirname, '../support/load.ts');
const folder = mkdtempSync(join(tmpdir(), 'lorikeet-memory-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function load(kind: Kind, path: string): Promise<Load> {
  const { stdout } = await promisify(execFile)(process.execPath, [script, kind, path], { env });
  return JSON.parse(stdout);
}

const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'cache') };

/** @throws if a load takes more than 64 MiB and twice the file above what its process held before it */
function expectBounded({ bytes }: Load, fileBytes: number): void {
  expect(bytes / 2 ** 20).toBeLessThan(64 + (2 * fileBytes) / 2 ** 20);
}

/** Loads a file as it is, and damaged copies. */
async function check(kind: Kind, path: string, copies = 2): Promise<void> {
  const original = readFileSync(path);
  const whole = await load(kind, path);
  expect(whole.refused).toBeUndefined();
  expectBounded(whole, original.length);
  for (const [i, mutant] of [...mutations(original, copies, 7)].entries()) {
    const damaged = await load(kind, write(`${i}-${basename(path)}`, mutant));
    expectBounded(damaged, mutant.length);
  }
}

describe('a load takes at most 64 MiB and twice the file', { timeout: 600_000 }, () => {
  const files: Record<string, string> = {};
  beforeAll(async () => {
    for (const [name, content] of Object.entries(await tokenizerFiles(write))) files[name] = write(name, content);
    const golden = await openCheckpoint(goldenPath('llama2'));
    files['model.bin'] = write('model.bin', await llama2cFile(golden));
    const { metadata, tensors } = await convert(golden);
    await golden.close();
    const keys = new Map([...metadata].filter(([key]) => !key.startsWith('tokenizer.')));
    for (const [name, vocabulary] of [
      ['pieces.gguf', ggufPieces()],
      ['pairs.gguf', ggufBytePairs()],
    ] as const) {
      files[name] = write(name, ggufFile([...keys, ...vocabulary], tensors, { alignment: 64 }));
    }
    files['model.safetensors'] = goldenPath('llama2', 'model.safetensors');
  });

  test.each([
    ['tokenizer', 'spm.model'],
    ['tokenizer', 'tok.bin'],
    ['tokenizer', 'ranks.model'],
    ['tokenizer', 'spm.json'],
    ['checkpoint', 'pieces.gguf'],
    ['checkpoint', 'pairs.gguf'],
    ['checkpoint', 'model.bin'],
    ['safetensors', 'model.safetensors'],
  ] as const)('%s %s', (kind, name) => check(kind, files[name]));

  describeWithData('real files', 'data', (data) => {
    test.each([
      ['tokenizer', 'tokenizers/llama2/tokenizer.model'],
      ['tokenizer', 'tokenizers/llama2/tokenizer.bin'],
      ['tokenizer', 'tokenizers/llama3/tokenizer.model'],
      ['tokenizer', 'models/TinyStories-656K/tokenizer.json'],
      ['checkpoint', 'models/stories260K/stories260K.bin'],
      ['safetensors', 'models/TinyStories-656K/model.safetensors'],
    ] as const)('%s %s', (kind, name) => check(kind, join(data, name), 3));
  });

  itWithData('tokenizer.json of 280,147 merges', 'data/tokenizers/llama3/tokenizer.model', async (path) => {
    const json = (await openTokenizer(path)).hfFiles().get('tokenizer.json') as string;
    await check('tokenizer', write('tokenizer.json', json), 3);
  });

  describeWithSmolLM2('SmolLM2', (path) => {
    test('GGUF with its tokenizer', () => check('checkpoint', path, 2));
  });
});

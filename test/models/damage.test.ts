// Damaged model files: whatever was flipped, cut or repeated in one, it opens or is refused by name. See also
// test/models/damageMemory.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { FormatError } from '../../engine/file.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';
import { convert, ggufFile } from '../support/gguf.ts';
import { goldenPath } from '../support/golden.ts';
import { llama2cFile } from '../support/llama2c.ts';
import { mutations } from '../support/mutations.ts';
import { ggufBytePairs, ggufPieces, tokenizerFiles } from '../support/vocabulary.ts';

const folder = mkdtempSync(join(tmpdir(), 'lorikeet-damage-'));
afterAll(() => rmSync(folder, { recursive: true }));
// Of GGUF keys that a mutation renamed, and of the tokenizer library.
beforeAll(() => {
  vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterAll(() => void vi.restoreAllMocks());

function write(name: string, content: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function use(tokenizer: Tokenizer): void {
  tokenizer.decode(tokenizer.encode('The film was naïve 🙂'));
  tokenizer.encode(' not bad', { continuation: true });
}

/** Opens `count` damaged copies. A length believed without a look at the file costs gigabytes, which `growth` would show. */
async function damage(
  name: string,
  original: Uint8Array,
  { header, open }: { header: number; open(path: string): Promise<void> },
): Promise<void> {
  await open(write(name, original));
  const before = process.memoryUsage.rss();
  const seen = { usable: 0, refused: 0, growth: 0 };
  for (const mutant of mutations(original, 2000, 2, header)) {
    const path = write(name, mutant);
    try {
      await open(path);
      seen.usable++;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      expect(error.message).toContain(path);
      seen.refused++;
    }
    seen.growth = Math.max(seen.growth, process.memoryUsage.rss() - before);
  }
  expect(seen.usable).toBeGreaterThan(0);
  expect(seen.refused).toBeGreaterThan(500);
  expect(seen.growth).toBeLessThan(128 * 2 ** 20);
}

describe('2,000 mutations give a FormatError that names the file, or something that works', {
  timeout: 600_000,
}, () => {
  test.each(['spm.model', 'tok.bin', 'ranks.model', 'spm.json', 'ranks.json'])('tokenizer %s', async (name) => {
    const files = await tokenizerFiles(write);
    await damage(name, files[name], { header: 512, open: async (path) => use(await openTokenizer(path)) });
  });

  const readAll = async (path: string): Promise<void> => {
    const checkpoint = await openCheckpoint(path);
    try {
      for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
      if (checkpoint.format === 'gguf') use(await checkpoint.tokenizer());
    } finally {
      await checkpoint.close();
    }
  };

  test.each([
    ['SentencePiece', ggufPieces],
    ['byte pairs', ggufBytePairs],
  ])('GGUF with a tokenizer of %s', async (_, vocabulary) => {
    const golden = await openCheckpoint(goldenPath('llama-odd'));
    const { metadata, tensors } = await convert(golden);
    await golden.close();
    const keys = new Map([...metadata].filter(([key]) => !key.startsWith('tokenizer.')));
    const original = ggufFile([...keys, ...vocabulary()], tensors, { alignment: 64 });
    await damage('model.gguf', original, { header: 16_384, open: readAll });
  });

  test('llama2.c', async () => {
    const golden = await openCheckpoint(goldenPath('llama2'));
    const original = await llama2cFile(golden);
    await golden.close();
    await damage('model.bin', original, { header: 28, open: readAll });
  });
});

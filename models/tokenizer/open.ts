import { open, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FormatError } from '../../engine/file.ts';
import { openTokenizerJson, readCompanions } from './hf.ts';
import { readLlama2c } from './llama2c.ts';
import { pieceTokenizer, readSentencePiece } from './sentencepiece.ts';
import { isRankFile, rankTokenizer } from './tiktoken.ts';
import type { Tokenizer } from './tokenizer.ts';

/** More than any tokenizer has: the file is something else. */
const MAX_BYTES = 256 * 2 ** 20;

/**
 * Opens a tokenizer file, or the one of a folder (tokenizer.json, else tokenizer.model, tokenizer.bin, tok512.bin …). The
 * kind is told by content: Hugging Face's JSON, SentencePiece, LLaMA-3 ranks or llama2.c. Chat template, EOS and BOS
 * settings come from the Hugging Face files beside it, if any.
 *
 * @throws naming the file and what was found in it.
 */
export async function openTokenizer(path: string): Promise<Tokenizer> {
  const file = (await stat(path)).isDirectory() ? await find(path) : path;
  const head = await headOf(file);
  if (/^\s*\{/.test(head)) return openTokenizerJson(file);
  const bytes = await readFile(file);
  const companions = await readCompanions(dirname(file));
  if (isRankFile(head)) return rankTokenizer(bytes.toString('latin1'), file, companions);
  // llama2.c starts with the length of the longest piece, a small int32; the third byte of a SentencePiece model is the tag
  // of a field, never 0.
  if (bytes.length >= 4 && bytes[2] === 0 && bytes[3] === 0)
    return pieceTokenizer(readLlama2c(bytes, file), file, companions);
  if (bytes[0] === 0x0a) return pieceTokenizer(readSentencePiece(bytes, file), file, companions);
  const found = bytes.length === 0 ? 'it is empty' : `it starts with ${JSON.stringify(head.slice(0, 8))}`;
  throw new FormatError(
    `${file} is no tokenizer of a known kind (tokenizer.json, SentencePiece, LLaMA-3 ranks, llama2.c): ${found}`,
  );
}

async function find(folder: string): Promise<string> {
  const names = (await readdir(folder)).sort();
  const usual = ['tokenizer.json', 'tokenizer.model', 'tokenizer.bin'];
  const name = usual.find((name) => names.includes(name)) ?? names.find((name) => /^tok\d+\.(model|bin)$/.test(name));
  if (name === undefined) throw new FormatError(`${folder} has no tokenizer (${usual.join(', ')})`);
  return join(folder, name);
}

/** The first bytes, as Latin-1. */
async function headOf(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    if (size > MAX_BYTES) throw new FormatError(`${file} is no tokenizer: it has ${size} bytes`);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

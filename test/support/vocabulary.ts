// A small vocabulary, written in every format that tokenizers are read from: 256 bytes, letters, and words by their beginnings.
import { byteLevelToken } from '../../models/tokenizer/bytelevel.ts';
import { openTokenizer } from '../../models/tokenizer/index.ts';
import type { Value } from './gguf.ts';

const words = 'the film was not bad at all but watching it twice would be a waste of time naïve 你好'.split(' ');

/** Beginnings of the words, a space before each, shortest first: every one is its predecessor and a character. */
function beginnings(space: string): string[] {
  const found = new Set<string>();
  for (const word of words) {
    const characters = [space, ...word];
    for (const c of characters) found.add(c);
    for (let n = 2; n <= characters.length; n++) found.add(characters.slice(0, n).join(''));
  }
  return [...found].sort((a, b) => [...a].length - [...b].length);
}

const special = ['<unk>', '<s>', '</s>'];
const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
const pieces = [...special, ...bytes, ...beginnings('\u2581')];
const scores = pieces.map((_, id) => -id);
/** SentencePiece's types: unknown, control, byte, normal. */
const types = pieces.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 3 + bytes.length ? 6 : 1));

/** A protobuf field: a varint, a float (fixed32), or bytes. */
export function field(number: number, value: number | { f32: number } | Uint8Array): Buffer {
  const varint = (n: number): number[] => (n < 128 ? [n] : [128 + (n % 128), ...varint(Math.floor(n / 128))]);
  if (typeof value === 'number') return Buffer.from([...varint(number * 8), ...varint(value)]);
  if (value instanceof Uint8Array) {
    return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(value.length)]), value]);
  }
  return Buffer.concat([Buffer.from(varint(number * 8 + 5)), Buffer.from(Float32Array.of(value.f32).buffer)]);
}

function sentencePiece(): Buffer {
  const messages = pieces.map((piece, id) =>
    field(1, Buffer.concat([field(1, Buffer.from(piece)), field(2, { f32: scores[id] }), field(3, types[id])])),
  );
  const trainer = [field(3, 2), field(35, 1), field(40, 0), field(41, 1), field(42, 2)];
  const normalizer = [field(3, 1), field(4, 0), field(5, 1)];
  return Buffer.concat([...messages, field(2, Buffer.concat(trainer)), field(3, Buffer.concat(normalizer))]);
}

/** llama2.c's tokenizer.bin. */
function llama2c(): Buffer {
  const texts = pieces.map((piece, id) =>
    Buffer.from(id === 1 || id === 2 ? `\n${piece}\n` : piece.replaceAll('\u2581', ' ')),
  );
  const records = texts.map((text, id) => {
    const head = Buffer.alloc(8);
    head.writeFloatLE(scores[id]);
    head.writeInt32LE(text.length, 4);
    return Buffer.concat([head, text]);
  });
  const longest = Buffer.alloc(4);
  longest.writeInt32LE(Math.max(...texts.map((text) => text.length)));
  return Buffer.concat([longest, ...records]);
}

/** The tokens of a byte-level vocabulary as bytes. */
function byteLevel(): Buffer[] {
  const all = [
    ...Array.from({ length: 256 }, (_, b) => Buffer.of(b)),
    ...beginnings(' ').map((text) => Buffer.from(text)),
  ];
  return [...new Map(all.map((token) => [token.toString('base64'), token])).values()];
}

/** LLaMA-3's tokenizer.model. */
const ranks = (): Buffer =>
  Buffer.from(
    byteLevel()
      .map((token, rank) => `${token.toString('base64')} ${rank}\n`)
      .join(''),
  );

/** The keys of a GGUF file with this vocabulary of SentencePiece. */
export const ggufPieces = (): [string, Value][] => [
  ['tokenizer.ggml.model', 'llama'],
  ['tokenizer.ggml.tokens', pieces],
  ['tokenizer.ggml.scores', Float32Array.from(scores)],
  ['tokenizer.ggml.token_type', Int32Array.from(types)],
  ['tokenizer.ggml.bos_token_id', 1],
  ['tokenizer.ggml.eos_token_id', 2],
  ['tokenizer.ggml.unknown_token_id', 0],
];

/** The keys of a GGUF file with this vocabulary of bytes. */
export function ggufBytePairs(): [string, Value][] {
  const tokens = byteLevel().map(byteLevelToken);
  const known = new Set(tokens);
  const merges = tokens.flatMap((token) => {
    const [left, right] = [token.slice(0, -1), token.slice(-1)];
    return known.has(left) ? [`${left} ${right}`] : [];
  });
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'llama-bpe'],
    ['tokenizer.ggml.tokens', [...tokens, '<|end|>']],
    ['tokenizer.ggml.token_type', Int32Array.from([...tokens.map(() => 1), 3])],
    ['tokenizer.ggml.merges', merges],
    ['tokenizer.ggml.bos_token_id', tokens.length],
    ['tokenizer.ggml.eos_token_id', tokens.length],
  ];
}

/** The vocabulary's files by name. `write` puts one into a folder and returns its path. */
export async function tokenizerFiles(
  write: (name: string, content: Uint8Array) => string,
): Promise<Record<string, Buffer>> {
  const files = { 'spm.model': sentencePiece(), 'tok.bin': llama2c(), 'ranks.model': ranks() };
  const json = async (name: 'spm.model' | 'ranks.model') =>
    Buffer.from((await openTokenizer(write(name, files[name]))).hfFiles().get('tokenizer.json') as string);
  return { ...files, 'spm.json': await json('spm.model'), 'ranks.json': await json('ranks.model') };
}

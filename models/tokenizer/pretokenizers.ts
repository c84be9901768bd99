import type { Component } from './schema.ts';

const CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";
export const GPT2 = `${CONTRACTIONS}| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`;
const TIKTOKEN = (digits: string) =>
  `(?i:${CONTRACTIONS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const LLAMA3 = { patterns: [TIKTOKEN('\\p{N}{1,3}')], ignoreMerges: true, addsBos: true };

/** How a byte-level vocabulary cuts text before merging, under the names of `tokenizer.ggml.pre`. */
export interface PreTokenizer {
  /** Regular expressions applied one after the other, each isolating its matches. */
  readonly patterns: readonly string[];
  /** A cut piece that is a token is taken whole. */
  readonly ignoreMerges?: boolean;
  /** Whether BOS is added where the file does not say. */
  readonly addsBos?: boolean;
}

/** The pre-tokenizers that Llama-shaped models use; patterns as in llama.cpp's `llm_tokenizer_bpe`. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  default: {
    patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2.replace(/\|\\s\+$/, ''), '\\p{N}+', '[0-9][0-9][0-9]'],
  },
  'gpt-2': { patterns: [GPT2] },
  smollm: { patterns: ['\\p{N}', GPT2] },
  'llama-bpe': LLAMA3,
  llama3: LLAMA3,
  'llama-v3': LLAMA3,
  falcon3: LLAMA3,
  'smaug-bpe': { patterns: [TIKTOKEN('\\p{N}{1,3}')] },
  qwen2: { patterns: [TIKTOKEN('\\p{N}')] },
};

/** The tokenizer.json component that isolates the matches of a pattern. */
export function isolate(pattern: string): Component {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

/** The last component of a byte-level pre-tokenizer: bytes into the byte alphabet. */
export const BYTE_LEVEL: Component = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: false,
};

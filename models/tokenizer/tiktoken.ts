import { FormatError } from '../../engine/file.ts';
import { addedToken } from './build.ts';
import { byteLevelToken, byteLevelTokenizer } from './bytelevel.ts';
import { type Companions, endIds, type JsonTokenizer } from './json.ts';
import { CutMerges } from './merges.ts';
import { PRE_TOKENIZERS } from './pretokenizers.ts';

const RANK_LINE = /^[A-Za-z0-9+/]+={0,2} \d{1,7}$/;

/** Whether a file looks like tiktoken ranks: its first line is base64, a space and a number. */
export function isRankFile(head: string): boolean {
  const end = head.indexOf('\n');
  return end > 0 && RANK_LINE.test(head.slice(0, end).trimEnd());
}

/**
 * Reads LLaMA-3's `tokenizer.model`: tiktoken ranks, a line `base64 rank` each, and 256 special tokens that the file does not
 * hold (llama3, tokenizer.py).
 *
 * @throws naming `source` and the line if a line is malformed or the ranks are not 0, 1, 2, …
 */
export function rankTokenizer(text: string, source: string, companions: Companions = {}): JsonTokenizer {
  const ids = new Map<string, number>();
  const { length } = text.trimEnd();
  // A line at a time: all of them at once take more memory than the vocabulary.
  for (let start = 0, next = 0; start < length; start = next + 1) {
    next = text.indexOf('\n', start);
    if (next < 0) next = length;
    const line = text.slice(start, next).trimEnd();
    const space = line.indexOf(' ');
    const bytes = RANK_LINE.test(line) ? Buffer.from(line.slice(0, space), 'base64') : new Uint8Array();
    const token = bytes.length <= 1024 ? byteLevelToken(bytes) : '';
    if (token === '' || Number(line.slice(space)) !== ids.size || ids.has(token)) {
      throw new FormatError(
        `${source}: line ${ids.size + 1} is ${JSON.stringify(line.slice(0, 60))}, expected a new token in base64 and its rank ${ids.size}`,
      );
    }
    ids.set(token, ids.size);
  }

  // A token's rank is its id.
  const order = Int32Array.from(ids.values());
  const special = specialTokens().map((content, i) => addedToken(order.length + i, content, true));
  for (const { content, id } of special) {
    if (ids.has(content))
      throw new FormatError(`${source}: ${content} is a special token, but rank ${ids.get(content)} as well`);
    ids.set(content, id);
  }
  const idOf = (content: string) => special.find((token) => token.content === content)?.id;
  const ends = ['<|end_of_text|>', '<|eot_id|>'].map((content) => idOf(content) as number);
  return byteLevelTokenizer({
    tokens: [...ids.keys()],
    ids,
    added: special,
    pre: PRE_TOKENIZERS['llama-bpe'],
    merges: new CutMerges(ids, order),
    bosId: idOf('<|begin_of_text|>'),
    addsBos: companions.addsBos ?? true,
    eosIds: endIds(companions, idOf, ends),
    chatTemplate: companions.chatTemplate,
  });
}

function specialTokens(): string[] {
  const reserved = Array.from({ length: 251 }, (_, i) => `<|reserved_special_token_${i}|>`);
  return [
    '<|begin_of_text|>',
    '<|end_of_text|>',
    ...reserved.slice(0, 4),
    '<|start_header_id|>',
    '<|end_header_id|>',
    reserved[4],
    '<|eot_id|>',
    ...reserved.slice(5),
  ];
}

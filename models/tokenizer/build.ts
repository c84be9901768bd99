import { FormatError } from '../../engine/file.ts';
import type { BytePairs } from './engine.ts';
import type { AddedToken, Component, Frame } from './schema.ts';

/** An added token with the usual settings. */
export function addedToken(id: number, content: string, special: boolean): AddedToken {
  return { id, content, special, normalized: false, lstrip: false, rstrip: false, single_word: false };
}

/** The post-processor that puts BOS first, for the tokenizer.json of a vocabulary that wants it. */
export function bosTemplate(id: number, token: string): Component {
  const bos = { SpecialToken: { id: token, type_id: 0 } };
  const [a, b] = ['A', 'B'].map((name, type_id) => ({ Sequence: { id: name, type_id } }));
  return {
    type: 'TemplateProcessing',
    single: [bos, a],
    pair: [bos, a, { SpecialToken: { id: token, type_id: 1 } }, b],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

/** The tokenizer files of a Hugging Face folder for a vocabulary of another format. */
export function writeHfFiles(
  frame: Frame,
  { settings, tokens, merges }: BytePairs,
  { bosId, eosIds, chatTemplate }: { bosId?: number; eosIds: readonly number[]; chatTemplate?: string },
): Map<string, string> {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const model = { type: 'BPE', ...settings, vocab, merges: [...merges.pairs()] };
  const text = (id: number | undefined) => (id === undefined ? undefined : tokens[id]);
  const config = {
    // The class that takes tokenizer.json as it stands; LlamaTokenizer builds a normalizer of its own.
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: text(bosId),
    eos_token: text(eosIds[0]),
    clean_up_tokenization_spaces: false,
    chat_template: chatTemplate,
  };
  return new Map([
    ['tokenizer.json', JSON.stringify({ ...frame, model })],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
  ]);
}

/** Token → id. @throws if a token is there twice, or is too long for any vocabulary (`CutMerges` tries every cut). */
export function uniqueIds(tokens: readonly string[], source: string): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (token.length > 1024)
      throw new FormatError(`${source}: token ${id} has ${token.length} characters (at most 1024)`);
    if (ids.has(token)) {
      throw new FormatError(`${source}: tokens ${ids.get(token)} and ${id} are both ${JSON.stringify(token)}`);
    }
    ids.set(token, id);
  }
  return ids;
}

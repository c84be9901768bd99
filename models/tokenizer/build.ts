import { FormatError } from '../../engine/file.ts';
import type { AddedToken, Component } from './schema.ts';

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

/**
 * Every way to cut each token into two tokens, best token first, as BPE merges: how Hugging Face turns the scores of
 * SentencePiece and the ranks of tiktoken into merges. Cuts of one token go by the ids of their parts.
 */
export function mergesOf(ids: ReadonlyMap<string, number>, bestFirst: Iterable<string>): [string, string][] {
  const merges: [string, string][] = [];
  for (const token of bestFirst) {
    const cuts: [left: string, right: string][] = [];
    for (let at = 1; at < token.length; at++) {
      const left = token.slice(0, at);
      if (!ids.has(left)) continue;
      const right = token.slice(at);
      if (ids.has(right)) cuts.push([left, right]);
    }
    // The left parts of one token have different lengths, so their ids alone decide.
    if (cuts.length > 1) cuts.sort(([a], [b]) => (ids.get(a) as number) - (ids.get(b) as number));
    merges.push(...cuts);
  }
  return merges;
}

/** Token → id. @throws if a token is there twice, or is too long for any vocabulary (`mergesOf` tries every cut). */
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

import { Tokenizer as Engine } from '@huggingface/tokenizers';
import type { Merges } from './merges.ts';
import { BYTE_LEVEL, GPT2, isolate } from './pretokenizers.ts';
import { type Component, emptyFrame, type Frame } from './schema.ts';

/** A byte-pair encoding. */
export interface BytePairs {
  /** What tokenizer.json's `model` says beside `vocab` and `merges`. */
  settings: Omit<Component, 'type'>;
  /** Token strings by id. */
  tokens: readonly (string | undefined)[];
  /** Ids by token string. */
  ids: ReadonlyMap<string, number>;
  merges: Merges;
}

const noPairs = { type: 'BPE', vocab: {}, merges: [] };

/** What the engine asks for a pair's rank, the pair written as JSON. Its own is a Map of all pairs. */
class Ranks extends Map<string, number> {
  readonly #merges: Merges;

  constructor(merges: Merges) {
    super();
    this.#merges = merges;
  }

  override get(pair: string): number | undefined {
    const [left, right] = JSON.parse(pair) as [string, string];
    return this.#merges.rank(left, right);
  }
}

/** The part of the engine's model that is used or replaced here; the library's own types cannot be imported by path. */
export interface Model {
  /** Token strings by id. */
  vocab: readonly (string | undefined)[];
  tokens_to_ids: ReadonlyMap<string, number>;
  unk_token?: string | null;
  unk_token_id?: number;
  /** Only byte-pair encodings have them. */
  bpe_ranks?: ReadonlyMap<string, number>;
}

/** The engine's model of a byte-pair encoding, on the tables that are there already. */
export function bytePairModel({ settings, tokens, ids, merges }: BytePairs): Model {
  const { model }: { model: Model } = new Engine({ ...emptyFrame, model: { ...settings, ...noPairs } }, {});
  model.tokens_to_ids = ids;
  model.vocab = tokens;
  model.bpe_ranks = new Ranks(merges);
  model.unk_token_id = model.unk_token == null ? undefined : ids.get(model.unk_token);
  return model;
}

/** The engine of a tokenizer.json; `continuation`: for pieces in mid-sequence, with no dummy prefix before the text. */
export function compile(frame: Frame, model: Model, { continuation }: { continuation: boolean }): Engine {
  const words = model.bpe_ranks && cutsBeforeSpaces(model.vocab) ? isolate('\u2581*[^\u2581]+') : null;
  const engine = new Engine(
    {
      ...frame,
      normalizer: frame.normalizer && normalizer(frame.normalizer, !continuation),
      pre_tokenizer: frame.pre_tokenizer ? preTokenizer(frame.pre_tokenizer, !continuation, words) : words,
      model: noPairs,
    },
    {},
  );
  engine.model = model;
  return engine;
}

/** The normalizer, without its dummy prefix if so wanted. The engine prepends to an empty text too, the Rust library does not. */
function normalizer(component: Component, prefix: boolean): Component {
  if (component.type === 'Prepend') {
    return { type: 'Replace', pattern: { Regex: '\\A(?=[\\s\\S])' }, content: prefix ? component.prepend : '' };
  }
  if (component.type !== 'Sequence') return component;
  return { ...component, normalizers: (component.normalizers as Component[]).map((c) => normalizer(c, prefix)) };
}

/**
 * The pre-tokenizer as Hugging Face's Rust library runs it, where the engine differs: digits are \p{N} there, not ASCII;
 * byte-level splits see Unicode's White_Space (U+0085 occurs in IMDB reviews); Metaspace splits unless told not to.
 */
function preTokenizer(component: Component, prefix: boolean, words: Component | null): Component {
  const sequence = (pretokenizers: Component[]): Component => ({ type: 'Sequence', pretokenizers });
  switch (component.type) {
    case 'Sequence':
      return sequence((component.pretokenizers as Component[]).map((c) => preTokenizer(c, prefix, words)));
    case 'Digits':
      return isolate(component.individual_digits ? '\\p{N}' : '\\p{N}+');
    case 'ByteLevel': {
      const addsPrefix = prefix && component.add_prefix_space === true;
      if (component.use_regex === false || addsPrefix) return { ...component, add_prefix_space: addsPrefix };
      return sequence([isolate(GPT2), BYTE_LEVEL]);
    }
    case 'Metaspace': {
      const metaspace = prefix ? component : { ...component, prepend_scheme: 'never' };
      const pieces = component.split === false ? words : isolate('\u2581[^\u2581]*|[^\u2581]+');
      return pieces ? sequence([metaspace, pieces]) : metaspace;
    }
    default:
      return component;
  }
}

/**
 * Whether no merge can reach from a word into the next (no token holds ▁ after another character), so that text may be cut
 * before each run of ▁ without changing a token. Merging a whole text at once takes ten times as long.
 */
const cutsBeforeSpaces = (tokens: readonly (string | undefined)[]): boolean =>
  !tokens.some((token) => token !== undefined && /[^\u2581]\u2581/.test(token));

import { Tokenizer as Engine } from '@huggingface/tokenizers';
import { BYTE_LEVEL, GPT2, isolate } from './pretokenizers.ts';
import type { Component, TokenizerJson } from './schema.ts';

/**
 * The engine of a tokenizer.json, or (given the engine of the whole text) the one for pieces in mid-sequence: the same
 * model behind components that put no dummy prefix before the text.
 */
export function compile(json: TokenizerJson, whole?: Engine): Engine {
  const prefix = whole === undefined;
  const words = cutsBeforeSpaces(json.model) ? isolate('\u2581*[^\u2581]+') : null;
  const engine = new Engine(
    {
      ...json,
      normalizer: json.normalizer && normalizer(json.normalizer, prefix),
      pre_tokenizer: json.pre_tokenizer ? preTokenizer(json.pre_tokenizer, prefix, words) : words,
      model: whole ? { ...json.model, vocab: {}, merges: [] } : json.model,
    },
    {},
  );
  if (whole) engine.model = whole.model;
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
function cutsBeforeSpaces(model: TokenizerJson['model']): boolean {
  return model.type === 'BPE' && !Object.keys(model.vocab).some((token) => /[^\u2581]\u2581/.test(token));
}

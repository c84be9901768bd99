import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Ġ and Ċ are how byte-level vocabularies spell space and line feed.
const characters = [..."abcdefghijklmnopqrstuvwxyzABDEINRSTW0123456789.,:;!?'#<>[]/{}-_ĠĊ"];

/**
 * Writes tokenizer.json and tokenizer_config.json of a vocabulary of single characters, as many as `vocabSize` allows
 * beside <unk>, <s> and </s>: the golden models have no tokenizer of their own. Other characters are <unk>. `bos`: a text
 * begins with <s>.
 */
export function writeCharacterTokenizer(folder: string, vocabSize: number, { bos = false } = {}): void {
  const tokens = ['<unk>', '<s>', '</s>', ...characters].slice(0, vocabSize);
  const special = (content: string, id: number) => ({
    ...{ id, content, special: true, normalized: false },
    ...{ lstrip: false, rstrip: false, single_word: false },
  });
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const template = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
  };
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const tokenizer = {
    version: '1.0',
    added_tokens: tokens.slice(0, 3).map(special),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: bos ? template : null,
    decoder: byteLevel,
    model: { type: 'BPE', unk_token: '<unk>', vocab, merges: [] },
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  const chat_template =
    '{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
  const config = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', chat_template };
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
}

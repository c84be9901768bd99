import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Tokenizer as Engine } from '@huggingface/tokenizers';
import { FormatError, readJson } from '../../engine/file.ts';
import { decoderOf } from './decoder.ts';
import { bytePairModel, compile, type Model } from './engine.ts';
import { type Companions, endIds, JsonTokenizer } from './json.ts';
import { type LongArray, parseWithLongArray } from './longArray.ts';
import { ListedMerges } from './merges.ts';
import { emptyFrame, type Frame } from './schema.ts';

type Json = Record<string, unknown>;

/**
 * Opens Hugging Face's tokenizer.json with the settings of the files beside it. Whether BOS is added is what its
 * post-processor does to a text.
 *
 * @throws naming the file if it is no usable tokenizer.json.
 */
export async function openTokenizerJson(file: string): Promise<JsonTokenizer> {
  const companions = await readCompanions(dirname(file));
  const { value, array: merges } = parse(await readFile(file), file);
  try {
    const { model: settings, ...components } = value;
    const frame = { ...emptyFrame, ...components } as Frame;
    frame.added_tokens ??= [];
    const model = modelOf(settings, frame, merges);
    const engine = compile(frame, model, { continuation: false });
    const [plain] = engine.encode('a', { add_special_tokens: false }).ids;
    const [first] = engine.encode('a').ids;
    const addsBos = first !== plain;
    const idOf = (token: string) => model.tokens_to_ids.get(token);
    const named = companions.bosToken === undefined ? companions.bosId : idOf(companions.bosToken);
    return new JsonTokenizer({
      frame,
      model,
      decoder: decoderOf(frame.decoder),
      bosId: addsBos ? first : named,
      addsBos,
      eosIds: endIds(companions, idOf, []),
      chatTemplate: companions.chatTemplate,
      files: () => readFiles(file),
    });
  } catch (error) {
    throw new FormatError(`${file}: no usable tokenizer.json: ${(error as Error).message}`, { cause: error });
  }
}

function parse(bytes: Buffer, file: string): { value: Json; array?: LongArray } {
  if (!isUtf8(bytes)) throw new FormatError(`${file}: not UTF-8`);
  try {
    const { value, array } = parseWithLongArray(bytes, 'merges');
    if (isObject(value)) return { value, array };
  } catch (error) {
    throw new FormatError(`${file}: not JSON: ${(error as Error).message}`);
  }
  throw new FormatError(`${file}: not a JSON object`);
}

/** The engine's model, with the added tokens; `list`: the merges if they were parsed apart. @throws if it is malformed */
function modelOf(settings: unknown, frame: Frame, list: LongArray | undefined): Model {
  if (!isObject(settings) || !isObject(settings.vocab)) throw new FormatError('model.vocab is missing');
  if (!Array.isArray(frame.added_tokens)) throw new FormatError('added_tokens is no list');
  const { type, vocab, merges, ...rest } = settings;
  const limit = 2 * (Object.keys(vocab).length + frame.added_tokens.length);
  const ids = new Map<string, number>();
  const tokens: string[] = [];
  // Ids become array indices: one that is far beyond the number of tokens would allocate without bound.
  const add = (token: unknown, id: unknown): void => {
    if (typeof token !== 'string' || !Number.isInteger(id) || Number(id) < 0 || Number(id) > limit) {
      throw new FormatError(`token ${JSON.stringify(token)} has id ${id} in a vocabulary of ${limit / 2}`);
    }
    ids.set(token, Number(id));
    tokens[Number(id)] = token;
  };
  if (!Array.isArray(vocab)) for (const token in vocab) add(token, vocab[token]);
  for (const { content, id } of frame.added_tokens) add(content, id);
  if (type !== 'BPE' && type !== undefined) return new Engine({ ...frame, model: settings }, {}).model;
  if (!Array.isArray(merges)) throw new FormatError('model.merges is no list');
  const all = merges.length > 0 ? merges : (list ?? merges);
  return bytePairModel({ settings: rest, tokens, ids, merges: new ListedMerges(tokens, ids, all, 'model.') });
}

/** The settings that Hugging Face's files in `folder` give a tokenizer; none of them has to be there. */
export async function readCompanions(folder: string): Promise<Companions> {
  const read = async (name: string): Promise<Json> => (await optional(readObject(join(folder, name)))) ?? {};
  const [settings, map, generation, model] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json', 'config.json'].map(read),
  );
  const template = await optional(readFile(join(folder, 'chat_template.jinja'), 'utf8'));
  const ids = (value: unknown) =>
    [value].flat().filter((id): id is number => Number.isInteger(id) && (id as number) >= 0);
  return {
    bosToken: tokenText(settings.bos_token ?? map.bos_token),
    bosId: ids(model.bos_token_id)[0],
    eosToken: tokenText(settings.eos_token ?? map.eos_token),
    eosIds: [...ids(generation.eos_token_id), ...ids(model.eos_token_id)],
    addsBos: typeof settings.add_bos_token === 'boolean' ? settings.add_bos_token : undefined,
    chatTemplate: template ?? templateOf(settings.chat_template),
  };
}

/** A special token is a string, or an object with its `content`. */
function tokenText(token: unknown): string | undefined {
  const text = typeof token === 'object' && token !== null ? (token as Json).content : token;
  return typeof text === 'string' ? text : undefined;
}

/** A chat template is one text, or a list of named ones, of which `default` is for chats without tools. */
function templateOf(value: unknown): string | undefined {
  const named = Array.isArray(value) ? (value as Json[]).find((entry) => entry?.name === 'default')?.template : value;
  return typeof named === 'string' ? named : undefined;
}

function readFiles(file: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>([['tokenizer.json', readFileSync(file)]]);
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja']) {
    try {
      files.set(name, readFileSync(join(dirname(file), name)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return files;
}

/** @throws FormatError if the file is there and holds no JSON object. */
async function readObject(file: string): Promise<Json> {
  const value = await readJson(file);
  if (isObject(value) && !Array.isArray(value)) return value;
  throw new FormatError(`${file}: not a JSON object`);
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

/** What `read` resolves to, or undefined where there is no such file. */
async function optional<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FormatError, readJson } from '../../engine/file.ts';
import { decoderOf } from './decoder.ts';
import { compile } from './engine.ts';
import { type Companions, endIds, JsonTokenizer } from './json.ts';
import type { Component, TokenizerJson } from './schema.ts';

type Json = Record<string, unknown>;

/**
 * Opens Hugging Face's tokenizer.json with the settings of the files beside it. Whether BOS is added is what its
 * post-processor does to a text.
 *
 * @throws naming the file if it is no usable tokenizer.json.
 */
export async function openTokenizerJson(file: string): Promise<JsonTokenizer> {
  const companions = await readCompanions(dirname(file));
  const json = await readObject(file);
  try {
    checkIds(json);
    const complete = {
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      ...json,
    } as TokenizerJson;
    complete.added_tokens ??= [];
    const engine = compile(complete);
    const [plain] = engine.encode('a', { add_special_tokens: false }).ids;
    const [first] = engine.encode('a').ids;
    const addsBos = first !== plain;
    const tokens: string[] = [];
    for (const [token, id] of engine.get_vocab()) tokens[id] = token;
    const idOf = (token: string) => engine.token_to_id(token);
    const named = companions.bosToken === undefined ? companions.bosId : idOf(companions.bosToken);
    const vocabulary = {
      tokens,
      added: complete.added_tokens,
      decoder: decoderOf(complete.decoder),
      bosId: addsBos ? first : named,
      addsBos,
      eosIds: endIds(companions, idOf, []),
      chatTemplate: companions.chatTemplate,
      json: () => complete,
      files: () => readFiles(file),
    };
    return new JsonTokenizer(vocabulary, engine);
  } catch (error) {
    throw new FormatError(`${file}: no usable tokenizer.json: ${(error as Error).message}`, { cause: error });
  }
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
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new FormatError(`${file}: not a JSON object`);
}

/** What `read` resolves to, or undefined where there is no such file. */
async function optional<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Ids become array indices: one that is far beyond the number of tokens would allocate without bound. */
function checkIds(json: Json): void {
  const { model, added_tokens: added = [] } = json as { model?: Partial<Component>; added_tokens?: unknown };
  const vocab = model?.vocab;
  if (typeof vocab !== 'object' || vocab === null) throw new FormatError('model.vocab is missing');
  if (!Array.isArray(added)) throw new FormatError('added_tokens is no list');
  const entries: [token: unknown, id: unknown][] = added.map((token: Json) => [token?.content, token?.id]);
  const count = Object.keys(vocab).length + entries.length;
  if (!Array.isArray(vocab)) for (const entry of Object.entries(vocab)) entries.push(entry);
  for (const [token, id] of entries) {
    if (typeof token !== 'string' || !Number.isInteger(id) || Number(id) < 0 || Number(id) > 2 * count) {
      throw new FormatError(`token ${JSON.stringify(token)} has id ${id} in a vocabulary of ${count}`);
    }
  }
}

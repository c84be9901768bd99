import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join, resolve as resolvePath } from 'node:path';
import { FormatError } from '../engine/file.ts';
import { catalog } from '../models/catalog.ts';
import { type Checkpoint, openCheckpoint } from '../models/checkpoint/index.ts';
import { LlamaModel } from '../models/llama.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { loadAdapter, readAdapterSettings } from '../peft/adapter.ts';
import { PeftModel } from '../peft/model.ts';
import type { Planned } from '../peft/plan.ts';
import { readSettings } from '../peft/settings.ts';
import type { Device } from './backend.ts';
import { type Given, need } from './config.ts';
import { flagName, type OptionName } from './options.ts';
import type { Output } from './output.ts';
import { localModel } from './pull.ts';

/** A model's file and tokenizer, open; its weights are not read yet. */
export interface OpenModel extends AsyncDisposable {
  checkpoint: Checkpoint;
  tokenizer: Tokenizer;
  /** What goes into an adapter's `base_model_name_or_path`: a Hugging Face id or folder, null for other files. */
  baseModel: string | null;
}

export async function openModel(nameOrPath: string, out: Output): Promise<OpenModel> {
  const checkpoint = await openCheckpoint(await localModel(nameOrPath, out));
  try {
    const entry = Object.hasOwn(catalog, nameOrPath) ? catalog[nameOrPath] : undefined;
    return {
      checkpoint,
      tokenizer: await checkpoint.tokenizer(),
      baseModel: entry?.baseModel ?? (checkpoint.format === 'hf' ? nameOrPath : null),
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** Reads the weights, and the adapter if there is one. */
export async function loadModel(
  { checkpoint }: OpenModel,
  { backend, dtype }: Pick<Device, 'backend' | 'dtype'>,
  out: Output,
  adapter?: string,
): Promise<PeftModel> {
  const bar = out.progress('reading weights', checkpoint.tensors.size);
  let peft: PeftModel;
  try {
    peft = new PeftModel(await LlamaModel.load(checkpoint, backend, { dtype, onTensor: (done) => bar.update(done) }));
  } finally {
    bar.stop();
  }
  if (adapter !== undefined) await loadAdapter(peft, adapter);
  return peft.eval();
}

/** What the memory planner asks about using a model with its adapter; undefined where the device has no limit. */
export async function plannedUse(
  { checkpoint }: OpenModel,
  { dtype, memory }: Device,
  adapter: string | undefined,
): Promise<Planned | undefined> {
  if (!memory) return undefined;
  return {
    checkpoint,
    adapter: adapter === undefined ? undefined : await readAdapterSettings(adapter),
    dtype,
    device: memory,
  };
}

/** The path of a file that is there, as it is from anywhere. What the catalogue names is no path, whatever lies here. */
export const wholePath = (path: string): string =>
  !Object.hasOwn(catalog, path) && existsSync(path) ? resolvePath(path) : path;

/** Options that an adapter's record gives a default of its own. */
const recorded = ['model', 'prompt', 'instruction', 'labels', 'maxLength', 'htmlBreaks', 'seed'] as const;

/**
 * What an adapter's `lorikeet.json` says about the accepted options that nobody gave; says which it takes and which differ.
 */
export async function recordedOptions(
  adapter: string | undefined,
  accepted: readonly OptionName[],
  given: Given,
  out: Output,
): Promise<Given> {
  if (adapter === undefined) return {};
  await access(adapter);
  const record = await readSettings(adapter);
  if (!record) {
    await readAdapterSettings(adapter).catch((error) => {
      const inner = join(adapter, 'adapter');
      throw existsSync(inner) ? new FormatError(`${error.message}; did you mean ${inner}?`) : error;
    });
    out.warn(`${adapter} does not say how it was trained (no lorikeet.json): prompt and labels are the defaults`);
    return {};
  }
  const known = recorded.filter((name) => accepted.includes(name) && record[name] !== undefined);
  const spelt = (value: unknown): string => JSON.stringify(typeof value === 'string' ? wholePath(value) : value);
  // Another seed is another draw, not another prompt.
  const differs = (name: (typeof recorded)[number]): boolean =>
    name !== 'seed' && given[name] !== undefined && spelt(given[name]) !== spelt(record[name]);
  const taken = known.filter((name) => given[name] === undefined);
  const list = (names: readonly OptionName[]): string => names.map((name) => flagName(name)).join(', ');
  if (taken.length > 0) out.line(`as recorded with the adapter: ${list(taken)}`);
  for (const name of known.filter(differs)) {
    out.warn(`--${flagName(name)} differs from what the adapter was trained with: ${JSON.stringify(record[name])}`);
  }
  return Object.fromEntries(taken.map((name) => [name, record[name]]));
}

export const needModel = (model: string | undefined): string =>
  need(model, 'model', 'name a model of the catalogue (lorikeet pull --help) or give a path');

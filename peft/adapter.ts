import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, makeFolder, replaceFile } from '../engine/file.ts';
import { fromBytes, parameter, type Tensor } from '../engine/index.ts';
import { SafetensorsFile, type SafetensorsTensor, writeSafetensors } from '../engine/safetensors.ts';
import { formatShape, type Shape, sameShape } from '../engine/shape.ts';
import { type AdapterSettings, adapterConfig, parseAdapterConfig } from './adapterConfig.ts';
import { linearSites, rankAndScale, targetedSites } from './lora.ts';
import type { PeftModel } from './model.ts';
import { pythonJson } from './pythonJson.ts';

const configFile = 'adapter_config.json';
export const tensorFile = 'adapter_model.safetensors';

/** peft's names and shapes of the tensors an adapter consists of on this model. */
function expectedTensors(peft: PeftModel, settings: AdapterSettings): Map<string, Shape> {
  if (settings.method === 'prompt') {
    return new Map([['prompt_embeddings', [settings.config.virtualTokens, peft.model.config.hiddenSize]]]);
  }
  const { config } = settings;
  return new Map(
    targetedSites(linearSites(peft.model), config).flatMap(({ name, linear }): [string, Shape][] => {
      const { r } = rankAndScale(config, name);
      return [
        [`base_model.model.${name}.lora_A.weight`, [r, linear.inFeatures]],
        [`base_model.model.${name}.lora_B.weight`, [linear.outFeatures, r]],
      ];
    }),
  );
}

/** @throws FormatError naming the first tensors that are missing, unexpected or of another shape */
function checkTensors(path: string, found: SafetensorsFile['tensors'], expected: Map<string, Shape>): void {
  const problems = [...expected].flatMap(([name, shape]) => {
    const entry = found.get(name);
    if (!entry) return [`${name} is missing`];
    if (entry.dtype !== 'F32') return [`${name} is ${entry.dtype}, adapters are F32`];
    return sameShape(entry.shape, shape)
      ? []
      : [`${name} has shape ${formatShape(entry.shape)}, the model needs ${formatShape(shape)}`];
  });
  for (const name of found.keys()) if (!expected.has(name)) problems.push(`${name} is unexpected`);
  if (problems.length > 0) {
    const more = problems.length > 4 ? `; and ${problems.length - 4} more` : '';
    throw new FormatError(`${path}: the adapter does not fit the model: ${problems.slice(0, 4).join('; ')}${more}`);
  }
}

/** The text of a folder's adapter_config.json, and what it says. */
async function readConfig(folder: string): Promise<{ source: string; settings: AdapterSettings }> {
  const path = join(folder, configFile);
  const source = await readFile(path, 'utf8').catch((error) => {
    throw new FormatError(`${folder}: not an adapter folder: ${error.message}`);
  });
  return { source, settings: parseAdapterConfig(source, path) };
}

/**
 * An adapter folder's settings, without its tensors.
 * @throws FormatError when it is none, or asks for something unsupported
 */
export const readAdapterSettings = async (folder: string): Promise<AdapterSettings> =>
  (await readConfig(folder)).settings;

/**
 * Loads an adapter folder as peft writes it and makes the adapter active. Its matrices are trainable leaves.
 * @throws FormatError when the config asks for something unsupported or the tensors do not fit the model, naming them
 */
export async function loadAdapter(peft: PeftModel, folder: string, name = 'default'): Promise<void> {
  const { source, settings } = await readConfig(folder);
  await using file = await SafetensorsFile.open(join(folder, tensorFile));
  checkTensors(file.path, file.tensors, expectedTensors(peft, settings));
  const { backend } = peft.model;
  const read = async (tensor: string): Promise<Tensor> => {
    const { shape } = file.tensors.get(tensor) as { shape: Shape };
    return parameter(fromBytes(await file.read(tensor), shape, 'f32', backend));
  };
  if (settings.method === 'prompt') {
    peft.addPromptEmbeddings(settings.config, await read('prompt_embeddings'), name, source);
    return;
  }
  peft.addLoraWeights(settings.config, await readPairs(file, read), name, source);
}

async function readPairs(file: SafetensorsFile, read: (name: string) => Promise<Tensor>) {
  const pairs = new Map<string, { a: Tensor; b: Tensor }>();
  for (const name of file.tensors.keys()) {
    const path = /^base_model\.model\.(.*)\.lora_A\.weight$/.exec(name)?.[1];
    if (path) pairs.set(path, { a: await read(name), b: await read(name.replace('.lora_A.', '.lora_B.')) });
  }
  return pairs;
}

/**
 * Writes the active adapter as peft does: what was loaded and not changed comes out byte for byte. Files appear whole or
 * not at all.
 * @param baseModel Hugging Face id of the model it was trained on; null where it has none
 */
export async function saveAdapter(peft: PeftModel, folder: string, baseModel: string | null): Promise<void> {
  const { active } = peft;
  if (!active) throw new Error('saveAdapter: no adapter is active');
  await makeFolder(folder);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, t] of peft.namedParameters())
    tensors.set(name, { dtype: 'F32', shape: t.shape, data: () => f32Bytes(t) });
  await writeSafetensors(join(folder, tensorFile), tensors);
  const config = active.source ?? pythonJson(adapterConfig(active, peft.model.config, baseModel));
  await replaceFile(join(folder, configFile), (file) => file.writeFile(config));
  await replaceFile(join(folder, 'README.md'), (file) => file.writeFile(modelCard(active.method, baseModel)));
}

/** Float32 bytes of a tensor on any backend. */
async function f32Bytes(t: Tensor): Promise<Uint8Array> {
  const values = Float32Array.from(await t.data());
  return new Uint8Array(values.buffer);
}

/** The front matter hubs and peft read, and how to load it. */
function modelCard(method: 'lora' | 'prompt', baseModel: string | null): string {
  const base = baseModel ?? '';
  return [
    '---',
    `base_model: ${base || "''"}`,
    'library_name: peft',
    'pipeline_tag: text-generation',
    'tags:',
    `- ${base ? `base_model:adapter:${base}` : "'base_model:adapter:'"}`,
    ...(method === 'lora' ? ['- lora'] : []),
    '- transformers',
    '---',
    '',
    `A ${method === 'lora' ? 'LoRA' : 'prompt tuning'} adapter trained with Lorikeet.`,
    '',
    '```',
    'lorikeet eval --adapter THIS_FOLDER --data FILE',
    '```',
    '',
  ].join('\n');
}

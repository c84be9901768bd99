import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { DType } from '../../engine/dtype.ts';
import { FormatError, readJson } from '../../engine/file.ts';
import { type SafetensorsEntry, SafetensorsFile } from '../../engine/safetensors.ts';
import { openTokenizer } from '../tokenizer/index.ts';
import { type Checkpoint, checkTensors, type TensorInfo } from './checkpoint.ts';
import { configFromHf } from './hfConfig.ts';

const dtypes: Partial<Record<SafetensorsEntry['dtype'], DType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/**
 * A Hugging Face folder: config.json, and model.safetensors or the shards of model.safetensors.index.json.
 * @throws FormatError naming the file and the setting or the tensors that do not fit
 */
export async function openHf(folder: string): Promise<Checkpoint> {
  const configPath = join(folder, 'config.json');
  if (!existsSync(configPath)) {
    const file = (await readdir(folder)).find((name) => name.endsWith('.gguf'));
    const hint = file ? `; did you mean ${join(folder, file)}?` : '';
    throw new FormatError(`${folder}: no config.json: not a Hugging Face model folder${hint}`);
  }
  const config = configFromHf(configPath, await readJson(configPath));
  const files: SafetensorsFile[] = [];
  const close = async () => {
    await Promise.all(files.map((file) => file.close()));
  };
  try {
    const stored = new Map<string, { file: SafetensorsFile; name: string }>();
    for (const [path, names] of await weightFiles(folder)) {
      const file = await SafetensorsFile.open(path);
      files.push(file);
      const missing = [...(names ?? [])].find((name) => !file.tensors.has(name));
      if (missing) throw new FormatError(`${path}: the index says that ${missing} is in it, it is not`);
      for (const name of file.tensors.keys()) {
        // Old checkpoints store the rotary frequencies, which the config already determines.
        if (name.endsWith('rotary_emb.inv_freq')) continue;
        if (names && !names.has(name)) throw new FormatError(`${path}: ${name} is not in the index`);
        stored.set(name, { file, name });
      }
    }
    if (config.tieWordEmbeddings) {
      // A tied checkpoint may store either name, or both: then the embedding counts, as in transformers.
      const shared = stored.get('model.embed_tokens.weight') ?? stored.get('lm_head.weight');
      if (shared) stored.set('model.embed_tokens.weight', shared);
      stored.delete('lm_head.weight');
    }
    const tensors = new Map<string, TensorInfo>();
    for (const [name, { file, name: storedName }] of stored) {
      const { dtype, shape } = file.tensors.get(storedName)!;
      const engineDType = dtypes[dtype];
      if (!engineDType) throw new FormatError(`${file.path}: ${storedName}: dtype ${dtype} is not supported`);
      tensors.set(name, { dtype: engineDType, shape });
    }
    checkTensors(folder, config, tensors);
    return {
      format: 'hf',
      path: folder,
      config,
      tensors,
      async read(name) {
        const source = stored.get(name);
        if (!source) throw new FormatError(`${folder}: there is no tensor ${name}`);
        return source.file.read(source.name);
      },
      tokenizer: () => openTokenizer(folder),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The folder's safetensors files, with the tensors that the index expects in each when there is one. */
async function weightFiles(folder: string): Promise<[path: string, names: Set<string> | undefined][]> {
  const present = new Set(await readdir(folder));
  if (present.has('model.safetensors')) return [[join(folder, 'model.safetensors'), undefined]];
  if (!present.has('model.safetensors.index.json')) {
    const pickle = [...present].find((name) => name.startsWith('pytorch_model'));
    const hint = pickle ? ` (${pickle} is there, but pickled weights are not read)` : '';
    throw new FormatError(`${folder}: no model.safetensors and no model.safetensors.index.json${hint}`);
  }
  const indexPath = join(folder, 'model.safetensors.index.json');
  const index = indexSchema.safeParse(await readJson(indexPath));
  if (!index.success) throw new FormatError(`${indexPath}: weight_map is not a map of tensor names to file names`);
  const byFile = new Map<string, Set<string>>();
  for (const [name, file] of Object.entries(index.data.weight_map)) {
    if (basename(file) !== file) throw new FormatError(`${indexPath}: ${file} is not the name of a file beside it`);
    if (!present.has(file)) throw new FormatError(`${indexPath}: ${name} is in ${file}, which is missing`);
    const names = byFile.get(file) ?? new Set();
    byFile.set(file, names.add(name));
  }
  return [...byFile].map(([file, names]) => [join(folder, file), names]);
}

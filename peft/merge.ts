import { join } from 'node:path';
import { isVacant, makeFolder, replaceFile } from '../engine/file.ts';
import { toBf16 } from '../engine/half.ts';
import { cast, Forest, noGrad, scope, type Tensor } from '../engine/index.ts';
import { type SafetensorsTensor, writeSafetensors } from '../engine/safetensors.ts';
import { expectedTensors, openCheckpoint } from '../models/checkpoint/index.ts';
import { toHfConfig } from '../models/config.ts';
import { LlamaModel } from '../models/llama.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { PeftModel } from './model.ts';

const probe = 'The film begins slowly, but its last half hour is among the best things I have seen in years.';

/** How far the merged model's logits are from those of model and adapter, over all rows of a probe text. */
export interface MergeReport {
  largestDifference: number;
  /** |logit| of largest size, to compare with. */
  largestLogit: number;
}

/**
 * Writes the model with its active LoRA adapter folded in, as a Hugging Face folder that transformers opens: weights (one
 * tensor in memory at a time; quantised ones become numbers), configuration, tokenizer. Then loads it and compares.
 * @throws where there is no active LoRA adapter, the folder is not empty, or the tokenizer cannot be written
 */
export async function saveMerged(
  peft: PeftModel,
  folder: string,
  tokenizer: Tokenizer,
  { dtype }: { dtype: 'float32' | 'bfloat16' },
): Promise<MergeReport> {
  const { active, model } = peft;
  if (active?.method === 'prompt') {
    throw new Error('merge: virtual tokens are inputs, not weights: a prompt tuning adapter cannot be merged');
  }
  if (!active) throw new Error('merge: no adapter is active');
  if (!(await isVacant(folder))) throw new Error(`merge: ${folder} is not empty`);
  const { bosTokenId, eosTokenIds } = model.config;
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const generation = { bos_token_id: bosTokenId, eos_token_id: eosTokenIds.length > 1 ? eosTokenIds : eosTokenIds[0] };
  const files = new Map<string, string | Uint8Array>([
    ...tokenizer.hfFiles(),
    ['generation_config.json', json(generation)],
    ['config.json', json(toHfConfig(model.config, dtype))],
  ]);
  await makeFolder(folder);
  await writeSafetensors(join(folder, 'model.safetensors'), mergedTensors(peft, dtype));
  // The configuration comes last: a folder that has it is complete.
  for (const [name, content] of files) await replaceFile(join(folder, name), (file) => file.writeFile(content));

  const ids = tokenizer.encode(probe);
  const expected = await logits(peft, ids);
  const checkpoint = await openCheckpoint(folder);
  try {
    const merged = new PeftModel(await LlamaModel.load(checkpoint, model.backend, { dtype: model.dtype }));
    try {
      return compare(expected, await logits(merged, ids));
    } finally {
      merged.dispose();
    }
  } finally {
    await checkpoint.close();
  }
}

/** The merged model's tensors, each made when it is written. */
function mergedTensors(peft: PeftModel, dtype: 'float32' | 'bfloat16'): Map<string, SafetensorsTensor> {
  const { model, sites } = peft;
  const own = new Map<string, Tensor>(model.namedTensors());
  for (const { name, linear } of sites) {
    own.set(`${name}.weight`, linear.weight);
    if (linear.bias) own.set(`${name}.bias`, linear.bias);
  }
  const bytes = (name: string): Promise<Uint8Array> =>
    noGrad(async () => {
      using _ = scope();
      const path = /^(.*)\.weight$/.exec(name)?.[1];
      const t = (path && peft.mergedWeight(path)) || (own.get(name) as Tensor);
      const values = await cast(t).data();
      const stored = dtype === 'float32' ? new Float32Array(values) : Uint16Array.from(values, toBf16);
      return new Uint8Array(stored.buffer);
    });
  return new Map(
    [...expectedTensors(model.config)].map(([name, shape]): [string, SafetensorsTensor] => [
      name,
      { dtype: dtype === 'float32' ? 'F32' : 'BF16', shape, data: () => bytes(name) },
    ]),
  );
}

/** Logits [T, V] of a text. */
const logits = (peft: PeftModel, ids: readonly number[]): Promise<ArrayLike<number>> =>
  noGrad(async () => {
    using _ = scope();
    const forest = new Forest();
    forest.add(-1, ids.length);
    return await peft.model.logits(peft.forward({ forest, ids })).data();
  });

function compare(expected: ArrayLike<number>, found: ArrayLike<number>): MergeReport {
  let largestDifference = 0;
  let largestLogit = 0;
  for (let i = 0; i < expected.length; i++) {
    largestDifference = Math.max(largestDifference, Math.abs(found[i] - expected[i]));
    largestLogit = Math.max(largestLogit, Math.abs(expected[i]));
  }
  return { largestDifference, largestLogit };
}

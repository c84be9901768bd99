import { join } from 'node:path';
import { type Backend, Forest } from '../../engine/index.ts';
import { SafetensorsFile } from '../../engine/safetensors.ts';
import type { BatchRows } from '../../models/batch.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel, type LlamaOptions } from '../../models/llama.ts';

/** Small random models with reference numbers by transformers and peft (test/golden/README.md). */
export const goldenModels = ['llama2', 'llama2-gqa-tied', 'llama3-scaled', 'llama-odd'] as const;
export const goldenPath = (...parts: string[]): string => join(import.meta.dirname, '..', 'golden', ...parts);

export async function loadGolden(name: string, backend: Backend, options: LlamaOptions = {}): Promise<LlamaModel> {
  const checkpoint = await openCheckpoint(goldenPath(name));
  try {
    return await LlamaModel.load(checkpoint, backend, options);
  } finally {
    await checkpoint.close();
  }
}

export type Numbers = Float32Array | Int32Array;

/** The f32 and i32 tensors of a reference file. */
export async function readNumbers(...path: string[]): Promise<Map<string, Numbers>> {
  await using file = await SafetensorsFile.open(goldenPath(...path));
  const out = new Map<string, Numbers>();
  for (const [name, { dtype }] of file.tensors) {
    const bytes = (await file.read(name)).slice().buffer;
    out.set(name, dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes));
  }
  return out;
}

/** One right-padded batch of a reference file as segments, and where its rows stand in the padded tensors. */
export interface GoldenBatch extends Pick<BatchRows, 'forest' | 'ids'> {
  /** Index of every row in the padded [B·T] order. */
  padded: number[];
  /** (row, token) of every label. */
  targets: [row: number, token: number][];
}

/** `virtual` rows stand before every sequence once, as the root that all share. */
export function goldenBatch(
  numbers: ReadonlyMap<string, Numbers>,
  batch: number,
  rows: number,
  virtual = 0,
): GoldenBatch {
  const field = (name: string): Numbers => numbers.get(`batch${batch}.${name}`) as Numbers;
  const [ids, mask, labels] = [field('input_ids'), field('attention_mask'), field('labels')];
  const T = ids.length / rows;
  const forest = new Forest();
  const root = virtual ? forest.add(-1, virtual) : -1;
  const out: GoldenBatch = { forest, ids: [], padded: [], targets: [] };
  const flat: number[] = [];
  for (let b = 0; b < rows; b++) {
    const start = forest.rows;
    const length = [...mask.subarray(b * T, (b + 1) * T)].reduce((n, x) => n + x, 0);
    forest.add(root, length);
    for (let t = 0; t < length; t++) {
      flat.push(ids[b * T + t]);
      out.padded.push(b * T + t);
      // transformers shifts: the label of token t + 1 is predicted by row t.
      if (t + 1 < length && labels[b * T + t + 1] >= 0) out.targets.push([start + t, labels[b * T + t + 1]]);
    }
  }
  out.ids = flat;
  return out;
}

/** max |a − b| / max |b| */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  let largest = 0;
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i] - b[i]));
    largest = Math.max(largest, Math.abs(b[i]));
  }
  return a.length === b.length ? worst / largest : Number.POSITIVE_INFINITY;
}

/** The tensors of an adapter that peft wrote. */
export const readAdapter = (model: string, kind: string, state: 'start' | 'trained'): Promise<Map<string, Numbers>> =>
  readNumbers(model, kind, state, 'adapter_model.safetensors');

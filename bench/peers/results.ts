// What the parts of `npm run bench:peers` find, as its JSON file holds it: a part that was measured takes the place of what the
// file held of it, the other parts stay.
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { replaceFile } from '../../engine/file.ts';
import type { Machine } from '../report.ts';
import type { Product } from './products.ts';
import type { Job, Turn } from './sides.ts';

/** What multiplies matrices, and limits to it: the columns of a table. */
export const engines = {
  wide: 'lorikeet, revectorized',
  narrow: 'lorikeet, 128-bit',
  peak256: '256-bit FMA peak',
  peak128: '128-bit FMA peak',
  web: 'onnxruntime-web',
  tfjs: 'tfjs-backend-wasm',
  native: 'onnxruntime-node',
  numpy: 'numpy',
  torch: 'torch',
} as const;

/** Rates of one library with one product, a value a round; a round measures every library once. */
export interface ProductRates extends Product {
  threads: number;
  /** One of `engines`; `weight` tells ours apart. */
  engine: string;
  weight: string;
  gflops: number[];
}

/** Both sides took turns with the same reviews. */
export interface Pairs {
  /** What computes, and tokens of all reviews without padding. */
  ours: { description: string; tokens: number };
  theirs: { description: string; tokens: number };
  batch: number;
  maxLength: number;
  /** Optimizer steps, or batches that are scored, of a turn. */
  steps: number;
  threads: number;
  pairs: { ours: Turn; theirs: Turn }[];
}

export interface PeakMemory {
  side: 'lorikeet' | 'transformers';
  job: string;
  dtype: string;
  loadedBytes: number;
  peakBytes: number;
}

/** Step time by tokens of a review. */
export interface Lengths {
  batch: number;
  points: { length: number; seconds: number; microBatch: number }[];
}

/** Ours against transformers + peft. */
export interface Comparison {
  title: string;
  /** How the table of bars names the ratio of reviews a second. */
  measure: string;
  job: Job;
  /** What their weights and activations are, and what our products are in. */
  theirs: 'float32' | 'bfloat16';
  ours: 'f32' | 'int16';
  /** Bars that the project has set itself. */
  least: number;
  aim: number;
}

export const comparisons = {
  train: {
    title: 'LoRA training, against f32',
    measure: 'LoRA training, reviews/s / transformers + peft f32',
    ...{ job: 'lora', theirs: 'float32', ours: 'f32', least: 2, aim: 3.5 },
  },
  'train-bf16': {
    title: 'LoRA training, against bf16',
    measure: 'LoRA training, reviews/s / transformers + peft bf16',
    ...{ job: 'lora', theirs: 'bfloat16', ours: 'f32', least: 0.9, aim: 1.7 },
  },
  'train-int16': {
    title: 'LoRA training with --compute int16, against f32',
    measure: 'LoRA training with --compute int16, reviews/s / transformers + peft f32',
    ...{ job: 'lora', theirs: 'float32', ours: 'int16', least: 2, aim: 3.5 },
  },
  'train-int16-bf16': {
    title: 'LoRA training with --compute int16, against bf16',
    measure: 'LoRA training with --compute int16, reviews/s / transformers + peft bf16',
    ...{ job: 'lora', theirs: 'bfloat16', ours: 'int16', least: 0.9, aim: 1.7 },
  },
  prompt: {
    title: 'Prompt tuning, against f32',
    measure: 'prompt tuning V = 8, reviews/s / transformers + peft f32',
    ...{ job: 'prompt', theirs: 'float32', ours: 'f32', least: 2, aim: 3.5 },
  },
  eval: {
    title: 'Evaluation, against f32',
    measure: 'evaluation, reviews/s / transformers f32',
    ...{ job: 'eval', theirs: 'float32', ours: 'f32', least: 2, aim: 4 },
  },
  'eval-bf16': {
    title: 'Evaluation, against bf16',
    measure: 'evaluation, reviews/s / transformers bf16',
    ...{ job: 'eval', theirs: 'bfloat16', ours: 'f32', least: 0.75, aim: 1.5 },
  },
  'eval-int16': {
    title: 'Evaluation with --compute int16, against f32',
    measure: 'evaluation with --compute int16, reviews/s / transformers f32',
    ...{ job: 'eval', theirs: 'float32', ours: 'int16', least: 2, aim: 4 },
  },
  'eval-int16-bf16': {
    title: 'Evaluation with --compute int16, against bf16',
    measure: 'evaluation with --compute int16, reviews/s / transformers bf16',
    ...{ job: 'eval', theirs: 'bfloat16', ours: 'int16', least: 0.75, aim: 1.5 },
  },
} as const satisfies Record<string, Comparison>;
export type ComparisonName = keyof typeof comparisons;
export const comparisonNames = Object.keys(comparisons) as ComparisonName[];

interface Parts extends Record<ComparisonName, Pairs> {
  /** `versions` of the libraries, or why one could not be measured. */
  gemm: { versions: Record<string, string>; rates: ProductRates[] };
  weights: { rates: ProductRates[] };
  memory: { processes: PeakMemory[] };
  /** Ours with all threads against ours with one. */
  scaling: Pairs;
  length: { series: Lengths[] };
}
export type PartName = keyof Parts;

/** When, where and with which sources a part was measured. */
interface Origin {
  machine: Machine;
  commit: string;
  command: string;
  /** The system's load average of the minute before; an idle machine has 0. */
  load: number;
}
export type Results = { [P in PartName]?: Parts[P] & { origin: Origin } };

export function readResults(file: string): Results {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

/** A line for each part, so that one that was measured again is one line of a diff. */
export async function saveResults(file: string, results: Results): Promise<void> {
  const parts = Object.entries(results).map(([part, result]) => `"${part}": ${JSON.stringify(result)}`);
  await mkdir(dirname(file), { recursive: true });
  await replaceFile(file, (handle) => handle.writeFile(`{\n${parts.join(',\n')}\n}\n`));
}

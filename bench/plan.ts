// What fine-tuning LLaMA 2 takes of a GPU's memory, and what fits on which card: the planner's own figures, by rehearsal with
// the CUDA kernels' table, so that no GPU is needed.
//
//   npm run bench:plan            prints the tables and writes bench/PLAN.md
import { writeFile } from 'node:fs/promises';
import type { MemoryModel } from '../engine/backends/rehearsal.ts';
import { createCudaBackend, type WeightDType } from '../engine/index.ts';
import { expectedTensors } from '../models/checkpoint/index.ts';
import type { LlamaConfig } from '../models/config.ts';
import type { AdapterSettings } from '../peft/adapterConfig.ts';
import type { Example } from '../peft/examples.ts';
import { defaultLora } from '../peft/lora.ts';
import {
  MemoryError,
  type MemoryParts,
  type Planned,
  planTraining,
  type TrainingPlan,
  totalBytes,
} from '../peft/plan.ts';

const llama2 = (hidden: number, intermediate: number, layers: number, heads: number, kvHeads = heads): LlamaConfig => ({
  ...{ vocabSize: 32000, hiddenSize: hidden, intermediateSize: intermediate, numHiddenLayers: layers },
  ...{ numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim: 128, rmsNormEps: 1e-5, ropeTheta: 10000 },
  ...{ maxPositionEmbeddings: 4096, tieWordEmbeddings: false, attentionBias: false, mlpBias: false },
  ...{ bosTokenId: 1, eosTokenIds: [2], raw: {} },
});
const models = {
  '7B': llama2(4096, 11008, 32, 32),
  '13B': llama2(5120, 13824, 40, 40),
  '70B': llama2(8192, 28672, 80, 64, 8),
};
const weights: Record<string, WeightDType> = { bf16: 'bf16', Q8_0: 'q8_0', Q4_K: 'q4_k' };
const methods: Record<string, AdapterSettings> = {
  'LoRA r 8, all layers': { method: 'lora', config: { ...defaultLora, targetModules: 'all-linear' } },
  'prompt, 8 tokens': { method: 'prompt', config: { virtualTokens: 8, init: 'vocab' } },
};
/** Cards by their memory in GiB. */
const cards = [16, 24, 40, 80];
/** Driver, context and modules. */
const TAKEN_BYTES = 2 ** 29;
/** Tokens of every example: what all share, and the answer. */
const [SHARED, ANSWER] = [48, 2];

/** A step's examples, each of so many tokens. */
interface Batch {
  readonly count: number;
  readonly length: number;
}
const short: Batch = { count: 8, length: 256 };
const longer: readonly Batch[] = [1024, 2048].map((length) => ({ count: 4, length }));

const examplesOf = ({ count, length }: Batch): Example[] =>
  Array.from({ length: count }, (_, index) => {
    const tokens = (n: number): number[] => new Array<number>(n).fill(1);
    const prompt = tokens(length - SHARED - ANSWER);
    return { index, shared: tokens(SHARED), prompt, answer: tokens(ANSWER), cut: false };
  });

function plannedOf(config: LlamaConfig, stored: WeightDType, adapter: AdapterSettings, device: MemoryModel): Planned {
  const tensors = new Map(
    [...expectedTensors(config)].map(([name, shape]) => [name, { dtype: shape.length === 1 ? 'f32' : stored, shape }]),
  );
  return { checkpoint: { config, tensors }, adapter, dtype: 'bf16', device };
}

/** How a step is computed on a device of so many bytes; undefined where none fits. */
async function planFor(planned: Planned, batch: Batch, capacity: number): Promise<TrainingPlan | undefined> {
  const options = { batchSize: batch.count, microBatch: 'auto', recompute: false, sharePrefix: true } as const;
  try {
    return await planTraining({ ...planned, device: { ...planned.device, capacity } }, examplesOf(batch), options);
  } catch (error) {
    if (error instanceof MemoryError) return undefined;
    throw error;
  }
}

const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(2);
const markdown = (rows: readonly (readonly string[])[]): string =>
  [rows[0], rows[0].map((_, i) => (i < 3 ? '---' : '---:')), ...rows.slice(1)]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');

/** What a step takes with the whole batch at once, and how it is computed on each card. */
async function figuresOf(planned: Planned, batch: Batch): Promise<{ parts: MemoryParts; fits: string[] }> {
  const whole = await planFor(planned, batch, Number.POSITIVE_INFINITY);
  if (!whole) throw new Error('a device of any size has too little memory');
  const fits = [];
  for (const card of cards) {
    const plan = await planFor(planned, batch, card * 2 ** 30 - TAKEN_BYTES);
    fits.push(plan ? `${plan.microBatch}${plan.recompute ? ', recomputed' : ''}` : '–');
  }
  return { parts: whole.parts, fits };
}

const backend = await createCudaBackend({ device: 'cuda-sim' });
const parts: (keyof MemoryParts)[] = ['weights', 'adapter', 'activations', 'working', 'scratch', 'gaps'];
const names = ['model', 'stored as', 'method'];
const onCards = cards.map((card) => `${card} GB`);
const shortRows = [[...names, ...parts, 'total', ...onCards]];
const longerRows = [[...names, ...longer.flatMap(({ length }) => [`total of ${length}`, ...onCards])]];
for (const [model, config] of Object.entries(models)) {
  for (const [type, stored] of Object.entries(weights)) {
    for (const [method, adapter] of Object.entries(methods)) {
      const planned = plannedOf(config, stored, adapter, backend.memoryModel);
      const name = [`LLaMA 2 ${model}`, type, method];
      const { parts: own, fits } = await figuresOf(planned, short);
      shortRows.push([...name, ...parts.map((part) => gib(own[part])), gib(totalBytes(own)), ...fits]);
      const cells = [];
      for (const batch of longer) {
        const figures = await figuresOf(planned, batch);
        cells.push(gib(totalBytes(figures.parts)), ...figures.fits);
      }
      longerRows.push([...name, ...cells]);
      console.log([...(shortRows.at(-1) ?? []), ...cells].join('  '));
    }
  }
}
await backend.close();

const page = `# Memory of LLaMA 2 on a GPU

Written by \`npm run bench:plan\`. Computed by the planner that \`lorikeet train\` asks before it reads weights (\`peft/plan.ts\`), with the
CUDA kernels' table and no GPU: no measurement. Of every example's tokens ${SHARED} are what all share; activations in bf16; the adapter
with its gradient and moments in f32. GiB at the step's worst moment with the whole batch at once.

Then, for cards of so many GiB less ${TAKEN_BYTES / 2 ** 30} for driver and modules, the micro-batch that the planner takes; *recomputed*: layers are
computed again in the backward pass; –: refused.

## A step of ${short.count} examples of ${short.length} tokens

${markdown(shortRows)}

## A step of ${longer[0].count} examples of ${longer.map(({ length }) => length).join(' or ')} tokens

${markdown(longerRows)}
`;
await writeFile(new URL('PLAN.md', import.meta.url), page);

import { type MemoryModel, Rehearsal } from '../engine/backends/rehearsal.ts';
import { byteLength, type ComputeDType } from '../engine/dtype.ts';
import { empty, type Observer, parameter, resetPeak, type Tensor, withContext } from '../engine/index.ts';
import type { Checkpoint } from '../models/checkpoint/index.ts';
import { type GenerateOptions, generateBatch } from '../models/generate.ts';
import { LlamaModel } from '../models/llama.ts';
import type { AdapterSettings } from './adapterConfig.ts';
import type { Example, RowOptions } from './examples.ts';
import { rankAndScale, targetedSites } from './lora.ts';
import { PeftModel } from './model.ts';
import { LabelScorer, type LabelTokens } from './score.ts';
import { Trainer } from './train.ts';
import { meanLoss } from './validate.ts';

/** What is computed, with what: a checkpoint's configuration and tensor types (its weights are not read) and an adapter. */
export interface Planned {
  checkpoint: Pick<Checkpoint, 'config' | 'tensors'>;
  adapter?: AdapterSettings;
  /** Type of the model's activations, by default f32. */
  dtype?: ComputeDType;
  /** The device's `memoryModel`. */
  device: MemoryModel;
}

/** Bytes that a computation takes of a device at its worst moment. */
export interface MemoryParts {
  weights: number;
  /** Adapter; in training with its gradient and moments. */
  adapter: number;
  /** Keys and values of earlier tokens. */
  cache: number;
  /** What the backward pass needs of the forward pass. */
  activations: number;
  /** What is alive beside all that for a moment. */
  working: number;
  /** Kernels' own. */
  scratch: number;
  /** Lost between all these: sizes are rounded up, and what is freed does not always fit what comes. */
  gaps: number;
}

/** What is evaluated between two steps: the labels of texts, or the loss of completions, `batchSize` at once. */
export type PlannedValidation = { examples: readonly Example[] } & ({ labels: LabelTokens } | { batchSize: number });

export interface TrainingPlan {
  microBatch: number;
  recompute: boolean;
  parts: MemoryParts;
}

/** A computation needs more memory than the device has. The message lists the parts. */
export class MemoryError extends Error {
  override name = 'MemoryError';
}

export const totalBytes = (parts: Partial<MemoryParts>): number => Object.values(parts).reduce((sum, n) => sum + n, 0);

/**
 * Chooses how many examples of a batch are computed at once, and whether layers are recomputed in the backward pass, so that
 * training fits into the memory that there is: the largest micro-batch that fits without recomputation, else with it. Numbers
 * come from a rehearsal of a step on the longest examples, and of the validation after it.
 * @throws MemoryError when nothing fits
 */
export async function planTraining(
  planned: Planned,
  examples: readonly Example[],
  options: {
    batchSize: number;
    microBatch: number | 'auto';
    recompute: boolean;
    sharePrefix: boolean;
    validation?: PlannedValidation;
  },
): Promise<TrainingPlan> {
  const { batchSize, recompute, sharePrefix, validation } = options;
  const longest = longestFirst(examples);
  const largest = Math.min(batchSize, options.microBatch === 'auto' ? batchSize : options.microBatch, longest.length);
  let least: TrainingPlan | undefined;
  for (const again of recompute ? [true] : [false, true]) {
    for (let microBatch = largest; microBatch >= 1; microBatch = Math.floor(microBatch / 2)) {
      const step = { sharePrefix, recompute: again, validation };
      const parts = await trainingParts(planned, longest.slice(0, microBatch), step);
      const plan = { microBatch, recompute: again, parts };
      if (totalBytes(parts) <= planned.device.capacity) return plan;
      if (!least || totalBytes(parts) < totalBytes(least.parts)) least = plan;
      if (options.microBatch !== 'auto') break;
    }
  }
  if (!least) throw new Error('planTraining: there are no examples');
  const how = `micro-batch ${least.microBatch}${least.recompute ? ' and recomputation' : ''}`;
  throw refusal(`training with ${how}`, least.parts, planned.device);
}

/** @throws MemoryError when scoring the longest batch does not fit */
export async function planEvaluation(
  planned: Planned,
  examples: readonly Example[],
  labels: LabelTokens,
): Promise<MemoryParts> {
  const longest = longestFirst(examples);
  const parts = await rehearse(planned, (peft) => scoreLongest(peft, longest, labels));
  return fitting('evaluation', parts, planned.device);
}

async function scoreLongest(peft: PeftModel, longest: readonly Example[], labels: LabelTokens): Promise<void> {
  using scorer = new LabelScorer(peft, labels, longest[0].shared);
  const [batch] = scorer.batches(longest);
  await scorer.score(batch);
}

/** @throws MemoryError when generation with these prompts does not fit */
export async function planGeneration(
  planned: Planned,
  prompts: readonly (readonly number[])[],
  { maxNewTokens, shared }: Pick<GenerateOptions, 'maxNewTokens'> & { shared?: readonly number[] },
): Promise<MemoryParts> {
  // In a rehearsal all logits are 0, so that every first token is 0: the prompts' own pass is what takes most.
  const parts = await rehearse(planned, (peft) => generateBatch(peft, prompts, { shared, maxNewTokens, eosIds: [0] }));
  return fitting('generation', parts, planned.device);
}

const longestFirst = (examples: readonly Example[]): Example[] => {
  const length = ({ prompt, answer }: Example): number => prompt.length + answer.length;
  return [...examples].sort((a, b) => length(b) - length(a));
};

const trainingParts = (
  planned: Planned,
  examples: readonly Example[],
  {
    validation,
    ...options
  }: Omit<RowOptions, 'virtualTokens'> & { recompute: boolean; validation?: PlannedValidation },
): Promise<MemoryParts> =>
  rehearse(planned, async (peft, { adapterIsThere, phaseEnds }) => {
    const { length: batchSize } = examples;
    using trainer = new Trainer(peft, examples, { ...options, epochs: 1, lr: 0, batchSize });
    adapterIsThere();
    for await (const _ of trainer.run());
    if (!validation?.examples.length) return;
    phaseEnds();
    peft.eval();
    const longest = longestFirst(validation.examples);
    if ('labels' in validation) await scoreLongest(peft, longest, validation.labels);
    else await meanLoss(peft, longest.slice(0, validation.batchSize), validation.batchSize);
  });

/** What a computation tells its rehearsal. */
interface Signals {
  /** What is alive now stays. */
  adapterIsThere(): void;
  /** What follows has a worst moment of its own. */
  phaseEnds(): void;
}

/**
 * Runs a computation on a device that has no memory and sees what it takes: the parts of its worst phase. Resets the peak
 * that `memory()` reports.
 */
async function rehearse(
  { checkpoint, adapter, dtype, device }: Planned,
  run: (peft: PeftModel, signals: Signals) => Promise<unknown>,
): Promise<MemoryParts> {
  const backend = new Rehearsal(device);
  const { config, tensors } = checkpoint;
  let [cache, kept] = [0, 0];
  const observer: Observer = ({ def, specs }) => {
    const [{ shape, dtype }] = specs;
    // In one dimension it moves parameters together.
    if (def.name === 'appendRows' && shape.length === 3) {
      cache = 2 * config.numHiddenLayers * byteLength(dtype, shape);
    }
    if (def.name === 'linearCrossEntropy') kept = Math.max(kept, backend.bytes);
  };
  return withContext({ scope: undefined, observer }, async () => {
    const weight = (name: string): Tensor => {
      const { shape, dtype: stored } = tensors.get(name) as { shape: Tensor['shape']; dtype: Tensor['dtype'] };
      return empty(shape, { dtype: shape.length === 1 ? 'f32' : stored, backend });
    };
    const model = new LlamaModel(config, weight, { dtype });
    const weights = backend.bytes;
    const peft = new PeftModel(model);
    try {
      if (adapter) addEmpty(peft, adapter, backend);
      let before = backend.bytes;
      const phases: Omit<MemoryParts, 'scratch' | 'gaps'>[] = [];
      const phaseEnds = (): void => {
        const activations = Math.max(0, kept - before);
        const working = backend.peakBytes - before - cache - activations;
        phases.push({ weights, adapter: before - weights, cache, activations, working });
        [cache, kept] = [0, 0];
        backend.resetPeak();
      };
      const adapterIsThere = (): void => {
        before = backend.bytes;
      };
      for (;;) {
        await run(peft.eval(), { adapterIsThere, phaseEnds });
        phaseEnds();
        const worst = phases.reduce((a, b) => (totalBytes(b) > totalBytes(a) ? b : a));
        const { scratchBytes: scratch } = backend;
        const gaps = backend.totalBytes - totalBytes(worst) - scratch;
        if (gaps >= 0) return { ...worst, scratch, gaps };
        // Scratch memory stays, and a launch after the worst moment asked for more of it than there was then: in the next
        // step or batch, which has the same moment, they meet.
        phases.length = 0;
      }
    } finally {
      peft.dispose();
      resetPeak();
    }
  });
}

/** Gives the model an adapter of this shape, without the cost of drawing its values. */
function addEmpty(peft: PeftModel, adapter: AdapterSettings, backend: Rehearsal): void {
  const leaf = (...shape: number[]): Tensor => parameter(empty(shape, { backend }));
  if (adapter.method === 'prompt') {
    peft.addPromptEmbeddings(adapter.config, leaf(adapter.config.virtualTokens, peft.model.config.hiddenSize));
    return;
  }
  const { config } = adapter;
  const pairs = targetedSites([...peft.sites], config).map(({ name, linear }) => {
    const { r } = rankAndScale(config, name);
    return [name, { a: leaf(r, linear.inFeatures), b: leaf(linear.outFeatures, r) }] as const;
  });
  peft.addLoraWeights(config, new Map(pairs));
}

function fitting(what: string, parts: MemoryParts, device: MemoryModel): MemoryParts {
  if (totalBytes(parts) > device.capacity) throw refusal(what, parts, device);
  return parts;
}

function refusal(what: string, parts: MemoryParts, { capacity, holder = 'the device' }: MemoryModel): MemoryError {
  const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const rows = Object.entries(parts).filter(([, bytes]) => bytes > 0);
  const lines = [...rows, ['total', totalBytes(parts)] as const].map(
    ([name, bytes]) => `  ${name.padEnd(12)}${mebibytes(bytes).padStart(12)}`,
  );
  return new MemoryError(
    `not enough memory: ${what} needs ${mebibytes(totalBytes(parts))}, ${holder} has ${mebibytes(capacity)}\n${lines.join('\n')}`,
  );
}

import { AdamW, FlatParameters, Rng, schedule, type Tensor, tensor, withContext } from '../engine/index.ts';
import type { Example } from './examples.ts';
import type { PeftModel } from './model.ts';
import { findNonFinite, NonFiniteError } from './nonFinite.ts';
import { accumulateGradients, type Placed, type StepOptions, type StepTokens } from './step.ts';

interface TrainSettings extends Omit<StepOptions, 'virtualTokens'> {
  epochs: number;
  /** Examples an optimizer step learns from; the last step of an epoch may have fewer. */
  batchSize: number;
  /** Draws the order of the examples and the dropout masks. */
  seed: number;
  /** Take the examples in another order each epoch; false: as they come. */
  shuffle: boolean;
  schedule: 'constant' | 'linear' | 'cosine';
  /** Warm-up in steps, or as a fraction of all steps when below 1. */
  warmup: number;
  weightDecay: number;
}

/** What is taken where `TrainOptions` say nothing, on the command line as well; and all examples of a step at once. */
export const trainDefaults = {
  epochs: 2,
  batchSize: 8,
  seed: 0,
  shuffle: true,
  schedule: 'constant',
  warmup: 0,
  weightDecay: 0,
  sharePrefix: true,
  recompute: false,
} as const;

/** `trainDefaults` say what may be left out. */
export interface TrainOptions extends Partial<TrainSettings> {
  lr: number;
  /** Clips the gradient's norm; undefined = never. */
  maxGradNorm?: number;
  /** Aborted: the step that runs is finished, its event is the last. */
  signal?: AbortSignal;
  /** Steps after which the caller wants `state()` to be exactly theirs: the next one does not start before. */
  settle?(step: number): boolean;
}

export interface StepEvent extends StepTokens {
  /** Steps finished, of how many. */
  step: number;
  steps: number;
  /** Epoch of this step, from 1. */
  epoch: number;
  loss: number;
  /** L2 norm of the gradient before clipping. */
  gradNorm: number;
  lr: number;
  seconds: number;
  /** `state()` is now this step's. */
  settled: boolean;
}

/** What it takes to go on from a step as if never stopped: adapter and moments by name, on the host. */
export interface TrainState {
  step: number;
  tensors: Map<string, { shape: readonly number[]; values: Float32Array }>;
}

const adapterPrefix = 'adapter.';
const optimizerPrefix = 'optimizer.';

/** Trains a model's active adapter. One optimizer, one pass over the steps; `run()` may be left and entered again. */
export class Trainer implements Disposable {
  readonly #peft: PeftModel;
  readonly #examples: readonly Example[];
  readonly #options: TrainOptions & TrainSettings;
  readonly #flat: FlatParameters;
  readonly #optimizer: AdamW;
  readonly #rng: Tensor;
  readonly #lr: (step: number) => number;
  #step = 0;
  #order: { epoch: number; indices: readonly number[] } | undefined;

  /** @throws when no adapter is active or there is nothing to train on */
  constructor(peft: PeftModel, examples: readonly Example[], options: TrainOptions) {
    const parameters = peft.namedParameters();
    if (parameters.length === 0) throw new Error('train: no adapter is active');
    if (examples.length === 0) throw new Error('train: there are no examples');
    this.#peft = peft;
    this.#examples = examples;
    const { batchSize = trainDefaults.batchSize } = options;
    this.#options = { ...trainDefaults, microBatch: batchSize, ...options };
    this.#flat = new FlatParameters(parameters);
    const { weightDecay, maxGradNorm, seed, lr, schedule: kind, warmup } = this.#options;
    this.#optimizer = new AdamW(this.#flat, { weightDecay, maxNorm: maxGradNorm });
    const { backend } = peft.model;
    this.#rng = tensor(Int32Array.of(seed, 0), [2], { dtype: 'i32', backend }).persist();
    const steps = this.steps;
    this.#lr = schedule({ kind, lr, steps, warmup: warmup < 1 ? Math.ceil(warmup * steps) : warmup });
  }

  /** Optimizer steps in an epoch and in all. */
  get stepsPerEpoch(): number {
    return Math.ceil(this.#examples.length / this.#options.batchSize);
  }

  get steps(): number {
    return this.stepsPerEpoch * this.#options.epochs;
  }

  /** Steps finished. */
  get step(): number {
    return this.#step;
  }

  /** Epoch of step `step`, both from 0. */
  #epochOf(step: number): number {
    return Math.floor(step / this.stepsPerEpoch);
  }

  /** The order in which an epoch takes the examples: a function of the seed, drawn once an epoch. */
  #orderOf(epoch: number): readonly number[] {
    if (this.#order?.epoch === epoch) return this.#order.indices;
    const { seed, shuffle } = this.#options;
    const indices = shuffle ? new Rng(seed, epoch).permutation(this.#examples.length) : [...this.#examples.keys()];
    this.#order = { epoch, indices };
    return indices;
  }

  /** The examples of step `step` (from 0). Resuming needs no cursor but the step. */
  #batch(step: number): Placed[] {
    const { batchSize } = this.#options;
    const first = (step % this.stepsPerEpoch) * batchSize;
    const indices = this.#orderOf(this.#epochOf(step)).slice(first, first + batchSize);
    return indices.map((i, k) => ({ example: this.#examples[i], place: first + k }));
  }

  #accumulate(step: number): Promise<StepTokens> {
    this.#optimizer.zeroGrad();
    this.#rng.set([this.#options.seed, step]);
    const options = { ...this.#options, virtualTokens: this.#peft.virtualTokens };
    return accumulateGradients(this.#peft, this.#batch(step), this.#rng, options, (loss) =>
      this.#optimizer.addLoss(loss),
    );
  }

  /** Launches one step and returns its event, which waits for the device. */
  async #run(): Promise<(settled: boolean) => Promise<StepEvent>> {
    const started = performance.now();
    const step = this.#step;
    const tokens = await this.#accumulate(step);
    const lr = this.#lr(step);
    this.#optimizer.step(lr);
    this.#peft.weightsChanged();
    // The event is asked for later, when the next step has run as well.
    const snapshot = this.#optimizer.snapshot().then((report) => ({ ...report, ended: performance.now() }));
    // Nobody asks for it when a launch of the next step fails first.
    snapshot.catch(() => {});
    this.#step++;
    const epoch = this.#epochOf(step) + 1;
    return async (settled) => {
      const { loss, norm, bad, ended } = await snapshot;
      if (bad) await this.#explain(step);
      const seconds = (ended - started) / 1000;
      return { ...tokens, step: step + 1, steps: this.steps, epoch, loss, gradNorm: norm, lr, seconds, settled };
    };
  }

  /** A step's loss or norm was not finite and nothing has changed since: it is run again with every op looked at. */
  async #explain(step: number): Promise<never> {
    const culprit = await findNonFinite(() => this.#accumulate(step));
    throw new NonFiniteError(step + 1, culprit);
  }

  /**
   * Takes the steps that are left. Events come one step late, so that the device never waits for the host.
   * @throws NonFiniteError when a loss or gradient norm is not finite; the adapter is as before that step
   */
  async *run(): AsyncGenerator<StepEvent> {
    const { signal, settle } = this.#options;
    this.#peft.train();
    let pending: ((settled: boolean) => Promise<StepEvent>) | undefined;
    try {
      while (this.#step < this.steps && !signal?.aborted) {
        // A context of its own: scopes of the caller must not take what lives across steps.
        const finished = await withContext({ scope: undefined }, () => this.#run());
        if (pending) yield await pending(false);
        pending = finished;
        if (!settle?.(this.#step)) continue;
        yield await pending(true);
        pending = undefined;
      }
      if (pending) yield await pending(true);
    } finally {
      this.#peft.eval();
    }
  }

  /** Adapter, moments and step as they are now. */
  async state(): Promise<TrainState> {
    const tensors: TrainState['tensors'] = new Map();
    const put = async (name: string, t: Tensor): Promise<void> => {
      tensors.set(name, { shape: t.shape, values: Float32Array.from(await t.data()) });
    };
    for (const [name, t] of this.#peft.namedParameters()) await put(adapterPrefix + name, t);
    const moments = this.#optimizer.stateDict();
    for (const [name, t] of moments) if (name !== 'step') await put(optimizerPrefix + name, t);
    for (const t of moments.values()) t.dispose();
    return { step: this.#step, tensors };
  }

  /**
   * Goes on from a state of the same run.
   * @throws naming a tensor that is missing or of another shape
   */
  async restore({ step, tensors }: TrainState): Promise<void> {
    const { backend } = this.#peft.model;
    const part = (prefix: string): Map<string, Tensor> =>
      new Map(
        [...tensors]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, { shape, values }]) => [
            name.slice(prefix.length),
            tensor(values, shape, { backend }).persist(),
          ]),
      );
    const adapter = part(adapterPrefix);
    const moments = part(optimizerPrefix);
    moments.set('step', tensor(Int32Array.of(step), [1], { dtype: 'i32', backend }).persist());
    try {
      await this.#optimizer.loadStateDict(moments);
      for (const [name, t] of this.#peft.namedParameters()) {
        const saved = adapter.get(name);
        if (!saved) throw new Error(`checkpoint: the adapter's ${name} is missing`);
        t.set(await saved.data());
      }
    } finally {
      for (const t of [...adapter.values(), ...moments.values()]) t.dispose();
    }
    this.#step = step;
    this.#peft.weightsChanged();
  }

  [Symbol.dispose](): void {
    this.#optimizer.dispose();
    this.#flat.dispose();
    this.#rng.dispose();
  }
}

/** Trains the active adapter to the end: one event a step. For checkpoints and resuming use `Trainer`. */
export async function* train(
  peft: PeftModel,
  examples: readonly Example[],
  options: TrainOptions,
): AsyncGenerator<StepEvent> {
  using trainer = new Trainer(peft, examples, options);
  yield* trainer.run();
}

// The parts that run whole workloads: training and evaluation of both sides in turns, peak memory, scaling and length.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Measured } from '../workloads.ts';
import { Child } from './child.ts';
import { file, Progress, pythonWith, readReviews, type Settings, threadVariables } from './context.ts';
import type { Lengths, Pairs, PeakMemory } from './results.ts';
import type { Job, Loaded, LoadRequest, Reviews, RunRequest, Template, Turn } from './sides.ts';

export type TorchType = 'float32' | 'bfloat16';

function lorikeet({ revectorize }: Settings): Child {
  const args = [file('lorikeetServer.ts'), ...(revectorize ? ['--revectorize'] : [])];
  return new Child('lorikeet', process.execPath, args);
}

function transformers({ threads }: Settings, dtype: TorchType): Child {
  const python = pythonWith('torch', 'transformers', 'peft', 'gguf');
  return new Child(`transformers ${dtype}`, python, [file('transformers_server.py'), dtype], threadVariables(threads));
}

const loading = ({ model, batch, threads }: Settings, job: Job, reviews: Reviews): LoadRequest => ({
  ...{ do: 'load', job, model, batch, threads, seed: 0 },
  ...reviews,
});

const run = (side: Child, steps: number): Promise<Turn> => side.ask<Turn>({ do: 'run', steps } satisfies RunRequest);

type Loading = Loaded & { template: Template };

/** transformers takes the prompt's text around the review from us. */
async function loadBoth(ours: Child, theirs: Child, request: LoadRequest): Promise<[Loaded, Loaded]> {
  const { template, ...loaded } = await ours.ask<Loading>(request);
  return [loaded, await theirs.ask<Loaded>({ ...request, template })];
}

/**
 * Both sides do the same reviews in turns: after a step each to warm up, `pairs` times ours then theirs. `onPair` gets what
 * there is after every pair.
 * @throws when the first losses or the predictions say that the sides do not compute the same
 */
export async function measurePairs(
  title: string,
  settings: Settings,
  job: Job,
  dtype: TorchType,
  onPair: (result: Pairs) => Promise<void>,
): Promise<void> {
  const { pairs, steps, batch, maxLength, threads } = settings;
  using theirs = transformers(settings, dtype);
  using ours = lorikeet(settings);
  const reviews = await readReviews(settings, 0, (1 + pairs * steps) * batch);
  const [loadedOurs, loadedTheirs] = await loadBoth(ours, theirs, loading(settings, job, reviews));
  const result: Pairs = { ours: loadedOurs, theirs: loadedTheirs, batch, maxLength, steps, threads, pairs: [] };
  console.error(`${title}: ${loadedOurs.tokens} tokens with ${loadedOurs.description}`);
  console.error(`${title}: ${loadedTheirs.tokens} tokens with ${loadedTheirs.description}`);
  compare(job, await run(ours, 1), await run(theirs, 1));
  const progress = new Progress(title, pairs);
  for (let i = 0; i < pairs; i++) {
    progress.next(`a pair of ${steps} steps each`);
    result.pairs.push({ ours: await run(ours, steps), theirs: await run(theirs, steps) });
    await onPair(result);
  }
}

/** Before the first step a LoRA adapter changes nothing and a virtual token is random: only LoRA's losses have to agree. */
function compare(job: Job, ours: Turn, theirs: Turn): void {
  const [a, b] = [ours.losses[0], theirs.losses[0]];
  if (job === 'lora' && !(Math.abs(a - b) <= 0.02 * b)) {
    throw new Error(`the first loss is ${a} with lorikeet and ${b} with transformers: they do not compute the same`);
  }
}

export async function measureScaling(settings: Settings, onPair: (result: Pairs) => Promise<void>): Promise<void> {
  const { pairs, steps, batch, maxLength, threads } = settings;
  using one = lorikeet(settings);
  using all = lorikeet(settings);
  const reviews = await readReviews(settings, 0, (1 + pairs * steps) * batch);
  const request = loading(settings, 'lora', reviews);
  const ours = await all.ask<Loading>(request);
  const theirs = await one.ask<Loading>({ ...request, threads: 1 });
  const result: Pairs = { ours, theirs, batch, maxLength, steps, threads, pairs: [] };
  await run(all, 1);
  await run(one, 1);
  const progress = new Progress('scaling', pairs);
  for (let i = 0; i < pairs; i++) {
    progress.next(`a pair of ${steps} steps with ${threads} threads and with 1`);
    result.pairs.push({ ours: await run(all, steps), theirs: await run(one, steps) });
    await onPair(result);
  }
}

/** Reviews that surely have more tokens than are used: tokens have about four characters. */
const isLong = (text: string): boolean => text.length > 2000;
const MEMORY_STEPS = 2;

/** Two steps, or as many batches scored, on reviews of full length. A side is alone while it runs. */
export async function measureMemory(settings: Settings, withBf16: boolean): Promise<{ processes: PeakMemory[] }> {
  const reviews = await readReviews(settings, 0, MEMORY_STEPS * settings.batch, isLong);
  const processes: PeakMemory[] = [];
  const dtypes: TorchType[] = withBf16 ? ['float32', 'bfloat16'] : ['float32'];
  const jobs = ['lora', 'prompt', 'eval'] as const;
  const progress = new Progress('memory', jobs.length * (1 + dtypes.length));
  for (const job of jobs) {
    let template: Template | undefined;
    for (const dtype of ['ours', ...dtypes] as const) {
      progress.next(`${job}, ${dtype}`);
      using side = dtype === 'ours' ? lorikeet(settings) : transformers(settings, dtype);
      const loaded = await side.ask<Loading>({ ...loading(settings, job, reviews), template });
      template ??= loaded.template;
      const { peakBytes } = await run(side, MEMORY_STEPS);
      const kind = dtype === 'ours' ? (['lorikeet', 'f32'] as const) : (['transformers', dtype] as const);
      processes.push({ side: kind[0], job, dtype: kind[1], loadedBytes: loaded.peakBytes, peakBytes });
    }
  }
  return { processes };
}

const lengths = [64, 128, 256, 512, 1024];
const LENGTH_STEPS = 3;

/** Median time of a LoRA step on reviews of random tokens, as `bench:step` measures it. */
export async function measureLengths(settings: Settings): Promise<{ series: Lengths[] }> {
  const series: Lengths[] = [];
  const progress = new Progress('length', 2 * lengths.length);
  for (const batch of [2, 8]) {
    const points: Lengths['points'] = [];
    for (const length of lengths) {
      progress.next(`batch ${batch}, ${length} tokens a review`);
      const numbers = { batch, length, steps: LENGTH_STEPS, threads: settings.threads };
      const args = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
      if (!settings.revectorize) args.push('--no-revectorize');
      args.push('--model', settings.model, '--child', 'lora');
      const { stdout } = await promisify(execFile)(process.execPath, [file('../step.ts'), ...args]);
      const { seconds, microBatch = batch } = JSON.parse(stdout) as Measured;
      points.push({ length, seconds, microBatch });
    }
    series.push({ batch, points });
  }
  return { series };
}

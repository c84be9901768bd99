// The parts that run whole workloads: training and evaluation of both sides in turns, peak memory, scaling and length.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Measured } from '../workloads.ts';
import { Child } from './child.ts';
import { file, Progress, pythonWith, readReviews, type Settings, threadVariables } from './context.ts';
import type { Comparison, Lengths, Pairs, PeakMemory } from './results.ts';
import type { Job, Loaded, LoadRequest, Reviews, RunRequest, Template, Turn } from './sides.ts';

type TorchType = Comparison['theirs'];

function lorikeet({ revectorize }: Settings, products: Comparison['ours'] = 'f32'): Child {
  const args = [file('lorikeetServer.ts'), products, ...(revectorize ? ['--revectorize'] : [])];
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

/** Where pairs go: those that are there already, and what is called with all of them after each new one. */
export interface PairStore {
  earlier?: Pairs;
  onPair(result: Pairs): Promise<void>;
}

/**
 * Both sides do the same reviews in turns: after a step each to warm up, `pairs` times ours then theirs.
 * @throws when the first losses say that the sides do not compute the same, or earlier pairs had other settings
 */
async function takeTurns(
  title: string,
  settings: Settings,
  job: Job,
  [ours, theirs, theirThreads]: [Child, Child, number],
  { earlier, onPair }: PairStore,
): Promise<void> {
  const { pairs, steps, batch, maxLength, threads } = settings;
  const done = earlier?.pairs ?? [];
  const reviews = await readReviews(settings, done.length * steps * batch, (1 + pairs * steps) * batch);
  const request = loading(settings, job, reviews);
  const { template, ...loaded } = await ours.ask<Loading>(request);
  // The text around a review goes from our side to the other.
  const theirLoaded = await theirs.ask<Loaded>({ ...request, threads: theirThreads, template });
  for (const { tokens, description } of [loaded, theirLoaded])
    console.error(`${title}: ${tokens} tokens, ${description}`);
  const tokens = (now: Loaded, before?: { tokens: number }): number => now.tokens + (before?.tokens ?? 0);
  const result: Pairs = {
    ours: { description: loaded.description, tokens: tokens(loaded, earlier?.ours) },
    theirs: { description: theirLoaded.description, tokens: tokens(theirLoaded, earlier?.theirs) },
    ...{ batch, maxLength, steps, threads },
    pairs: [...done],
  };
  if (earlier) assertSameSettings(earlier, result);
  compare(job, await run(ours, 1), await run(theirs, 1));
  const progress = new Progress(title, 2 * pairs);
  for (let i = 0; i < pairs; i++) {
    progress.next(ours.name);
    const a = await run(ours, steps);
    progress.next(theirs.name);
    result.pairs.push({ ours: a, theirs: await run(theirs, steps) });
    await onPair(result);
  }
}

function assertSameSettings(earlier: Pairs, now: Pairs): void {
  const of = ({ ours, theirs, batch, maxLength, steps, threads }: Pairs): string =>
    JSON.stringify({ ours: ours.description, theirs: theirs.description, batch, maxLength, steps, threads });
  if (of(earlier) !== of(now))
    throw new Error(`--more: the earlier pairs had other settings: ${of(earlier)}, now ${of(now)}`);
}

/** Before the first step a LoRA adapter changes nothing and a virtual token is random: only LoRA's losses have to agree. */
function compare(job: Job, ours: Turn, theirs: Turn): void {
  const [a, b] = [ours.losses[0], theirs.losses[0]];
  if (job === 'lora' && !(Math.abs(a - b) <= 0.02 * b)) {
    throw new Error(`the first loss is ${a} on one side and ${b} on the other: they do not compute the same`);
  }
}

/** Ours against transformers + peft. */
export async function measurePairs(
  { title, job, ...sides }: Comparison,
  settings: Settings,
  store: PairStore,
): Promise<void> {
  using theirs = transformers(settings, sides.theirs);
  using ours = lorikeet(settings, sides.ours);
  await takeTurns(title, settings, job, [ours, theirs, settings.threads], store);
}

/** A LoRA step with all threads against one with one thread. */
export async function measureScaling(settings: Settings, store: PairStore): Promise<void> {
  using one = lorikeet(settings);
  using all = lorikeet(settings);
  await takeTurns('scaling', settings, 'lora', [all, one, 1], store);
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

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

interface Side {
  child: Child;
  threads: number;
}

/** Two sides that are compared, by their names. */
interface Match extends PairStore {
  ours: string;
  theirs: string;
}

/**
 * All sides do the same reviews in turns: after a step each to warm up, `pairs` rounds of one turn each. The text around a review
 * goes from the first side, which is ours, to the others.
 * @throws when the first losses say that sides do not compute the same, or earlier pairs had other settings
 */
async function takeTurns(
  title: string,
  settings: Settings,
  job: Job,
  sides: ReadonlyMap<string, Side>,
  matches: readonly Match[],
): Promise<void> {
  const { pairs, steps, batch, maxLength, threads } = settings;
  const done = Math.max(...matches.map(({ earlier }) => earlier?.pairs.length ?? 0));
  const reviews = await readReviews(settings, done * steps * batch, (1 + pairs * steps) * batch);
  const request = loading(settings, job, reviews);
  const loaded = new Map<string, Loaded>();
  const first = new Map<string, Turn>();
  let template: Template | undefined;
  for (const [name, { child, threads }] of sides) {
    const answer = await child.ask<Loading>({ ...request, threads, template });
    template ??= answer.template;
    console.error(`${title}: ${answer.tokens} tokens, ${answer.description}`);
    loaded.set(name, answer);
    first.set(name, await run(child, 1));
  }
  const results = matches.map(({ ours, theirs, earlier }): Pairs => {
    const side = (name: string, before?: { tokens: number }) => {
      const { description, tokens } = loaded.get(name) as Loaded;
      return { description, tokens: tokens + (before?.tokens ?? 0) };
    };
    const result: Pairs = {
      ours: side(ours, earlier?.ours),
      theirs: side(theirs, earlier?.theirs),
      ...{ batch, maxLength, steps, threads },
      pairs: [...(earlier?.pairs ?? [])],
    };
    if (earlier) assertSameSettings(earlier, result);
    compare(job, first.get(ours) as Turn, first.get(theirs) as Turn);
    return result;
  });
  const progress = new Progress(title, sides.size * pairs);
  for (let i = 0; i < pairs; i++) {
    const turns = new Map<string, Turn>();
    for (const [name, { child }] of sides) {
      progress.next(name);
      turns.set(name, await run(child, steps));
    }
    for (const [m, { ours, theirs, onPair }] of matches.entries()) {
      results[m].pairs.push({ ours: turns.get(ours) as Turn, theirs: turns.get(theirs) as Turn });
      await onPair(results[m]);
    }
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

/** Ours against transformers + peft in comparisons of one job: what several of them take part in has one turn a round. */
export async function measurePairs(
  comparisons: readonly (Comparison & PairStore)[],
  settings: Settings,
): Promise<void> {
  using children = new DisposableStack();
  const sides = new Map<string, Side>();
  const add = (name: string, start: () => Child): string => {
    if (!sides.has(name)) sides.set(name, { child: children.use(start()), threads: settings.threads });
    return name;
  };
  const matches = comparisons.map(({ ours, theirs, ...store }): Match => {
    return {
      ...store,
      ours: add(`lorikeet ${ours}`, () => lorikeet(settings, ours)),
      theirs: add(`transformers ${theirs}`, () => transformers(settings, theirs)),
    };
  });
  const [{ job, title }] = comparisons;
  await takeTurns(title, settings, job, sides, matches);
}

/** A LoRA step with all threads against one with one thread. */
export async function measureScaling(settings: Settings, store: PairStore): Promise<void> {
  using one = lorikeet(settings);
  using all = lorikeet(settings);
  const sides = new Map([
    ['all threads', { child: all, threads: settings.threads }],
    ['one thread', { child: one, threads: 1 }],
  ]);
  await takeTurns('scaling', settings, 'lora', sides, [{ ours: 'all threads', theirs: 'one thread', ...store }]);
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

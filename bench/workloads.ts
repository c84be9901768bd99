// The workloads of `npm run bench:step`.
import { memory, Profile, type ProfileEntry, Rng, resetPeak, withContext } from '../engine/index.ts';
import { generateBatch } from '../models/generate.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { labelledRows, loadData } from '../peft/data.ts';
import { evaluate } from '../peft/evaluate.ts';
import { Classification, type Labelled } from '../peft/task.ts';
import { defaultInstruction } from '../peft/template.ts';
import { type AdapterName, describeBackend, openSession, openTrainer, type Session } from './session.ts';
import { median } from './statistics.ts';

export interface Settings {
  model: string;
  data: string | undefined;
  batch: number;
  /** Tokens of a review. */
  length: number;
  steps: number;
  threads: number | undefined;
  revectorize: boolean;
  products: 'f32' | 'int16';
  recompute: boolean;
  sharePrefix: boolean;
}

export interface Measured {
  workload: string;
  /** What is timed: a step, a batch, an answer. */
  unit: string;
  backend: string;
  /** Seconds from the start of the process until everything is there: kernels, model, reviews, plan and adapter. */
  ready: number;
  /** Median and minimum over the units after the first. */
  seconds: number;
  fastest: number;
  /** Reviews, tokens of them with their prompts, and tokens that were computed, of one unit. */
  reviews: number;
  tokens: number;
  computed: number;
  longest: number;
  microBatch?: number;
  /** The most the process ever held, and the most its tensors did. */
  peakBytes: number;
  tensorBytes: number;
  ops: ProfileEntry[];
}

/** A model with reviews. `run` does one unit and says how many tokens it computed. */
interface Prepared {
  unit: string;
  reviews: number;
  tokens: number;
  /** Of a training step: the reviews that are computed at once. */
  microBatch?: number;
  run(): Promise<number>;
}

interface Setting extends Settings, Session {
  task: Classification;
  reviews: Labelled[];
}

const sequenceTokens = (reviews: readonly Labelled[]): number =>
  reviews.reduce((n, { example: e }) => n + e.shared.length + e.prompt.length + e.answer.length, 0);

/** One optimizer step a unit, on the same batch: a trainer with as many epochs as there will be units. */
const training =
  (adapter: AdapterName) =>
  async ({ reviews, ...s }: Setting): Promise<Prepared> => {
    const examples = reviews.map((r) => r.example);
    const { trainer, microBatch } = await openTrainer(s, adapter, examples, { ...s, epochs: s.steps + 2 });
    const steps = trainer.run();
    const run = async (): Promise<number> => {
      const { value, done } = await steps.next();
      if (done) throw new Error('the trainer has no step left');
      return value.tokens;
    };
    return { unit: 'step', reviews: reviews.length, tokens: sequenceTokens(reviews), microBatch, run };
  };

/** What can be measured, by name: adds an adapter and says what a unit is. */
export const workloads: Record<string, (s: Setting) => Prepared | Promise<Prepared>> = {
  lora: training('lora'),
  'lora-all': training('lora-all'),
  prompt: training('prompt'),
  eval({ peft, task, reviews: answered }) {
    const reviews = answered.map(({ example, label }) => ({ example: { ...example, answer: [] }, label }));
    const computed = reviews.reduce((n, { example }) => n + example.prompt.length, reviews[0].example.shared.length);
    return {
      unit: 'batch',
      reviews: reviews.length,
      tokens: sequenceTokens(reviews),
      async run() {
        for await (const _ of evaluate(peft, reviews, task.tokens));
        return computed;
      },
    };
  },
  generate({ peft, reviews: [{ example }] }) {
    const maxNewTokens = 64;
    return {
      unit: 'answer',
      reviews: 1,
      tokens: maxNewTokens,
      async run() {
        // Without end tokens every answer is as long.
        await generateBatch(peft, [[...example.shared, ...example.prompt]], { maxNewTokens, eosIds: [] });
        return maxNewTokens;
      },
    };
  },
};

/** Reviews of random tokens that stand for text, each of the full length; classes alternate. */
function syntheticReviews(task: Classification, tokenizer: Tokenizer, n: number, length: number): Labelled[] {
  const rng = new Rng(0);
  const texts = Array.from({ length: n }, (_, index) => ({ index, text: '', label: index % task.labels.length }));
  return task.examples(texts, true).map(({ example, label }) => {
    const ids = Array.from({ length }, () => 256 + rng.int(tokenizer.vocabSize - 256));
    return { label, example: { ...example, prompt: [...ids, ...example.prompt] } };
  });
}

async function readReviews(s: Settings, tokenizer: Tokenizer): Promise<{ task: Classification; reviews: Labelled[] }> {
  const options = { prompt: 'alpaca', instruction: defaultInstruction, maxLength: s.length } as const;
  if (s.data === undefined) {
    const task = new Classification(['negative', 'positive'], options, tokenizer);
    return { task, reviews: syntheticReviews(task, tokenizer, s.batch, s.length) };
  }
  const { rows, labels } = labelledRows((await loadData(s.data)).rows, s.data);
  const task = new Classification(labels, options, tokenizer);
  return { task, reviews: task.examples(rows.slice(0, s.batch), true) };
}

/** Loads the model, runs one unit to warm up, `steps` that are timed, and one with a clock around every op. */
export async function measure(workload: string, settings: Settings): Promise<Measured> {
  const session = await openSession(settings);
  const { task, reviews } = await readReviews(settings, session.tokenizer);
  resetPeak();
  const { unit, run, ...amounts } = await workloads[workload]({ ...settings, ...session, task, reviews });
  const ready = performance.now() / 1000;
  await run();
  const times: number[] = [];
  let computed = 0;
  for (let i = 0; i < settings.steps; i++) {
    const started = performance.now();
    computed = await run();
    times.push((performance.now() - started) / 1000);
  }
  // In KiB, by libuv's contract.
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  const tensorBytes = memory().peakBytes;
  const profile = new Profile();
  await withContext({ observer: profile.observer }, run);
  const { backend } = session;
  await backend.close();
  return {
    workload,
    unit,
    backend: describeBackend(backend),
    ready,
    seconds: median(times),
    fastest: Math.min(...times),
    ...amounts,
    computed,
    longest: Math.max(...reviews.map(({ example: e }) => e.shared.length + e.prompt.length + e.answer.length)),
    peakBytes,
    tensorBytes,
    ops: profile.entries(),
  };
}

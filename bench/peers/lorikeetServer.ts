// Our side of a comparison, in a process of its own: trains or evaluates as the CLI does.
//
//   node lorikeetServer.ts f32|int16 [--revectorize]
import { noGrad } from '../../engine/index.ts';
import { evaluate } from '../../peft/evaluate.ts';
import { Classification, type Labelled } from '../../peft/task.ts';
import { defaultInstruction } from '../../peft/template.ts';
import { describeBackend, openSession, openTrainer, type Session } from '../session.ts';
import { sum } from '../statistics.ts';
import { serve } from './child.ts';
import type { Loaded, LoadRequest, RunRequest, Template, Turn } from './sides.ts';

const products = process.argv[2] === 'int16' ? 'int16' : 'f32';
const revectorize = process.argv.includes('--revectorize');

/** Does the next so many steps. */
type Run = (steps: number) => Promise<Omit<Turn, 'peakBytes'>>;
let run: Run | undefined;

// In KiB, by libuv's contract.
const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

const tokensOf = ({ example: e }: Labelled): number => e.shared.length + e.prompt.length + e.answer.length;

async function load(request: LoadRequest): Promise<Loaded & { template: Template }> {
  const session = await openSession({ model: request.model, threads: request.threads, revectorize, products });
  const { tokenizer, backend } = session;
  const { labels, maxLength } = request;
  const options = { prompt: 'alpaca', instruction: defaultInstruction, maxLength } as const;
  const task = new Classification(labels, options, tokenizer);
  const rows = request.rows.map((row, index) => ({ index, ...row }));
  const reviews = task.examples(rows, request.job !== 'eval');
  run =
    request.job === 'eval' ? evaluation(session, task, reviews, request) : await training(session, reviews, request);
  const { before, after, joint } = task.template;
  return {
    description: `lorikeet, ${describeBackend(backend)}; weights as in the file`,
    tokens: sum(reviews.map(tokensOf)),
    peakBytes: peakBytes(),
    template: {
      before: tokenizer.decode(before),
      after: tokenizer.decode(after, { continuation: true }),
      joint,
    },
  };
}

async function training(session: Session, reviews: Labelled[], { job, batch }: LoadRequest): Promise<Run> {
  const examples = reviews.map(({ example }) => example);
  const options = { epochs: 1, batch, sharePrefix: true, recompute: false };
  const { trainer } = await openTrainer(session, job as 'lora' | 'prompt', examples, options);
  const events = trainer.run();
  return async (steps) => {
    const turn = { seconds: [] as number[], losses: [] as number[], computed: 0, predictions: [] };
    const first = trainer.step * batch;
    for (let i = 0; i < steps; i++) {
      const started = performance.now();
      const { value, done } = await events.next();
      if (done) throw new Error('there are no reviews left to train on');
      turn.seconds.push((performance.now() - started) / 1000);
      turn.losses.push(value.loss);
      turn.computed += value.tokens;
    }
    const done = reviews.slice(first, first + steps * batch);
    return { ...turn, reviews: done.length, tokens: sum(done.map(tokensOf)) };
  };
}

function evaluation({ peft }: Session, task: Classification, reviews: Labelled[], { batch }: LoadRequest): Run {
  let at = 0;
  return (steps) =>
    noGrad(async () => {
      const part = reviews.slice(at, at + steps * batch);
      at += part.length;
      const predictions: number[] = [];
      const started = performance.now();
      for await (const { predicted } of evaluate(peft, part, task.tokens)) predictions.push(predicted);
      const seconds = [(performance.now() - started) / 1000];
      const tokens = sum(part.map(tokensOf));
      const again = (part.length - 1) * part[0].example.shared.length;
      return { seconds, reviews: part.length, tokens, computed: tokens - again, losses: [], predictions };
    });
}

await serve(async (request: LoadRequest | RunRequest) => {
  if (request.do === 'load') return load(request);
  if (!run) throw new Error('nothing is loaded yet');
  return { ...(await run(request.steps)), peakBytes: peakBytes() } satisfies Turn;
});
process.exit();

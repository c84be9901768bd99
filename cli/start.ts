// `npm start`: a pretrained model is evaluated on the bundled reviews, fine-tuned with LoRA, and evaluated again.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { checkFlags, type Given } from './config.ts';
import { evaluate } from './eval.ts';
import { CliError, exitCodes, fail } from './exit.ts';
import { Output, withInterval } from './output.ts';
import { train } from './train.ts';
import { runVerb, type Verb } from './verb.ts';

const defaultModel = 'smollm2-135m-instruct-q4_1';
const reviews = (name: string): string => fileURLToPath(new URL(`demo/${name}.jsonl`, import.meta.url));

/** Keeps a command's result for the next one. */
class Kept extends Output {
  value: unknown;

  override result(value: object): void {
    this.value = value;
  }
}

/** Runs one of the commands and gives its result. */
async function step<T>(title: string, verb: Verb, given: Given): Promise<T> {
  const out = new Kept(false);
  out.line(`\n── ${title}`);
  await runVerb(verb, given, out);
  return out.value as T;
}

interface Accuracy {
  accuracy: number;
  ci95: [number, number];
}

async function demo(flags: Given): Promise<void> {
  const { model = defaultModel, threads, device } = checkFlags(flags);
  const common = { model, threads, device };
  const folder = join('runs', `demo-${new Date().toISOString().slice(0, 19).replace(/\D/g, '')}`);
  const test = { data: reviews('test'), ...common };
  const before = await step<Accuracy>('1/3 the model as it is, on 100 film reviews', evaluate, test);
  const { adapter } = await step<{ adapter: string }>('2/3 fine-tuning with LoRA on 200 others', train, {
    ...common,
    data: reviews('train'),
    out: folder,
  });
  const predictions = join(folder, 'predictions.jsonl');
  const after = await step<Accuracy>('3/3 the fine-tuned model, on the same 100', evaluate, {
    ...test,
    adapter,
    out: predictions,
  });
  const out = new Output(false);
  out.line(`\naccuracy before ${withInterval(before)}, after ${withInterval(after)} (Wilson 95%)`);
  out.line(`adapter      ${adapter}   (peft loads it)`);
  out.line(`predictions  ${predictions}`);
  if (after.ci95[0] <= before.ci95[1]) throw new CliError('goal', 'the gain is not significant: the intervals overlap');
}

const program = new Command('npm start --')
  .description('Evaluates a model on bundled film reviews, fine-tunes it with LoRA, evaluates it again.')
  .option('--model <NAME|PATH>', `a model of the catalogue, or a path (default: ${defaultModel})`)
  .option('--device <NAME>', 'where to compute')
  .option('--threads <N>', 'threads that compute')
  .exitOverride();

try {
  await demo(program.parse().opts());
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? exitCodes.ok.code : exitCodes.usage.code);
  fail(error);
}

import { FormatError } from '../engine/file.ts';
import { memory } from '../engine/index.ts';
import { evaluate } from '../peft/evaluate.ts';
import type { Example } from '../peft/examples.ts';
import { metrics } from '../peft/metrics.ts';
import type { PeftModel } from '../peft/model.ts';
import { loadCheckpoint, saveCheckpoint } from '../peft/state.ts';
import type { Classification, Labelled } from '../peft/task.ts';
import type { StepEvent, Trainer } from '../peft/train.ts';
import { meanLoss } from '../peft/validate.ts';
import type { Device } from './backend.ts';
import { type Output, withInterval } from './output.ts';
import type { RunFolder, StepLine, Validation } from './runFolder.ts';

export type ValidationData =
  | { kind: 'labelled'; task: Classification; rows: Labelled[] }
  | { kind: 'completions'; examples: Example[] };

interface Training {
  trainer: Trainer;
  peft: PeftModel;
  run: RunFolder;
  options: {
    evalEvery: number | 'epoch';
    saveEvery: number | 'epoch';
    keep: 'last' | 'best';
    resume: boolean;
    batchSize: number;
  };
  validation?: ValidationData;
  device: Device;
  interrupt: AbortSignal;
  /** Writes the adapter as it is now. */
  save(): Promise<void>;
  out: Output;
}

/** What a training came to. */
export interface TrainSummary {
  startStep: number;
  step: number;
  steps: number;
  loss?: number;
  val?: Validation;
  best?: { step: number } & Validation;
  seconds: number;
  tokensPerSecond: number;
  peakBytes: number;
}

/** Whether something is due after step `step` (from 1). */
export const isDue = (
  every: number | 'epoch',
  step: number,
  { steps, stepsPerEpoch }: Pick<Trainer, 'steps' | 'stepsPerEpoch'>,
): boolean => step === steps || step % (every === 'epoch' ? stepsPerEpoch : every) === 0;

/** Accuracy (of classes) and loss on held-out rows. The loss is that of the right answer, in nats. */
async function validate(peft: PeftModel, data: ValidationData, batchSize: number): Promise<Validation> {
  peft.eval();
  try {
    if (data.kind === 'completions') {
      return { n: data.examples.length, loss: await meanLoss(peft, data.examples, batchSize) };
    }
    const outcomes = [];
    let loss = 0;
    for await (const outcome of evaluate(peft, data.rows, data.task.tokens)) {
      outcomes.push(outcome);
      loss -= outcome.logProbs[outcome.label] / data.rows.length;
    }
    const { accuracy, ci95, n } = metrics(outcomes, data.task.labels);
    return { accuracy, ci95, n, loss };
  } finally {
    peft.train();
  }
}

/** Highest accuracy, then lowest loss; of equals the earlier one is better. */
const isBetter = (a: Validation, b: Validation | undefined): boolean =>
  b === undefined || (a.accuracy ?? 0) > (b.accuracy ?? 0) || (a.accuracy === b.accuracy && a.loss < b.loss);

/** The best validated step so far. */
function bestOf(lines: readonly StepLine[]): ({ step: number } & Validation) | undefined {
  let best: ({ step: number } & Validation) | undefined;
  for (const { step, val } of lines) if (val && isBetter(val, best)) best = { step, ...val };
  return best;
}

/** Goes to the newest checkpoint of the run that can be read, if there is one. */
async function restore({ trainer, run, device, out }: Training): Promise<void> {
  for (const step of (await run.checkpoints()).reverse()) {
    const path = run.checkpointPath(step);
    const saved = await loadCheckpoint(path).catch((error) => {
      if (!(error instanceof FormatError)) throw error;
      out.warn(`${path} is damaged and passed over: ${error.message}`);
    });
    if (!saved) continue;
    const [then, now] = [saved.fingerprint, device.fingerprint].map((f) => JSON.stringify(f));
    if (then !== now) out.warn(`the run was computed on ${then}, here is ${now}: it will not be the same bit for bit`);
    await trainer.restore(saved.state);
    return out.line(`resuming after step ${step} of ${trainer.steps}`);
  }
  out.line('there is no checkpoint yet: starting at step 0');
}

/** Takes the steps that are left: logs each, validates, saves checkpoints and keeps the adapter that is to be kept. */
export async function runSteps(training: Training): Promise<TrainSummary> {
  const { trainer, peft, run, options, validation, device, save, interrupt, out } = training;
  if (options.resume) await restore(training);
  const startStep = trainer.step;
  const lines = await run.openMetrics(startStep);
  let best = bestOf(lines);
  let last = lines.at(-1);
  let tokens = 0;
  let seconds = 0;
  const bar = out.progress('training', trainer.steps, startStep);
  try {
    for await (const event of trainer.run()) {
      last = lineOf(event);
      tokens += event.tokens;
      seconds += event.seconds;
      if (validation && isDue(options.evalEvery, event.step, trainer)) {
        last.val = await validate(peft, validation, options.batchSize);
        out.line(`step ${event.step}: validation loss ${last.val.loss.toFixed(4)}${accuracyOf(last.val)}`);
      }
      await run.log(last);
      if (last.val && isBetter(last.val, best)) {
        best = { step: event.step, ...last.val };
        if (options.keep === 'best') await save();
      }
      const note = `loss ${event.loss.toFixed(4)}  ${Math.round(tokens / seconds)} tokens/s`;
      bar.update(event.step, note);
      if (event.settled && (isDue(options.saveEvery, event.step, trainer) || interrupt.aborted)) {
        await run.syncMetrics();
        await saveCheckpoint(run.checkpointPath(event.step), await trainer.state(), device.fingerprint);
        await run.prune();
      }
    }
  } finally {
    bar.stop();
  }
  if (trainer.step === trainer.steps && options.keep === 'last') await save();
  if (best && options.keep === 'best')
    out.line(`kept: step ${best.step}${accuracyOf(best)}, loss ${best.loss.toFixed(4)}`);
  return {
    startStep,
    step: trainer.step,
    steps: trainer.steps,
    loss: last?.loss,
    val: last?.val,
    best,
    seconds,
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
    peakBytes: memory().peakBytes,
  };
}

const lineOf = ({ step, epoch, loss, gradNorm, lr, tokens, seconds }: StepEvent): StepLine => ({
  step,
  epoch,
  loss,
  gradNorm,
  lr,
  tokens,
  seconds,
});

const accuracyOf = ({ accuracy, ci95 }: Validation): string =>
  accuracy === undefined || !ci95 ? '' : `, accuracy ${withInterval({ accuracy, ci95 })}`;

import { createHash } from 'node:crypto';
import { Rng } from '../engine/index.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { readAdapterSettings, saveAdapter } from '../peft/adapter.ts';
import type { AdapterSettings } from '../peft/adapterConfig.ts';
import type { Example } from '../peft/examples.ts';
import type { PeftModel } from '../peft/model.ts';
import { type PlannedValidation, planTraining, totalBytes } from '../peft/plan.ts';
import { writeSettings } from '../peft/settings.ts';
import { Classification, completionExamples, type TaskOptions } from '../peft/task.ts';
import { Trainer } from '../peft/train.ts';
import { type Device, openDevice } from './backend.ts';
import { need, readRecord, writeConfig } from './config.ts';
import { type DataSet, holdOut, readData, reportLengths } from './data.ts';
import { CliError, usageError } from './exit.ts';
import { type Output, plural } from './output.ts';
import { profiled } from './profile.ts';
import { RunFolder } from './runFolder.ts';
import { loadModel, needModel, type OpenModel, openModel } from './session.ts';
import { isDue, runSteps, type ValidationData } from './steps.ts';
import {
  assertConsistent,
  labelledOptions,
  runValues,
  type TrainValues,
  trainNames,
  warnOfUnused,
  withoutUnused,
} from './trainOptions.ts';
import { verb } from './verb.ts';
import { version } from './version.ts';

/** Examples to learn from and to validate on. */
interface Prepared {
  labels?: string[];
  training: Example[];
  validation?: ValidationData;
  /** The prompt with a placeholder, for the record. */
  prompt?: string;
  /** What makes the same prompt of a text, for the record beside the adapter. */
  task: Pick<TaskOptions, 'prompt' | 'instruction'>;
}

function prepare(data: DataSet, held: DataSet | undefined, o: TrainValues, tokenizer: Tokenizer): Prepared {
  if (data.kind === 'completions') {
    const training = completionExamples(data.rows, tokenizer, o.maxLength);
    const task = { prompt: data.rows[0].kind === 'chat' ? 'chat' : 'none', instruction: '' } as const;
    if (held?.kind !== 'completions') return { training, task };
    const examples = completionExamples(held.rows, tokenizer, o.maxLength);
    return { training, task, validation: { kind: 'completions', examples } };
  }
  const task = new Classification(data.labels, o, tokenizer);
  const { before, after, joint } = task.template;
  return {
    labels: data.labels,
    task: { prompt: o.prompt, instruction: o.instruction },
    training: task.examples(data.rows, true).map(({ example }) => example),
    validation:
      held?.kind === 'labelled' ? { kind: 'labelled', task, rows: task.examples(held.rows, false) } : undefined,
    prompt: `${tokenizer.decode(before)}{text}${tokenizer.decode(after, { continuation: true })}${joint}{label}`,
  };
}

/** Reads training and validation rows. */
async function readTraining(o: TrainValues, out: Output): Promise<{ data: DataSet; held?: DataSet }> {
  const path = need(o.data, 'data');
  const data = await readData(path, o, out);
  if (o.val === undefined) return { data };
  if (typeof o.val === 'number') {
    const { training, validation } = holdOut(data, o.val, o.dataSeed);
    if (training.rows.length === 0) throw usageError(`--val ${o.val}: nothing is left of ${path} to train on`);
    return { data: training, held: validation };
  }
  const labels = data.kind === 'labelled' ? data.labels : undefined;
  const held = await readData(o.val, { ...o, labels, rows: undefined, limit: undefined }, out);
  if (held.kind !== data.kind) throw usageError(`--val ${o.val}: not the kind of data that ${path} is`);
  return { data, held };
}

/** The adapter to train: the one to go on from, or what the options describe. */
async function adapterSettings(o: TrainValues): Promise<AdapterSettings> {
  if (o.adapter !== undefined) return readAdapterSettings(o.adapter);
  if (o.method === 'lora') {
    const { rank: r, alpha, dropout, rslora, targetModules, init = 'true' } = o;
    return { method: 'lora', config: { r, alpha, dropout, rslora, targetModules, init } };
  }
  const { virtualTokens, promptInit: init = 'vocab', initText } = o;
  if (init === 'text') need(initText, 'initText', 'the text that --prompt-init text begins with');
  return { method: 'prompt', config: { virtualTokens, init, initText } };
}

/** Gives the model a new adapter, drawn from the seed. */
async function addAdapter(
  peft: PeftModel,
  { method, config }: AdapterSettings,
  seed: number,
  source: { tokenizer: Tokenizer; labels?: string[] },
): Promise<void> {
  // A stream of its own: the epochs' orders take the first ones.
  const rng = new Rng(seed, 2 ** 32 - 1);
  if (method === 'lora') peft.addLora(config, rng);
  else await peft.addPrompt(config, rng, source);
}

/** What of the batch is computed at once: what was asked for, as far as the device's memory goes. */
async function planMemory(
  { checkpoint }: OpenModel,
  { memory, dtype }: Device,
  adapter: AdapterSettings,
  { training, validation: held }: Prepared,
  o: TrainValues,
  out: Output,
): Promise<{ microBatch: number; recompute: boolean }> {
  const { batchSize, recompute } = o;
  if (!memory) return { microBatch: o.microBatch === 'auto' ? batchSize : o.microBatch, recompute };
  let validation: PlannedValidation | undefined;
  if (held?.kind === 'completions') validation = { examples: held.examples, batchSize };
  else if (held) validation = { examples: held.rows.map(({ example }) => example), labels: held.task.tokens };
  const plan = await planTraining({ checkpoint, adapter, dtype, device: memory }, training, { ...o, validation });
  const details = `micro-batch ${plan.microBatch}${plan.recompute ? ', layers recomputed' : ''}`;
  out.line(`memory: ${Math.ceil(totalBytes(plan.parts) / 2 ** 20)} MiB at most with ${details}`);
  return plan;
}

/** Changes when any token of the training data does. */
const digestOf = (examples: readonly Example[]): string =>
  createHash('sha256').update(JSON.stringify(examples)).digest('hex').slice(0, 16);

/** Writes the new run's config.yaml, or checks that a resumed run has its data. */
async function openRun(
  run: RunFolder,
  o: TrainValues,
  { training, prompt, labels }: Prepared,
  { reason }: Device,
): Promise<void> {
  const data = digestOf(training);
  if (o.resume) {
    const recorded = (await readRecord(run.configPath)).data;
    if (recorded === data) return;
    throw usageError(`${o.data}: its training examples are not those that the run in ${run.path} began with`);
  }
  const kind = labels ? 'labelled' : 'completions';
  const versions = { lorikeet: version, node: process.version, v8: process.versions.v8 };
  await run.create(
    writeConfig(withoutUnused(o, kind), { versions, device: reason, examples: training.length, data, prompt }),
  );
}

export const train = verb({
  name: 'train',
  summary: 'fine-tune a model with LoRA or prompt tuning',
  options: trainNames,
  details:
    'Writes DIR/config.yaml (all options; --config takes it), DIR/metrics.jsonl (a line a step), DIR/checkpoints and DIR/adapter\n' +
    '(peft’s files). --rows and --limit choose among the rows of --data; a --val file is used whole.',
  async run(_, { out, given, onInterrupt }) {
    await using run = new RunFolder(need(given.out as string | undefined, 'out', 'the folder of the run'));
    const asked = await runValues(run, given, out);
    assertConsistent(asked);
    const model = needModel(asked.model);
    await using device = await openDevice(asked, out);
    const { data, held } = await readTraining(asked, out);
    if (data.kind === 'completions')
      warnOfUnused(labelledOptions, given, `${asked.data} has prompts with completions`, out);
    await using opened = await openModel(model, out);
    const prepared = prepare(data, held, asked, opened.tokenizer);
    const lengths = { maxLength: asked.maxLength, context: opened.checkpoint.config.maxPositionEmbeddings };
    reportLengths(prepared.training, lengths, out, data.kind === 'labelled' ? 'texts' : 'prompts');
    const { labels } = prepared;
    const steps = asked.epochs * Math.ceil(prepared.training.length / asked.batchSize);
    if (asked.warmup > steps) throw usageError(`--warmup ${asked.warmup}: the run has ${plural(steps, 'step')}`);
    const adapter = await adapterSettings(asked);
    const { microBatch, recompute } = await planMemory(opened, device, adapter, prepared, asked, out);
    const peft = await loadModel(opened, device, out, asked.adapter);
    if (asked.adapter === undefined)
      await addAdapter(peft, adapter, asked.seed, { tokenizer: opened.tokenizer, labels });
    const o = { ...asked, microBatch, recompute, labels, model };
    await openRun(run, o, prepared, device);
    const interrupt = onInterrupt();
    const due = (step: number): boolean =>
      isDue(o.saveEvery, step, trainer) || (held !== undefined && isDue(o.evalEvery, step, trainer));
    using trainer = new Trainer(peft, prepared.training, { ...o, signal: interrupt, settle: due });
    const count = peft.namedParameters().reduce((n, [, t]) => n + t.size, 0);
    const size = `${plural(prepared.training.length, 'example')}, ${plural(trainer.steps, 'step')}`;
    out.line(`training ${count.toLocaleString('en-US')} parameters on ${size}`);
    const { maxLength, htmlBreaks, seed } = o;
    const save = async (): Promise<void> => {
      await saveAdapter(peft, run.adapterPath, opened.baseModel);
      await writeSettings(run.adapterPath, { model, ...prepared.task, labels, maxLength, htmlBreaks, seed });
    };
    const { validation } = prepared;
    const training = { trainer, peft, run, options: o, validation, device, interrupt, save, out };
    const summary = await profiled(o.profile, out, () => runSteps(training));
    if (summary.step < trainer.steps) {
      const how = `lorikeet train --resume --out ${run.path} goes on`;
      throw new CliError('interrupted', `stopped after step ${summary.step} of ${trainer.steps}, saved; ${how}`);
    }
    out.line(`adapter: ${run.adapterPath}`);
    out.result({ out: run.path, adapter: run.adapterPath, trainableParameters: count, ...summary });
  },
});

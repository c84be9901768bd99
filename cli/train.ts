import { createHash } from 'node:crypto';
import { resolve as resolvePath } from 'node:path';
import { Rng } from '../engine/index.ts';
import { catalog } from '../models/catalog.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { saveAdapter } from '../peft/adapter.ts';
import type { Example } from '../peft/examples.ts';
import type { PeftModel } from '../peft/model.ts';
import { writeSettings } from '../peft/settings.ts';
import { Classification, completionExamples } from '../peft/task.ts';
import { Trainer } from '../peft/train.ts';
import { type Device, openDevice } from './backend.ts';
import { need, readRecord, writeConfig } from './config.ts';
import { type DataSet, holdOut, readData, reportCuts } from './data.ts';
import { CliError, usageError } from './exit.ts';
import { type Output, plural } from './output.ts';
import { RunFolder } from './runFolder.ts';
import { loadModel, needModel, type OpenModel, openModel } from './session.ts';
import { isDue, runSteps, type ValidationData } from './steps.ts';
import { assertConsistent, runValues, type TrainValues, trainNames } from './trainOptions.ts';
import { verb } from './verb.ts';
import { version } from './version.ts';

/** Examples to learn from and to validate on. */
interface Prepared {
  labels?: string[];
  training: Example[];
  validation?: ValidationData;
  /** The prompt with a placeholder, for the record. */
  prompt?: string;
}

function prepare(data: DataSet, held: DataSet | undefined, o: TrainValues, tokenizer: Tokenizer): Prepared {
  if (data.kind === 'completions') {
    const examples = (set: DataSet): Example[] => completionExamples(set.rows as never, tokenizer, o.maxLength);
    return { training: examples(data), validation: held && { kind: 'completions', examples: examples(held) } };
  }
  const task = new Classification(data.labels, o, tokenizer);
  const { before, after, joint } = task.template;
  return {
    labels: data.labels,
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

/** Gives the model the adapter to train: a loaded one, or a new one drawn from the seed. */
async function addAdapter(peft: PeftModel, o: TrainValues, { tokenizer }: OpenModel, labels?: string[]): Promise<void> {
  if (o.adapter !== undefined) return;
  // A stream of its own: the epochs' orders take the first ones.
  const rng = new Rng(o.seed, 2 ** 32 - 1);
  if (o.method === 'lora') {
    const { rank: r, alpha, dropout, rslora, targetModules } = o;
    return peft.addLora({ r, alpha, dropout, rslora, targetModules, init: o.init ?? 'true' }, rng);
  }
  const init = o.promptInit ?? 'vocab';
  if (init === 'text') need(o.initText, 'initText', 'the text that --prompt-init text begins with');
  await peft.addPrompt({ virtualTokens: o.virtualTokens, init, initText: o.initText }, rng, { tokenizer, labels });
}

/** A name, or the path as it is from anywhere. */
const portable = (model: string): string => (Object.hasOwn(catalog, model) ? model : resolvePath(model));

/** Changes when any token of the training data does. */
const digestOf = (examples: readonly Example[]): string =>
  createHash('sha256').update(JSON.stringify(examples)).digest('hex').slice(0, 16);

/** Writes the new run's config.yaml, or checks that a resumed run has its data. */
async function openRun(
  run: RunFolder,
  o: TrainValues,
  { training, prompt }: Prepared,
  { reason }: Device,
): Promise<void> {
  const data = digestOf(training);
  if (o.resume) {
    const recorded = (await readRecord(run.configPath)).data;
    if (recorded === data) return;
    throw usageError(`${o.data}: its training examples are not those that the run in ${run.path} began with`);
  }
  const versions = { lorikeet: version, node: process.version, v8: process.versions.v8 };
  await run.create(writeConfig(o, { versions, device: reason, examples: training.length, data, prompt }));
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
    await using opened = await openModel(model, out);
    const prepared = prepare(data, held, asked, opened.tokenizer);
    reportCuts(prepared.training, asked.maxLength, out, data.kind === 'labelled' ? 'texts' : 'prompts');
    const memory = {
      microBatch: asked.microBatch === 'auto' ? asked.batchSize : asked.microBatch,
      recompute: asked.recompute,
    };
    const peft = await loadModel(opened, device.backend, out, asked.adapter);
    await addAdapter(peft, asked, opened, prepared.labels);
    const o = { ...asked, ...memory, labels: prepared.labels, model };
    await openRun(run, o, prepared, device);
    const interrupt = onInterrupt();
    const due = (step: number): boolean =>
      isDue(o.saveEvery, step, trainer) || (held !== undefined && isDue(o.evalEvery, step, trainer));
    using trainer = new Trainer(peft, prepared.training, { ...o, signal: interrupt, settle: due });
    const count = peft.namedParameters().reduce((n, [, t]) => n + t.size, 0);
    const size = `${plural(prepared.training.length, 'example')}, ${plural(trainer.steps, 'step')}`;
    out.line(`training ${count.toLocaleString('en-US')} parameters on ${size}`);
    const { prompt, instruction, labels, maxLength, htmlBreaks, seed } = o;
    const save = async (): Promise<void> => {
      await saveAdapter(peft, run.adapterPath, opened.baseModel);
      await writeSettings(run.adapterPath, {
        model: portable(model),
        prompt,
        instruction,
        labels,
        maxLength,
        htmlBreaks,
        seed,
      });
    };
    const { validation } = prepared;
    const summary = await runSteps({ trainer, peft, run, options: o, validation, device, interrupt, save, out });
    if (summary.step < trainer.steps) {
      const how = `lorikeet train --resume --out ${run.path} goes on`;
      throw new CliError('interrupted', `stopped after step ${summary.step} of ${trainer.steps}, saved; ${how}`);
    }
    out.line(`adapter: ${run.adapterPath}`);
    out.result({ out: run.path, adapter: run.adapterPath, trainableParameters: count, ...summary });
  },
});

import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { replaceFile } from '../engine/file.ts';
import { generateBatches } from '../models/generate.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { parseAnswer } from '../peft/answer.ts';
import type { LabelledRow } from '../peft/data.ts';
import { evaluate as evaluateLabels } from '../peft/evaluate.ts';
import { type Metrics, metrics, type Outcome } from '../peft/metrics.ts';
import type { PeftModel } from '../peft/model.ts';
import { type Planned, planEvaluation, planGeneration } from '../peft/plan.ts';
import { Classification, type Labelled } from '../peft/task.ts';
import { openDevice } from './backend.ts';
import { need, resolve } from './config.ts';
import { readData, reportLengths } from './data.ts';
import { CliError, usageError } from './exit.ts';
import { common, dataOptions, promptOptions, type Values } from './options.ts';
import { type Output, percent, withInterval } from './output.ts';
import { profiled } from './profile.ts';
import { loadModel, needModel, openModel, plannedUse, recordedOptions } from './session.ts';
import { alignColumns } from './table.ts';
import { verb } from './verb.ts';

const names = [
  ...(['model', 'adapter', 'mode', 'out', 'profile'] as const),
  ...common,
  ...dataOptions,
  ...promptOptions,
  ...(['maxNewTokens', 'temperature', 'topK', 'topP', 'repetitionPenalty'] as const),
] as const;
type EvalValues = Values<(typeof names)[number]>;

/** One row's result: what the scores or the answer say. */
interface Prediction extends Outcome {
  logProbs?: number[];
  answer?: string;
}

async function* byLabel(peft: PeftModel, task: Classification, rows: Labelled[]): AsyncGenerator<Prediction> {
  yield* evaluateLabels(peft, rows, task.tokens);
}

/** Answers generated at once, and how long they are unless said otherwise. */
const generationBatch = 8;
const answerTokens = 10;

async function* byGeneration(
  peft: PeftModel,
  task: Classification,
  rows: Labelled[],
  o: EvalValues,
  tokenizer: Tokenizer,
): AsyncGenerator<Prediction> {
  const { maxNewTokens = answerTokens } = o;
  const { before: shared, end } = task.template;
  const eosIds = [...new Set([end, ...tokenizer.eosIds])];
  const prompts = rows.map(({ example }) => example.prompt);
  const batches = Array.from({ length: Math.ceil(rows.length / generationBatch) }, (_, i) =>
    prompts.slice(generationBatch * i, generationBatch * (i + 1)),
  );
  let at = 0;
  for await (const answers of generateBatches(peft, batches, { ...o, shared, maxNewTokens, eosIds })) {
    for (const ids of answers) {
      const answer = tokenizer.decode(ids, { skipSpecial: true, continuation: true });
      yield { label: rows[at++].label, predicted: parseAnswer(answer, task.labels), answer };
    }
  }
}

/** @throws MemoryError when the longest texts need more memory than the device has */
async function assertFits(planned: Planned, task: Classification, rows: Labelled[], o: EvalValues): Promise<void> {
  const examples = rows.map(({ example }) => example);
  if (o.mode === 'label') {
    await planEvaluation(planned, examples, task.tokens);
    return;
  }
  const prompts = examples.map(({ prompt }) => prompt).sort((a, b) => b.length - a.length);
  const { maxNewTokens = answerTokens } = o;
  await planGeneration(planned, prompts.slice(0, generationBatch), { shared: task.template.before, maxNewTokens });
}

/** The file system's refusal is better heard before anything is computed. */
async function assertWritable(path: string): Promise<void> {
  await access(dirname(path), constants.W_OK);
  const there = await stat(path).catch(() => undefined);
  if (there?.isDirectory()) throw usageError(`--out ${path}: it is a folder, expected a file`);
}

/** All predictions, with progress. */
async function collect(results: AsyncIterable<Prediction>, total: number, out: Output): Promise<Prediction[]> {
  const bar = out.progress('evaluating', total);
  const predictions: Prediction[] = [];
  let correct = 0;
  try {
    for await (const prediction of results) {
      predictions.push(prediction);
      if (prediction.predicted === prediction.label) correct++;
      bar.update(predictions.length, `accuracy ${percent(correct / predictions.length)}`);
    }
  } finally {
    bar.stop();
  }
  return predictions;
}

/** What is printed of one row, as a line of JSON. */
function predictionLine({ index, id }: LabelledRow, p: Prediction, labels: readonly string[]): string {
  return JSON.stringify({
    index,
    id,
    label: labels[p.label],
    predicted: p.predicted === undefined ? null : labels[p.predicted],
    correct: p.predicted === p.label,
    logProbs: p.logProbs && Object.fromEntries(labels.map((label, i) => [label, p.logProbs?.[i]])),
    answer: p.answer,
  });
}

function show(m: Metrics, labels: readonly string[], out: Output): void {
  const right = Math.round(m.accuracy * m.n);
  out.line(`accuracy ${withInterval(m)} (${right} of ${m.n}), macro-F1 ${m.macroF1.toFixed(3)}`);
  if (m.unparsed > 0) out.line(`${m.unparsed} of ${m.n} answers name no label, or several: counted as wrong`);
  if (m.ties > 0) out.line(`${m.ties} of ${m.n} are ties between labels: the first is taken`);
  const columns = [...labels.map((l) => `→ ${l}`), ...(m.unparsed > 0 ? ['→ none'] : [])];
  const rows = [
    ['', 'precision', 'recall', 'F1', 'n', ...columns],
    ...m.perClass.map(({ label, precision, recall, f1, support }, c) => [
      label,
      ...[precision, recall].map(percent),
      f1.toFixed(3),
      String(support),
      ...columns.map((_, k) => String(m.confusion[c][k])),
    ]),
  ];
  const numeric = rows[0].map((_, k) => k > 0);
  for (const line of alignColumns(rows, numeric)) out.line(line);
}

export const evaluate = verb({
  name: 'eval',
  summary: 'accuracy of a model, with or without adapter, on labelled texts',
  options: names,
  details:
    '--out FILE gets a line of JSON for every row: index, id, label, predicted, correct, logProbs (or the answer). What an\n' +
    'adapter’s lorikeet.json records about prompt and labels is used unless a flag says otherwise.',
  async run(_, { out, given }) {
    const record = await recordedOptions(given.adapter as string | undefined, names, given, out);
    const o = resolve(names, given, record);
    const path = need(o.data, 'data');
    const model = needModel(o.model);
    await using device = await openDevice(o, out);
    const data = await readData(path, o, out);
    if (data.kind !== 'labelled')
      throw new CliError('input', `${path}: eval needs texts with labels, found prompts with completions`);
    const { rows, labels } = data;
    if (o.out !== undefined) await assertWritable(o.out);
    await using opened = await openModel(model, out);
    const task = new Classification(labels, o, opened.tokenizer);
    const examples = task.examples(rows, false);
    reportLengths(
      examples.map(({ example }) => example),
      { maxLength: o.maxLength, context: opened.checkpoint.config.maxPositionEmbeddings },
      out,
    );
    if (task.tokens.endScored && o.mode === 'label')
      out.line('one label begins another: the end token is scored as well');
    const planned = await plannedUse(opened, device, o.adapter);
    if (planned) await assertFits(planned, task, examples, o);
    const peft = await loadModel(opened, device, out, o.adapter);

    const started = performance.now();
    const results =
      o.mode === 'label' ? byLabel(peft, task, examples) : byGeneration(peft, task, examples, o, opened.tokenizer);
    const predictions = await profiled(o.profile, out, () => collect(results, rows.length, out));
    const seconds = (performance.now() - started) / 1000;
    const tokens = examples.reduce((n, { example }) => n + example.prompt.length, task.template.before.length);

    if (o.out !== undefined) {
      const lines = predictions.map((p, i) => `${predictionLine(rows[i], p, labels)}\n`);
      await replaceFile(o.out, (file) => file.writeFile(lines.join('')));
      out.line(`predictions: ${o.out}`);
    }
    const result = metrics(predictions, labels);
    show(result, labels, out);
    out.line(`${(rows.length / seconds).toFixed(1)} texts/s, ${Math.round(tokens / seconds)} tokens/s`);
    const {
      config: _config,
      json: _json,
      profile: _profile,
      ...settings
    } = { ...o, model, labels, device: device.reason, endScored: task.tokens.endScored };
    out.result({ ...result, reviewsPerSecond: rows.length / seconds, tokensPerSecond: tokens / seconds, settings });
  },
});

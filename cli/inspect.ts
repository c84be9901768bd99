import { join } from 'node:path';
import { byteLength } from '../engine/dtype.ts';
import { SafetensorsFile } from '../engine/safetensors.ts';
import { formatShape, type Shape, size } from '../engine/shape.ts';
import type { Checkpoint } from '../models/checkpoint/index.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import { readAdapterSettings, tensorFile } from '../peft/adapter.ts';
import type { Example } from '../peft/examples.ts';
import { Classification, completionExamples } from '../peft/task.ts';
import { type Given, resolve } from './config.ts';
import { readData } from './data.ts';
import { usageError } from './exit.ts';
import { dataOptions, promptOptions, type Values } from './options.ts';
import { type Output, plural } from './output.ts';
import { needModel, openModel, recordedOptions } from './session.ts';
import { verb } from './verb.ts';

interface TensorLine {
  name: string;
  dtype: string;
  shape: Shape;
}

/** Tensors with the layers that are alike on one line. */
function grouped(tensors: TensorLine[]): string[] {
  const groups = new Map<string, { first: TensorLine; numbers: number[] }>();
  for (const tensor of tensors) {
    const layer = /\.layers\.(\d+)\./.exec(tensor.name);
    const key = `${tensor.name.replace(/\.layers\.\d+\./, '.layers.*.')} ${tensor.dtype} ${tensor.shape}`;
    const group = groups.get(key) ?? { first: tensor, numbers: [] };
    if (layer) group.numbers.push(Number(layer[1]));
    groups.set(key, group);
  }
  const lines = [...groups.values()].map(({ first, numbers }) => {
    const name = first.name.replace(/\.layers\.\d+\./, `.layers.{${ranges(numbers)}}.`);
    return { name, rest: `${first.dtype.padEnd(5)} ${formatShape(first.shape)}` };
  });
  const width = Math.max(0, ...lines.map(({ name }) => name.length));
  return lines.map(({ name, rest }) => `  ${name.padEnd(width)}  ${rest}`);
}

/** 0, 1, 2, 5 → '0–2, 5' */
function ranges(numbers: number[]): string {
  const parts: [number, number][] = [];
  for (const n of numbers.toSorted((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(', ');
}

const thousands = (n: number): string => n.toLocaleString('en-US');
const countOf = (tensors: TensorLine[]): number => tensors.reduce((n, { shape }) => n + size(shape), 0);

function describeModel(checkpoint: Checkpoint, tokenizer: Tokenizer, out: Output) {
  const { config, format } = checkpoint;
  const tensors = [...checkpoint.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const bytes = [...checkpoint.tensors.values()].reduce((n, { dtype, shape }) => n + byteLength(dtype, shape), 0);
  const parameters = countOf(tensors);
  out.line(`model ${checkpoint.path} (${format})`);
  for (const [key, value] of Object.entries(config)) {
    if (key !== 'raw' && value !== undefined) out.line(`  ${key}: ${JSON.stringify(value)}`);
  }
  out.line(
    `  tokenizer: ${tokenizer.vocabSize} tokens, ${tokenizer.addsBos ? 'begins with BOS' : 'no BOS'}, ${
      tokenizer.chatTemplate === undefined ? 'no chat template' : 'chat template'
    }`,
  );
  for (const line of grouped(tensors)) out.line(line);
  out.line(`${plural(tensors.length, 'tensor')}, ${thousands(parameters)} parameters, ${thousands(bytes)} bytes`);
  const { raw: _, ...shown } = config;
  return { path: checkpoint.path, format, config: shown, parameters, bytes, tensors };
}

async function describeAdapter(folder: string, out: Output) {
  const { method, config } = await readAdapterSettings(folder);
  await using file = await SafetensorsFile.open(join(folder, tensorFile));
  const tensors = [...file.tensors].map(([name, { dtype, shape }]) => ({ name, dtype: dtype as string, shape }));
  out.line(`adapter ${folder} (${method === 'lora' ? 'LoRA' : 'prompt tuning'})`);
  for (const [key, value] of Object.entries(config)) {
    if (value !== undefined) out.line(`  ${key}: ${JSON.stringify(value)}`);
  }
  for (const line of grouped(tensors)) out.line(line);
  const parameters = countOf(tensors);
  out.line(`${plural(tensors.length, 'tensor')}, ${thousands(parameters)} trainable parameters`);
  return { path: folder, method, config, parameters, tensors };
}

/** One example's tokens; those it learns are marked. */
function describeExample({ index, shared, prompt, answer, cut }: Example, tokenizer: Tokenizer, out: Output) {
  const trained = shared.length + prompt.length;
  const tokens = [...shared, ...prompt, ...answer].map((id, i) => ({
    id,
    token: tokenizer.tokenOf(id),
    trained: i >= trained,
  }));
  out.line(`row ${index}: ${tokens.length} tokens, ${answer.length} trained${cut ? ', its text was cut' : ''}`);
  for (const { id, token, trained } of tokens) {
    out.line(`  ${trained ? '→' : ' '} ${String(id).padStart(6)}  ${JSON.stringify(token)}`);
  }
  return { index, cut, tokens };
}

const names = ['model', 'adapter', 'config', 'json', ...dataOptions, ...promptOptions] as const;

async function describeData(path: string, o: Values<(typeof names)[number]>, tokenizer: Tokenizer, out: Output) {
  const data = await readData(path, o, out);
  const shown = o.limit ?? 2;
  const examples =
    data.kind === 'labelled'
      ? new Classification(data.labels, o, tokenizer).examples(data.rows.slice(0, shown), true).map((e) => e.example)
      : completionExamples(data.rows.slice(0, shown), tokenizer, o.maxLength);
  out.line(`the first ${examples.length} of ${plural(data.rows.length, 'row')}; → is what is trained`);
  return examples.map((example) => describeExample(example, tokenizer, out));
}

export const inspect = verb({
  name: 'inspect',
  summary: 'tensors and parameters of a model or adapter; with --data the first examples token by token',
  options: names,
  async run(values, { out, given }) {
    if (values.model === undefined && values.adapter === undefined)
      throw usageError('inspect: give --model or --adapter');
    const adapter = values.adapter === undefined ? undefined : await describeAdapter(values.adapter, out);
    // An adapter's model is opened when there is something to show of it.
    const record: Given = values.data === undefined ? {} : await recordedOptions(values.adapter, names, given, out);
    const o = resolve(names, given, record);
    if (o.model === undefined && o.data === undefined) return out.result({ adapter });
    await using opened = await openModel(needModel(o.model), out);
    const { checkpoint, tokenizer } = opened;
    const model = values.model === undefined ? undefined : describeModel(checkpoint, tokenizer, out);
    const examples = o.data === undefined ? undefined : await describeData(o.data, o, tokenizer, out);
    out.result({ model, adapter, examples });
  },
});

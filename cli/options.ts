import { defaultLora } from '../peft/lora.ts';
import { defaultInstruction, templateNames } from '../peft/template.ts';
import { trainDefaults } from '../peft/train.ts';
import {
  choice,
  computes,
  type DeviceName,
  device,
  fileOrFraction,
  flag,
  integer,
  integerOr,
  type Kind,
  list,
  modules,
  nonNegative,
  path,
  positive,
  probability,
  range,
  share,
  text,
} from './kinds.ts';

/** One option: a flag, a key of the configuration file, its check, its default and its help. */
export interface Option<T> {
  kind: Kind<unknown>;
  help: string;
  default: T;
  /** The default in words, where it depends on something. */
  defaultText?: string;
}

const required = <T>(kind: Kind<T>, help: string): Option<T | undefined> => ({ kind, help, default: undefined });
const byCase = <T>(kind: Kind<T>, help: string, defaultText: string): Option<T | undefined> => ({
  kind,
  help,
  default: undefined,
  defaultText,
});
const option = <T>(kind: Kind<T>, help: string, value: T): Option<T> => ({ kind, help, default: value });

/** Every option of every command. A verb lists the ones it takes. */
export const options = {
  model: byCase(
    text('NAME|PATH'),
    'a model of the catalogue (lorikeet pull --help), or a file or folder',
    'the one its adapter was trained on',
  ),
  adapter: required(path('DIR'), 'adapter folder (peft’s format); train goes on from it'),
  data: required(path('FILE'), 'JSON Lines, JSON, CSV or TSV (each also .gz), or an aclImdb folder'),
  out: required(path(), 'where to write'),
  config: required(path('FILE'), 'YAML file with any of these options by name; a flag beats the file'),
  json: option(flag, 'print the result as JSON on stdout, everything else on stderr', false),

  profile: option(flag, 'print where the time went, by op and shape', false),
  device: option<DeviceName>(device, 'where to compute; auto: CUDA, else wasm; reference is slow float64', 'auto'),
  compute: option(
    choice(...computes),
    'bfloat16: activations in half the memory, needs CUDA from sm_80 on; int16: the CPU’s linear layers in 16-bit integers, ' +
      'faster and less exact',
    'float32',
  ),
  threads: byCase(integer(1), 'threads that compute', 'one a core'),
  seed: option(integer(0), 'of everything random but --data-seed', trainDefaults.seed),

  rows: required(range, 'rows of the file to use, before everything else'),
  limit: required(integer(1), 'use only so many rows, balanced over the labels'),
  dataSeed: option(integer(0), 'draws the rows of --limit and of a --val fraction', 0),
  labels: byCase(list('A,B,…'), 'names of the classes, in the order of integer labels', 'those found, sorted'),
  textColumn: option(text('NAME'), 'column of the text', 'text'),
  labelColumn: option(text('NAME'), 'column of the label', 'label'),
  idColumn: option(text('NAME'), 'column of the id', 'id'),
  htmlBreaks: option(choice('newline', 'keep'), 'what becomes of <br /> in a text', 'newline'),
  maxLength: option(
    integer(1),
    'tokens of a text to use, from its beginning (of the prompt for prompts with completions)',
    256,
  ),
  instruction: option(text('TEXT'), 'what the model is told to do', defaultInstruction),
  prompt: option(choice(...templateNames), 'how instruction and text become a prompt', 'alpaca'),

  method: option(choice('lora', 'prompt'), 'LoRA or prompt tuning', 'lora'),
  preset: required(
    choice('study'),
    'other defaults: --init normal; for prompt tuning --prompt-init random, --epochs 2 and --schedule constant',
  ),
  val: required(fileOrFraction, 'rows to validate on: a file, or a fraction of the training rows'),
  epochs: byCase(integer(1), 'passes over the data', '2 for LoRA, 8 for prompt tuning'),
  batchSize: option(integer(1), 'examples of an optimizer step', trainDefaults.batchSize),
  microBatch: option(integerOr('auto'), 'examples computed at once; auto: what memory allows', 'auto'),
  lr: byCase(positive, 'peak learning rate', '0.0005 for LoRA, 0.03 for prompt tuning'),
  schedule: byCase(
    choice('constant', 'linear', 'cosine'),
    'course of the learning rate',
    'constant for LoRA, cosine for prompt tuning',
  ),
  warmup: option(nonNegative, 'warm-up in steps, or a fraction of all steps if below 1', trainDefaults.warmup),
  weightDecay: option(nonNegative, 'AdamW’s', trainDefaults.weightDecay),
  maxGradNorm: byCase(positive, 'clip the gradient to this norm', 'no clipping'),
  rank: option(integer(1), 'LoRA: rank r', defaultLora.r),
  alpha: option(positive, 'LoRA: α of the scale α/r', defaultLora.alpha),
  dropout: option(probability, 'LoRA: share of the inputs dropped', defaultLora.dropout),
  rslora: option(flag, 'LoRA: scale α/√r', defaultLora.rslora),
  targetModules: option(modules, 'LoRA: layers, by name', ['q_proj', 'v_proj'] as string | string[]),
  init: byCase(choice('true', 'gaussian', 'normal'), 'LoRA: how A starts: Kaiming-uniform, N(0, 1/r), N(0, 1)', 'true'),
  virtualTokens: option(integer(1), 'prompt tuning: number of virtual tokens', 8),
  promptInit: byCase(choice('random', 'vocab', 'text', 'labels'), 'prompt tuning: how they start', 'vocab'),
  initText: required(text('TEXT'), 'prompt tuning: the text of --prompt-init text'),
  evalEvery: option(integerOr('epoch'), 'validate every so many steps', 'epoch' as number | 'epoch'),
  saveEvery: option(integerOr('epoch'), 'save a checkpoint every so many steps', 'epoch' as number | 'epoch'),
  keep: option(
    choice('last', 'best'),
    'which adapter to keep; best by --val: accuracy, then loss, then the earliest',
    'last',
  ),
  resume: option(flag, 'go on with the run in --out from its last checkpoint', false),
  recompute: option(
    flag,
    'keep less for the backward pass and compute it again: less memory, more time',
    trainDefaults.recompute,
  ),
  sharePrefix: option(
    flag,
    'compute the tokens all examples begin with once a batch (one dropout mask for them)',
    trainDefaults.sharePrefix,
  ),

  mode: option(choice('label', 'generate'), 'score the labels, or generate an answer and look for one in it', 'label'),
  maxNewTokens: byCase(integer(1), 'tokens to generate at most', '64; for eval 10'),
  temperature: option(nonNegative, '0: always the likeliest token', 0),
  topK: required(integer(1), 'sample among the k likeliest tokens'),
  topP: required(share, 'sample among the likeliest tokens that make up this probability'),
  repetitionPenalty: option(positive, 'makes tokens that were seen less likely; 1: no penalty', 1),
  stop: required(list('A,B,…'), 'texts that end the answer'),
  text: byCase(text('TEXT'), 'the text to answer', 'standard input'),
  dtype: option(choice('float32', 'bfloat16'), 'type of the merged weights', 'float32'),
  verify: option(flag, 'compare the hashes of files that are there already', false),
} satisfies Record<string, Option<unknown>>;

export type OptionName = keyof typeof options;

export type Values<K extends OptionName = OptionName> = {
  [P in K]: (typeof options)[P] extends Option<infer T> ? T : never;
};

/** Options by groups of commands that share them. */
export const common = ['config', 'json', 'device', 'compute', 'threads', 'seed'] as const;
export const dataOptions = [
  ...(['data', 'rows', 'limit', 'dataSeed', 'labels', 'textColumn', 'labelColumn', 'idColumn', 'htmlBreaks'] as const),
] as const;
export const promptOptions = ['instruction', 'prompt', 'maxLength'] as const;

/** `maxLength` → `max-length`: the flag and the key of the configuration file. */
export const flagName = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

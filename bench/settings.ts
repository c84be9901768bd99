// The settings of `npm run bench:accuracy`: which data, prompt and method, with the CLI's flags.

import { defaultInstruction } from '../peft/template.ts';

interface Task {
  /** Below LORIKEET_DATA. */
  train: string;
  test: string;
  flags: string[];
}

export interface Setting {
  /** Also the name of its run folder. */
  name: string;
  title: string;
  task: Task;
  /** Flags of `train`; none: the model as it is. */
  train?: string[];
  /** Flags of `train` and `eval`. */
  both?: string[];
  evaluateOn: { file: string; rows: string };
}

const imdb: Task = {
  train: 'data/imdb/train.jsonl.gz',
  test: 'data/imdb/test.jsonl.gz',
  flags: ['--labels', 'negative,positive'],
};
const agNews: Task = {
  train: 'data/ag_news/train.jsonl.gz',
  test: 'data/ag_news/test.jsonl.gz',
  flags: ['--instruction', 'Classify the topic of the given news article as World, Sports, Business or Sci/Tech.'],
};
const trec: Task = {
  train: 'data/trec/train.jsonl.gz',
  test: 'data/trec/test.jsonl.gz',
  flags: [
    '--instruction',
    'Classify what the given question asks for as abbreviation, description, entity, human, location or numeric.',
  ],
};

const onTest = (task: Task) => ({ file: task.test, rows: '0:500' });
const zeroShot = (name: string, title: string, task: Task): Setting => ({
  name: `${name}-zero-shot`,
  title: `${title}, zero-shot`,
  task,
  evaluateOn: onTest(task),
});
const trained = (name: string, title: string, task: Task, n: number, train: string[]): Setting => ({
  name,
  title: `${title}, N = ${n}`,
  task,
  train: ['--rows', `0:${n}`, ...train],
  evaluateOn: onTest(task),
});
const prompt = ['--method', 'prompt'];
const seeds = [0, 1, 2];

/** Training rows that no other setting trains on: what prompt tuning's defaults are chosen by. Cut shorter, for time. */
const heldOut = { file: imdb.train, rows: '5000:5200' };
const asLora = ['--epochs', '2', '--schedule', 'constant'];
const choice = (name: string, flags: string[], course = asLora): Setting => ({
  ...trained(`choose-${name}`, 'IMDB, prompt tuning on 128 tokens, by held-out training rows', imdb, 150, [
    ...prompt,
    ...['--max-length', '128', ...flags, ...course],
  ]),
  evaluateOn: heldOut,
});
const question = 'Is this film review positive or negative?';
const initialisations = {
  vocab: ['--prompt-init', 'vocab'],
  labels: ['--prompt-init', 'labels'],
  question: ['--prompt-init', 'text', '--init-text', question],
  instruction: ['--prompt-init', 'text', '--init-text', defaultInstruction],
  random: ['--prompt-init', 'random'],
};

/** LoRA on IMDB with N = 150, by its seeds: what is compared with transformers + peft. */
export const judged = {
  shared: seeds.map((seed) => `imdb-lora-150-s${seed}-on`),
  apart: seeds.map((seed) => `imdb-lora-150-s${seed}-off`),
  int16: seeds.map((seed) => `imdb-lora-150-s${seed}-int16`),
};

export const settings: Setting[] = [
  ...seeds.map((seed) => trained(judged.shared[seed], `IMDB, LoRA, seed ${seed}`, imdb, 150, ['--seed', `${seed}`])),
  ...seeds.map((seed) =>
    trained(judged.apart[seed], `IMDB, LoRA, no shared prefix, seed ${seed}`, imdb, 150, [
      ...['--seed', `${seed}`, '--no-share-prefix'],
    ]),
  ),
  ...seeds.map((seed) => ({
    ...trained(judged.int16[seed], `IMDB, LoRA, products in 16 bits, seed ${seed}`, imdb, 150, ['--seed', `${seed}`]),
    both: ['--compute', 'int16'],
  })),
  zeroShot('imdb', 'IMDB', imdb),
  trained('imdb-lora-50', 'IMDB, LoRA', imdb, 50, []),
  trained('imdb-lora-500', 'IMDB, LoRA', imdb, 500, []),
  trained('imdb-prompt-study-150', 'IMDB, prompt tuning as the study (random)', imdb, 150, [
    ...[...prompt, '--preset', 'study'],
  ]),
  trained('imdb-prompt-study-500', 'IMDB, prompt tuning as the study (random)', imdb, 500, [
    ...[...prompt, '--preset', 'study'],
  ]),
  trained('imdb-prompt-2-epochs-150', 'IMDB, prompt tuning, 2 epochs', imdb, 150, [...prompt, ...asLora]),
  trained('imdb-prompt-150', 'IMDB, prompt tuning, defaults', imdb, 150, prompt),
  trained('imdb-prompt-500', 'IMDB, prompt tuning, defaults', imdb, 500, prompt),
  zeroShot('ag-news', 'AG News', agNews),
  trained('ag-news-lora-150', 'AG News, LoRA', agNews, 150, []),
  zeroShot('trec', 'TREC', trec),
  trained('trec-lora-150', 'TREC, LoRA', trec, 150, []),
  ...Object.entries(initialisations).flatMap(([init, flags]) =>
    [0.01, 0.03].map((lr) => choice(`${init}-${lr}`, [...flags, '--lr', `${lr}`])),
  ),
  ...[0.01, 0.03].map((lr) => choice(`batch2-${lr}`, ['--prompt-init', 'vocab', '--batch-size', '2', '--lr', `${lr}`])),
  choice('long-vocab-0.03', [...initialisations.vocab, '--lr', '0.03'], ['--epochs', '8', '--schedule', 'cosine']),
];

import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { Rng } from '../engine/index.ts';
import type { ChatMessage } from '../models/tokenizer/chat.ts';

/** A row of a data file that is not as it should be. The message names file, row and field. */
export class DataError extends Error {
  override name = 'DataError';
}

/** Something the run goes on with, counted. */
export interface DataWarnings {
  /** Rows with bytes that are not UTF-8, which became U+FFFD. */
  invalidUtf8: number;
  /** Rows whose text is empty. */
  emptyTexts: number;
}

/** What a row holds, whatever its file's format. */
export type Content =
  | { kind: 'labelled'; text: string; label: string | number | undefined }
  | { kind: 'completion'; prompt: string; completion: string }
  | { kind: 'chat'; messages: ChatMessage[] };

export type DataRow = Content & {
  /** Place in the file, from 0. */
  index: number;
  id?: string;
};

export interface LoadOptions {
  /** Names of the columns that hold a text, its label and its id. */
  columns?: { text?: string; label?: string; id?: string };
  /** Whether `<br />` in a text becomes a line break. */
  htmlBreaks?: 'newline' | 'keep';
}

const unzip = promisify(gunzip);

/** A file's text; bytes that are no UTF-8 become U+FFFD. */
async function readText(path: string): Promise<string> {
  const bytes = await readFile(path);
  return new TextDecoder().decode(
    path.endsWith('.gz') ? await unzip(bytes).catch((e) => fail(path, `not gzip: ${e.message}`)) : bytes,
  );
}

function fail(where: string, message: string): never {
  throw new DataError(`${where}: ${message}`);
}

type Fields = Record<string, unknown>;

function parseJsonLines(path: string, text: string): Fields[] {
  const rows: Fields[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      fail(`${path}, line ${i + 1}`, `not JSON: ${(error as Error).message}`);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      fail(`${path}, line ${i + 1}`, 'expected an object');
    rows.push(value as Fields);
  }
  return rows;
}

function parseJson(path: string, text: string): Fields[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Many .json files are JSON Lines; those errors name the line.
    return parseJsonLines(path, text);
  }
  return Array.isArray(value) ? (value as Fields[]) : [value as Fields];
}

function parseTable(path: string, text: string, delimiter: string): Fields[] {
  try {
    return parse(text, {
      columns: true,
      delimiter,
      bom: true,
      skip_empty_lines: true,
      relax_quotes: delimiter === '\t',
    });
  } catch (error) {
    return fail(path, (error as Error).message);
  }
}

/** The aclImdb archive's layout: one review a file, in folders named by class. */
async function readFolder(path: string): Promise<Fields[]> {
  const rows: Fields[] = [];
  const classes = (await readdir(path, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => e.name);
  for (const name of classes.filter((c) => c === 'pos' || c === 'neg').sort()) {
    for (const file of (await readdir(join(path, name))).filter((f) => f.endsWith('.txt')).sort()) {
      const label = name === 'pos' ? 'positive' : 'negative';
      rows.push({
        id: `${basename(path)}/${name}/${file.slice(0, -4)}`,
        text: await readText(join(path, name, file)),
        label,
      });
    }
  }
  const hint = classes.includes('train') ? `; give ${join(path, 'train')} or ${join(path, 'test')}` : '';
  if (rows.length === 0)
    fail(path, `expected the folders pos and neg with .txt files, found ${classes.join(', ') || 'no folders'}${hint}`);
  return rows;
}

async function readFields(path: string): Promise<Fields[]> {
  if ((await stat(path)).isDirectory()) return readFolder(path);
  const text = await readText(path);
  const name = path.replace(/\.gz$/, '');
  if (name.endsWith('.csv')) return parseTable(path, text, ',');
  if (name.endsWith('.tsv')) return parseTable(path, text, '\t');
  if (name.endsWith('.json')) return parseJson(path, text);
  return parseJsonLines(path, text);
}

const isText = (x: unknown): x is string => typeof x === 'string';

/** What a row's fields say, by the first of the known formats they fit. */
function contentOf(fields: Fields, where: string, { columns = {} }: LoadOptions): Content {
  const { text: textColumn = 'text', label: labelColumn = 'label' } = columns;
  const text = fields[textColumn];
  if (isText(text)) {
    const label = fields[labelColumn];
    if (label !== undefined && !isText(label) && !Number.isInteger(label)) {
      fail(where, `'${labelColumn}' should be a name or an integer, found ${JSON.stringify(label)}`);
    }
    return { kind: 'labelled', text, label: label as string | number | undefined };
  }
  if (text !== undefined) fail(where, `'${textColumn}' should be a text, found ${JSON.stringify(text).slice(0, 60)}`);
  if (isText(fields.prompt) && isText(fields.completion)) {
    return { kind: 'completion', prompt: fields.prompt, completion: fields.completion };
  }
  if (isText(fields.instruction) && isText(fields.output)) {
    return {
      kind: 'completion',
      prompt: alpacaPrompt(fields.instruction, fields.input),
      completion: ` ${fields.output}`,
    };
  }
  if (Array.isArray(fields.messages)) {
    const messages = fields.messages as ChatMessage[];
    if (!messages.every((m) => isText(m?.role) && isText(m?.content)))
      fail(where, "'messages' need a role and a content each");
    return { kind: 'chat', messages };
  }
  const found = Object.keys(fields).join(', ');
  return fail(
    where,
    `no column '${textColumn}', nor prompt and completion, instruction and output, or messages; found ${found} (--text-column names another)`,
  );
}

/** Stanford Alpaca's two prompts: with and without an input. */
function alpacaPrompt(instruction: string, input: unknown): string {
  const more = isText(input) && input !== '';
  const head = more ? ', paired with an input that provides further context' : '';
  return (
    `Below is an instruction that describes a task${head}. Write a response that appropriately completes the request.\n\n` +
    `### Instruction:\n${instruction}\n\n${more ? `### Input:\n${input}\n\n` : ''}### Response:`
  );
}

/**
 * Reads JSON Lines, JSON, CSV, TSV (each plain or gzipped) or an aclImdb folder.
 * @throws DataError naming the file and the row
 */
export async function loadData(
  path: string,
  options: LoadOptions = {},
): Promise<{ rows: DataRow[]; warnings: DataWarnings }> {
  const { htmlBreaks = 'newline', columns } = options;
  const all = await readFields(path);
  if (all.length === 0) fail(path, 'the file has no rows');
  const warnings: DataWarnings = { invalidUtf8: 0, emptyTexts: 0 };
  const rows = all.map((fields, index): DataRow => {
    const content = contentOf(fields, `${path}, row ${index + 1}`, options);
    if (JSON.stringify(content).includes('\ufffd')) warnings.invalidUtf8++;
    if (content.kind === 'labelled') {
      if (htmlBreaks === 'newline') content.text = content.text.replace(/<br\s*\/?>/g, '\n');
      if (content.text === '') warnings.emptyTexts++;
    }
    const id = fields[columns?.id ?? 'id'];
    return { ...content, index, ...(id === undefined ? {} : { id: String(id) }) };
  });
  const kinds = new Set(rows.map((r) => r.kind));
  if (kinds.size > 1) fail(path, `rows of different kinds: ${[...kinds].join(', ')}`);
  return { rows, warnings };
}

/** Rows with text and class; `labels` are the classes' names and `label` an index into them. */
export interface LabelledRow {
  index: number;
  id?: string;
  text: string;
  label: number;
}

/**
 * The class of every row. Without `names`, those found are taken, sorted.
 * @throws DataError when a row has no label, an unknown one, or an integer that no names explain
 */
export function labelledRows(
  rows: readonly DataRow[],
  path: string,
  names?: readonly string[],
): { rows: LabelledRow[]; labels: string[] } {
  const found = rows.map((row) => {
    const where = `${path}, row ${row.index + 1}`;
    if (row.kind !== 'labelled') return fail(where, 'expected a text with a label');
    if (row.label === undefined || row.label === '') return fail(where, 'it has no label');
    return { ...row, label: row.label };
  });
  if (!names && found.some((r) => typeof r.label === 'number' || /^\d+$/.test(r.label))) {
    fail(path, 'labels are integers: name them in order (--labels negative,positive)');
  }
  const labels = names ? [...names] : [...new Set(found.map((r) => String(r.label)))].sort();
  if (labels.length < 2) fail(path, `a classification needs two labels, found ${labels.join(', ')}`);
  return {
    labels,
    rows: found.map(({ index, id, text, label }) => {
      const name = labels.indexOf(String(label));
      const at = name >= 0 || !/^\d+$/.test(String(label)) ? name : Number(label);
      if (!(at in labels))
        fail(`${path}, row ${index + 1}`, `unknown label '${label}'; the labels are ${labels.join(', ')}`);
      return { index, id, text, label: at };
    }),
  };
}

/** Rows [a, b) in file order. @throws DataError when there are none */
export function rangeOf<T>(rows: readonly T[], range: { from: number; to: number } | undefined, path: string): T[] {
  const part = range ? rows.slice(range.from, range.to) : [...rows];
  if (part.length === 0) fail(path, `rows ${range?.from}:${range?.to} select none of its ${rows.length} rows`);
  return part;
}

/** `n` rows with as many of each class as can be, drawn by `seed`, in file order. */
export function balanced(rows: readonly LabelledRow[], n: number, seed: number): LabelledRow[] {
  const rng = new Rng(seed);
  const classes = new Map<number, LabelledRow[]>();
  for (const i of rng.permutation(rows.length)) {
    const row = rows[i];
    const queue = classes.get(row.label);
    if (queue) queue.push(row);
    else classes.set(row.label, [row]);
  }
  const queues = [...classes.entries()].sort(([a], [b]) => a - b).map(([, queue]) => queue);
  const taken: LabelledRow[] = [];
  for (let i = 0; taken.length < Math.min(n, rows.length); i++) {
    const row = queues[i % queues.length][Math.floor(i / queues.length)];
    if (row) taken.push(row);
  }
  return taken.sort((a, b) => a.index - b.index);
}

import { Rng } from '../engine/index.ts';
import { balanced, type DataRow, type LabelledRow, labelledRows, loadData, rangeOf } from '../peft/data.ts';
import type { Example } from '../peft/examples.ts';
import type { Values } from './options.ts';
import { type Output, plural } from './output.ts';

type DataValues = Values<
  'rows' | 'limit' | 'dataSeed' | 'labels' | 'textColumn' | 'labelColumn' | 'idColumn' | 'htmlBreaks'
>;

/** Rows of a data file: texts with classes, or prompts with completions. */
export type DataSet =
  | { kind: 'labelled'; rows: LabelledRow[]; labels: string[] }
  | { kind: 'completions'; rows: DataRow[] };

/** `3:` → { from: 3, to: ∞ } */
function parseRange(range: string): { from: number; to: number } {
  const [from, to] = range.split(':');
  return { from: Number(from), to: to === '' ? Number.POSITIVE_INFINITY : Number(to) };
}

/** The rows that the options select, in file order. Warns of what is odd in them. */
export async function readData(path: string, o: DataValues, out: Output): Promise<DataSet> {
  const { textColumn: text, labelColumn: label, idColumn: id, htmlBreaks } = o;
  const { rows, warnings } = await loadData(path, { columns: { text, label, id }, htmlBreaks });
  if (warnings.invalidUtf8 > 0)
    out.warn(`${path}: ${plural(warnings.invalidUtf8, 'row')} with bytes that are not UTF-8, read as U+FFFD`);
  if (warnings.emptyTexts > 0) out.warn(`${path}: ${plural(warnings.emptyTexts, 'row')} with an empty text`);
  const range = o.rows === undefined ? undefined : parseRange(o.rows);
  if (rows[0].kind !== 'labelled') {
    const some = rangeOf(rows, range, path);
    return { kind: 'completions', rows: o.limit === undefined ? some : sample(some, o.limit, o.dataSeed) };
  }
  const all = labelledRows(rows, path, o.labels);
  const some = rangeOf(all.rows, range, path);
  return {
    kind: 'labelled',
    labels: all.labels,
    rows: o.limit === undefined ? some : balanced(some, o.limit, o.dataSeed),
  };
}

/** `n` rows drawn by `seed`, in file order. */
function sample(rows: readonly DataRow[], n: number, seed: number): DataRow[] {
  const drawn = new Rng(seed).permutation(rows.length).slice(0, n);
  return drawn.sort((a, b) => a - b).map((i) => rows[i]);
}

/** Splits a fraction off for validation: balanced over the classes, drawn by `seed`. */
export function holdOut(data: DataSet, fraction: number, seed: number): { training: DataSet; validation: DataSet } {
  const n = Math.max(1, Math.round(fraction * data.rows.length));
  const held = data.kind === 'labelled' ? balanced(data.rows, n, seed) : sample(data.rows, n, seed);
  const indices = new Set(held.map((row) => row.index));
  const rest = (data.rows as { index: number }[]).filter((row) => !indices.has(row.index));
  return {
    training: { ...data, rows: rest } as DataSet,
    validation: { ...data, rows: held } as DataSet,
  };
}

/** How many texts were cut, and how many are still longer, with all that stands around them, than the model's `context`. */
export function reportLengths(
  examples: readonly Example[],
  { maxLength, context }: { maxLength: number; context: number },
  out: Output,
  what = 'texts',
): void {
  const of = `of ${examples.length} ${what}`;
  const cut = examples.filter((example) => example.cut).length;
  out.line(`${cut} ${of} cut to their first ${maxLength} tokens`);
  const length = ({ shared, prompt, answer }: Example): number => shared.length + prompt.length + answer.length;
  const beyond = examples.filter((example) => length(example) > context).length;
  const [are, their] = beyond === 1 ? ['is', 'its'] : ['are', 'their'];
  if (beyond > 0)
    out.warn(`${beyond} ${of} ${are} longer, with ${their} prompt, than the ${context} tokens the model was made for`);
}

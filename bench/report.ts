// What all benchmarks share: which machine it was, tables, JSON.
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { alignColumns } from '../cli/table.ts';

/** Instruction sets that decide how fast arithmetic can be, as Linux names them. */
const telling = /^(sse4_2|avx|avx2|fma|f16c|avx_vnni|avx512\w*|amx_\w+|asimd|asimddp|asimdhp|sve\w*|i8mm|bf16)$/;

export interface Machine {
  processor: string;
  /** CPU features that matter to kernels; empty where the system does not list them. */
  features: string[];
  cores: number;
  memoryBytes: number;
  system: string;
  node: string;
  v8: string;
  date: string;
}

export function machine(): Machine {
  let features: string[] = [];
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    features = (line?.[1] ?? '').split(' ').filter((f) => telling.test(f));
  } catch {
    // Only Linux has that file.
  }
  return {
    processor: cpus()[0]?.model ?? process.arch,
    features,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    date: new Date().toISOString(),
  };
}

export function printMachine(m: Machine): void {
  console.log(
    `${m.processor}, ${m.cores} cores, ${(m.memoryBytes / 2 ** 30).toFixed(1)} GiB; Node ${m.node}, ${m.system}`,
  );
  if (m.features.length > 0) console.log(`features: ${m.features.join(' ')}`);
}

export type Cell = string | number | undefined;

/** Prints rows under their headings: text to the left, numbers to the right, with three significant digits. */
export function printTable(headings: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const text = rows.map((row) => row.map(format));
  const numeric = headings.map((_, k) => rows.some((row) => typeof row[k] === 'number'));
  for (const line of alignColumns([headings, ...text], numeric)) console.log(line);
}

function format(cell: Cell): string {
  if (typeof cell !== 'number') return cell ?? '–';
  if (!Number.isFinite(cell)) return '–';
  return Math.abs(cell) >= 1000 ? Math.round(cell).toLocaleString('en-US') : cell.toPrecision(3);
}

/** The same for a page. */
export function markdownTable(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const text = (cell: Cell): string => {
    if (cell === undefined || cell === '') return '–';
    return typeof cell === 'number' ? significant(cell) : cell;
  };
  const line = (cells: readonly Cell[]): string => `| ${cells.map(text).join(' | ')} |`;
  const rule = headings.map((_, k) => (rows.some((row) => typeof row[k] === 'number') ? '---:' : '---'));
  return [line(headings), line(rule), ...rows.map(line)].join('\n');
}

/** Three digits that tell. */
export const significant = (n: number): string =>
  Math.abs(n) >= 100 ? Math.round(n).toLocaleString('en-US') : Number(n.toPrecision(3)).toString();

export async function writeJson(file: string | undefined, value: unknown): Promise<void> {
  if (file === undefined) return;
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}

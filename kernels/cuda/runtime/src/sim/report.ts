import type { SourceLine } from './ptx.ts';

export type ReportKind =
  | 'out-of-bounds'
  | 'use-after-free'
  | 'misaligned'
  | 'uninitialised'
  | 'race'
  | 'missing-wait'
  | 'divergent-barrier'
  | 'member-mask'
  | 'hang';

/** One finding of a checker. */
export interface Report {
  readonly kind: ReportKind;
  readonly kernel: string;
  /** Line in the PTX text, and of the CUDA source where the PTX has `.loc`. */
  readonly line: number;
  readonly source: SourceLine | undefined;
  readonly instruction: string;
  readonly thread: readonly [x: number, y: number, z: number];
  readonly block: readonly [x: number, y: number, z: number];
  /** Address in its state space; undefined where none is involved. */
  readonly address: number | undefined;
  /** What was expected and what was found. */
  readonly message: string;
}

export function formatReport(report: Report): string {
  const { kind, kernel, line, source, instruction, thread, block, address, message } = report;
  const place = source === undefined ? '' : ` (${source.file}:${source.line})`;
  const where = address === undefined ? '' : ` at 0x${address.toString(16)}`;
  return `${kind}: ${message}${where}\n  ${kernel}, PTX line ${line}${place}: ${instruction}\n  thread (${thread}) of block (${block})`;
}

/** An instruction that reports can name. */
export interface Site {
  readonly line: number;
  readonly source: SourceLine | undefined;
  readonly instruction: string;
}

/** Where the simulator is, for reports. */
interface Position {
  kernel: string;
  sites: readonly Site[];
  block: readonly [number, number, number];
  blockDim: readonly [number, number, number];
}

/**
 * Collects findings. One launch reports each pair of kind and instruction once, with the first thread that met it, and counts
 * the rest: a missing barrier would otherwise fill the screen.
 */
export class Reporter {
  readonly reports: Report[] = [];
  /** Findings, repeated ones included. */
  total = 0;
  readonly position: Position = { kernel: '', sites: [], block: [0, 0, 0], blockDim: [1, 1, 1] };
  readonly #seen = new Set<string>();

  /** Forgets what was seen, so that a new launch reports again. */
  begin(): void {
    this.reports.length = 0;
    this.total = 0;
    this.#seen.clear();
  }

  add(kind: ReportKind, site: number, warp: number, lane: number, address: number | undefined, message: string): void {
    this.total++;
    const key = `${kind} ${site}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const { kernel, sites, block, blockDim } = this.position;
    const thread = warp * 32 + lane;
    const [x, y] = blockDim;
    this.reports.push({
      kind,
      kernel,
      ...sites[site],
      thread: [thread % x, Math.floor(thread / x) % y, Math.floor(thread / (x * y))],
      block: [...block],
      address,
      message,
    });
  }
}

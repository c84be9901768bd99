import { existsSync } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, isAlive, isVacant, makeFolder, replaceFile } from '../engine/file.ts';
import { usageError } from './exit.ts';

/** A validation in the course of a training. */
export interface Validation {
  /** Absent for data without classes. */
  accuracy?: number;
  ci95?: [number, number];
  n: number;
  loss: number;
}

/** A line of metrics.jsonl: one optimizer step. */
export interface StepLine {
  step: number;
  epoch: number;
  loss: number;
  gradNorm: number;
  lr: number;
  tokens: number;
  seconds: number;
  val?: Validation;
}

/** Checkpoints that are kept; the newest is resumed from. */
const keptCheckpoints = 2;

/** What a training leaves: config.yaml, metrics.jsonl (one line a step), checkpoints/, adapter/; while it runs, also .writer. */
export class RunFolder implements AsyncDisposable {
  readonly path: string;
  #metrics: FileHandle | undefined;
  #claimed = false;

  constructor(path: string) {
    this.path = path;
  }

  get configPath(): string {
    return join(this.path, 'config.yaml');
  }

  get adapterPath(): string {
    return join(this.path, 'adapter');
  }

  get #metricsPath(): string {
    return join(this.path, 'metrics.jsonl');
  }

  get #writerPath(): string {
    return join(this.path, '.writer');
  }

  get #checkpointsPath(): string {
    return join(this.path, 'checkpoints');
  }

  /** @throws CliError when there is something at this path already */
  async assertNew(): Promise<void> {
    if (!(await isVacant(this.path)))
      throw usageError(`${this.path} exists already: choose another --out, or go on with --resume`);
  }

  /** @throws CliError when there is no run at this path */
  assertRun(): void {
    if (!existsSync(this.configPath)) throw usageError(`${this.path}: there is no run to resume (no config.yaml)`);
  }

  /**
   * Makes this process the only one that writes the run, until it is done. The file that says so holds its id, and counts
   * no longer when that process has died.
   * @throws CliError naming another process that writes the run
   */
  async claim(): Promise<void> {
    await writeFile(this.#writerPath, `${process.pid}`, { flag: 'wx' }).catch(async (error) => {
      if (error.code !== 'EEXIST') throw error;
      const writer = Number(await readFile(this.#writerPath, 'utf8'));
      // A container gives the same ids again.
      if (writer > 0 && writer !== process.pid && isAlive(writer)) {
        const mistaken = `if it is another program, remove ${this.#writerPath}`;
        throw usageError(`${this.path}: process ${writer} is writing this run (${mistaken})`);
      }
      await replaceFile(this.#writerPath, (file) => file.writeFile(`${process.pid}`));
    });
    this.#claimed = true;
  }

  async create(config: string): Promise<void> {
    await makeFolder(this.#checkpointsPath);
    await this.claim();
    await replaceFile(this.configPath, (file) => file.writeFile(config));
  }

  checkpointPath(step: number): string {
    return join(this.#checkpointsPath, `step-${String(step).padStart(6, '0')}`);
  }

  /** Steps of the complete checkpoints, ascending. */
  async checkpoints(): Promise<number[]> {
    const names = existsSync(this.#checkpointsPath) ? await readdir(this.#checkpointsPath) : [];
    return names
      .flatMap((name) => /^step-(\d{6,})$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
  }

  /** Removes all checkpoints but the newest. */
  async prune(): Promise<void> {
    for (const step of (await this.checkpoints()).slice(0, -keptCheckpoints)) {
      await rm(this.checkpointPath(step), { recursive: true });
    }
  }

  /**
   * Cuts the metrics back to `step`, opens them for more, and gives what is left.
   * @throws FormatError naming a line that is damaged
   */
  async openMetrics(step: number): Promise<StepLine[]> {
    const text = existsSync(this.#metricsPath) ? await readFile(this.#metricsPath, 'utf8') : '';
    const kept: StepLine[] = [];
    for (const [i, line] of text.split('\n').entries()) {
      // What follows may be damaged, where process or machine died: the checkpoint does not rely on it.
      if (line === '' || (kept.at(-1)?.step ?? 0) >= step) break;
      try {
        kept.push(JSON.parse(line));
      } catch (error) {
        throw new FormatError(`${this.#metricsPath}, line ${i + 1}: not JSON: ${(error as Error).message}`);
      }
    }
    await replaceFile(this.#metricsPath, (file) =>
      file.writeFile(kept.map((line) => `${JSON.stringify(line)}\n`).join('')),
    );
    this.#metrics = await open(this.#metricsPath, 'a');
    return kept;
  }

  async log(line: StepLine): Promise<void> {
    await this.#metrics?.appendFile(`${JSON.stringify(line)}\n`);
  }

  /** Metrics are on the disk before the checkpoint that relies on them. */
  async syncMetrics(): Promise<void> {
    await this.#metrics?.sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#metrics?.close();
    this.#metrics = undefined;
    if (this.#claimed) await rm(this.#writerPath, { force: true });
    this.#claimed = false;
  }
}

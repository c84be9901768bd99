import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { goldenPath } from './golden.ts';
import { writeCharacterTokenizer } from './tokenizer.ts';

const binary = join(import.meta.dirname, '..', '..', 'cli', 'lorikeet.mjs');

export interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Milliseconds after which a command counts as hanging: it is killed, and its code is null. */
const timeout = 120_000;

/**
 * Runs the real command to its end. `shell`: commands that the shell runs before it, a limit for instance; `variables`:
 * of its environment, beside the present ones.
 */
export function lorikeet(
  args: readonly string[],
  { input = '', shell = '', cwd = '.', variables = {} as Record<string, string> } = {},
): Result {
  const [command, rest] = shell
    ? ['bash', ['-c', `${shell}; exec "$@"`, 'bash', process.execPath, binary, ...args]]
    : [process.execPath, [binary, ...args]];
  const { LORIKEET_DEBUG: _, ...own } = process.env;
  const env = { ...own, ...variables };
  const { status, stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8', input, env, cwd, timeout });
  return { code: status, stdout, stderr };
}

/** Starts the real command; `result` is there when it ends. */
export function start(args: readonly string[]): { kill(signal: NodeJS.Signals): void; result: Promise<Result> } {
  const child = spawn(process.execPath, [binary, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const out: Result = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (text) => {
    out.stdout += text;
  });
  child.stderr.on('data', (text) => {
    out.stderr += text;
  });
  const result = new Promise<Result>((done) => {
    child.on('close', (code) => done({ ...out, code }));
  });
  return { kill: (signal) => child.kill(signal), result };
}

/** A folder for the tests of a file, removed at their end, with the tiny model and data in it. */
export function workFolder(): {
  path(...parts: string[]): string;
  write(name: string, text: string | Uint8Array): string;
} {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lorikeet-cli-'));
    makeModel(join(folder, 'model'));
    writeFileSync(join(folder, 'data.jsonl'), rows(24).join(''));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const path = (...parts: string[]): string => join(folder, ...parts);
  const write = (name: string, text: string | Uint8Array): string => {
    writeFileSync(path(name), text);
    return path(name);
  };
  return { path, write };
}

/** Reviews in JSON Lines, `good` and `bad` in turn. */
export const rows = (n: number): string[] =>
  Array.from({ length: n }, (_, i) => {
    const label = i % 2 === 0 ? 'good' : 'bad';
    return `${JSON.stringify({ id: `r${i}`, text: `film ${i} was ${label}${'!'.repeat(i % 5)}`, label })}\n`;
  });

/** The golden model llama2 (2 layers of width 32, 96 tokens) with a tokenizer of single characters, which it lacks. */
function makeModel(folder: string): void {
  for (const file of ['config.json', 'generation_config.json', 'model.safetensors']) {
    cpSync(goldenPath('llama2', file), join(folder, file));
  }
  writeCharacterTokenizer(folder, 96);
}

/** The values in a file of JSON Lines. */
export const jsonLines = (path: string): Record<string, unknown>[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

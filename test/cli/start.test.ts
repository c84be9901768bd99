import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { jsonLines, workFolder } from '../support/cli.ts';

const { path } = workFolder();
const script = join(import.meta.dirname, '..', '..', 'cli', 'start.ts');
const npmStart = (...args: string[]) =>
  spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', cwd: path() });

it('npm start evaluates, trains, evaluates again, says where things are, and exits 1 without a significant gain', () => {
  // A random model of two layers learns nothing of reviews, but goes all the way.
  const { status, stdout, stderr } = npmStart('--model', path('model'), '--threads', '1');
  expect(stderr).toContain('lorikeet: the gain is not significant: the intervals overlap');
  expect(status).toBe(1);
  const found = /accuracy before ([\d.]+)% \[.*\], after ([\d.]+)% \[/.exec(stdout);
  const [, adapter] = /^adapter +(\S+)/m.exec(stdout) ?? [];
  const [, predictions] = /^predictions +(\S+)/m.exec(stdout) ?? [];
  expect(existsSync(path(adapter, 'adapter_model.safetensors'))).toBe(true);
  const lines = jsonLines(path(predictions));
  expect(lines).toHaveLength(100);
  expect(lines.filter((line) => line.correct)).toHaveLength(Math.round(Number(found?.[2])));
});

it('npm start -- --model NAME: a model that is none, an unknown flag', () => {
  const none = npmStart('--model', 'nothing');
  expect([none.status, none.stderr]).toEqual([
    5,
    expect.stringMatching(/nothing: neither a file or folder nor a name/),
  ]);
  expect(npmStart('--modle', 'x').status).toBe(2);
});

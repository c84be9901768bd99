import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { doctor } from '../../cli/doctor.ts';
import { evaluate } from '../../cli/eval.ts';
import { generate } from '../../cli/generate.ts';
import { inspect } from '../../cli/inspect.ts';
import { merge } from '../../cli/merge.ts';
import { flagName, options } from '../../cli/options.ts';
import { pull } from '../../cli/pull.ts';
import { train } from '../../cli/train.ts';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const text = `${read('README.md')}\n${read('CONTRIBUTING.md')}`;
const verbs = [train, evaluate, generate, merge, inspect, doctor, pull];

const commands = [...text.matchAll(/^npx lorikeet (.*)$/gm)].map(([, line]) => line);

test.each(commands)('lorikeet %s: a command with flags that it takes', (line) => {
  const [name, ...words] = line.split(' ');
  const verb = verbs.find((v) => v.name === name);
  expect(verb?.name).toBe(name);
  const known = verb?.options.map((o) => `--${options[o].default === true ? 'no-' : ''}${flagName(o)}`);
  for (const flag of words.filter((w) => w.startsWith('--'))) expect(known).toContain(flag);
});

test('the README shows every command', () => {
  const shown = new Set(commands.map((line) => line.split(' ')[0]));
  expect([...shown, 'pull'].sort()).toEqual(verbs.map((v) => v.name).sort());
});

test('every flag and npm script that the documents name exists', () => {
  const flags = Object.entries(options).map(([name, o]) => `--${o.default === true ? 'no-' : ''}${flagName(name)}`);
  for (const [flag] of text.matchAll(/(?<=[` ])--[a-z][a-z-]+/g)) {
    expect([...flags, '--help', '--save-exact']).toContain(flag);
  }
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  for (const [, script] of text.matchAll(/npm run ([a-z:-]+)/g)) expect(Object.keys(scripts)).toContain(script);
});

// `npm run bench:accuracy`: what fine-tuning reaches on real data: IMDB, AG News and TREC, through the command line as a
// user would give it, every setting trained on the first rows of the training file and evaluated on the first 500 test rows.
//
//   npm run bench:accuracy -- [SETTING …] [--model NAME|PATH] [--runs DIR] [--write]
//
// A SETTING is a name of the tables below or the beginning of one; without any, all of them (hours). What was finished is in
// DIR/NAME.json and is not computed again; a run that was interrupted goes on from its last checkpoint. --write puts everything
// that DIR holds into bench/ACCURACY.json and makes bench/ACCURACY.md of that. The data are read from LORIKEET_DATA (default
// ../shared).
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { replaceFile } from '../engine/file.ts';
import { accuracyPage, type Result } from './accuracyPage.ts';
import { referencePath } from './referenceData.ts';
import { type Setting, settings } from './settings.ts';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct-q4_1' },
    runs: { type: 'string', default: 'runs/accuracy' },
    write: { type: 'boolean', default: false },
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs `lorikeet`, its messages on the terminal; resolves to what it wrote to standard output. */
function lorikeet(args: string[]): Promise<string> {
  const child = spawn(process.execPath, [join(root, 'cli/lorikeet.mjs'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    text += piece;
  });
  return new Promise((done, fail) => {
    child.on('close', (code, signal) =>
      code === 0 ? done(text) : fail(new Error(`lorikeet ${args.join(' ')} ended with ${code ?? signal}`)),
    );
  });
}

async function measure({ name, task, train, both = [], evaluateOn }: Setting): Promise<Result> {
  console.error(`\n${name}`);
  const run = join(flags.runs, name);
  const common = ['--model', flags.model, ...task.flags];
  if (train) {
    const args = existsSync(run)
      ? ['--resume']
      : [...common, '--data', referencePath(task.train), ...train, ...both, '--save-every', '20'];
    await lorikeet(['train', ...args, '--out', run, '--json']);
  }
  const from = train ? ['--adapter', join(run, 'adapter'), '--model', flags.model] : common;
  const { file, rows } = evaluateOn;
  const text = await lorikeet(['eval', ...from, '--data', referencePath(file), '--rows', rows, ...both, '--json']);
  const { accuracy, n, ci95, macroF1 } = JSON.parse(text);
  return { name, model: flags.model, date: new Date().toISOString().slice(0, 10), accuracy, n, ci95, macroF1 };
}

const writeText = (path: string, text: string): Promise<void> => replaceFile(path, (file) => file.writeFile(text));
const unknown = positionals.find((wanted) => !settings.some(({ name }) => name.startsWith(wanted)));
if (unknown !== undefined)
  throw new Error(`no setting is called ${unknown}; there are ${settings.map(({ name }) => name).join(', ')}`);
const fileOf = (name: string) => join(flags.runs, `${name}.json`);
mkdirSync(flags.runs, { recursive: true });
for (const setting of settings) {
  const wanted = positionals.length === 0 || positionals.some((beginning) => setting.name.startsWith(beginning));
  if (!wanted || existsSync(fileOf(setting.name))) continue;
  const result = await measure(setting);
  await writeText(fileOf(setting.name), `${JSON.stringify(result, null, 2)}\n`);
}
/** Results by setting: those of the last page, and in their place what DIR holds. */
const published = fileURLToPath(new URL('ACCURACY.json', import.meta.url));
const results: Result[] = JSON.parse(readFileSync(published, 'utf8'));
const latest = new Map(results.map((result) => [result.name, result]));
for (const { name } of settings) {
  if (existsSync(fileOf(name))) latest.set(name, JSON.parse(readFileSync(fileOf(name), 'utf8')));
}
const ordered = settings.flatMap(({ name }) => latest.get(name) ?? []);
const page = accuracyPage(ordered);
console.log(page);
if (flags.write) {
  await writeText(published, `[\n${ordered.map((result) => JSON.stringify(result)).join(',\n')}\n]\n`);
  await writeText(fileURLToPath(new URL('ACCURACY.md', import.meta.url)), page);
}

// What the README shows is what runs here: its examples are taken from it by their markers.
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { documented } from '../../.ci/docs.ts';
import { goldenPath } from '../support/golden.ts';
import { writeCharacterTokenizer } from '../support/tokenizer.ts';

const run = promisify(execFile);
const url = (path: string): string => new URL(`../../${path}`, import.meta.url).href;

/** The code block that follows `<!-- example: NAME -->`. */
async function example(name: string): Promise<string> {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const code = new RegExp(`<!-- example: ${name} -->\n\`\`\`ts\n(.*?)\n\`\`\``, 's').exec(readme)?.[1];
  if (code === undefined) throw new Error(`README.md has no example ${name}`);
  return code;
}

/** Runs a module as a user would, with the packages being the sources, and gives what it prints. */
async function output(code: string, prepare?: (folder: string) => Promise<void>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lorikeet-readme-'));
  try {
    await prepare?.(folder);
    const file = join(folder, 'example.ts');
    await writeFile(
      file,
      code.replaceAll(/'lorikeet\/(\w+)'/g, (_, name) => `'${url(`${name}/index.ts`)}'`),
    );
    return (await run(process.execPath, [file], { cwd: folder })).stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('the network learns XOR, in 20 lines', async () => {
  const code = await example('network');
  expect(code.split('\n').filter(Boolean).length).toBeLessThanOrEqual(20);
  const printed = await output(code);
  const found = /\[([^\]]*)\]/.exec(printed)?.[1].split(',').map(Number) as number[];
  for (const [i, e] of [0, 1, 1, 0].entries()) expect(found[i]).toBeCloseTo(e, 1);
});

const check = `
import { createReferenceBackend, registry, withBackend } from 'lorikeet/engine';
import { gradcheck } from '${url('test/support/gradcheck.ts')}';
import { seededGen } from '${url('test/support/gen.ts')}';
const backend = createReferenceBackend();
const def = registry.get('softplus');
withBackend(backend, () => {
  for (let seed = 0; seed < 100; seed++) gradcheck(def, def.dtypes[0], seededGen(seed, backend));
});
console.log('checked');
`;

test('the user’s op passes the gradient check', async () => {
  expect(await output((await example('op')) + check)).toContain('checked');
});

test('with another gradient it does not', async () => {
  const code = await example('op');
  const wrong = code.replace('mul(g, sigmoid(x))', 'mul(g, mul(sigmoid(x), 1.01))');
  expect(wrong).not.toBe(code);
  await expect(output(wrong + check)).rejects.toThrow(/softplus, input 0/);
});

test('the user’s op computes on wasm, gradient included', async () => {
  const use = `
import { backward, createWasmBackend, parameter, setBackend, tensor } from 'lorikeet/engine';
const backend = await createWasmBackend({ threads: 1 });
setBackend(backend);
const x = parameter(tensor([[0, 1]]));
const y = softplus(x);
backward(y, tensor([[1, 1]]));
console.log(JSON.stringify([...(await y.data()), ...(await x.grad.data())]));
await backend.close();
`;
  const found = JSON.parse(await output((await example('op')) + use)) as number[];
  const expected = [Math.log(2), Math.log(1 + Math.E), 0.5, 1 / (1 + Math.exp(-1))];
  for (const [i, e] of expected.entries()) expect(found[i]).toBeCloseTo(e, 6);
});

test('its tables are those of the code (npm run docs writes them)', async () => {
  const { found, written } = await documented();
  expect(found).toBe(written);
});

test('fine-tuning from code: a tiny model in place of the real one', async () => {
  const code = (await example('training')).replace('smollm2-135m-instruct-q4_1', 'model');
  const printed = await output(code, async (folder) => {
    await cp(goldenPath('llama2'), join(folder, 'model'), { recursive: true });
    writeCharacterTokenizer(join(folder, 'model'), 96);
    const review = (label: string): string => `${JSON.stringify({ text: `a ${label} film`, label })}\n`;
    const reviews = [...'abcdef'].flatMap(() => ['positive', 'negative'].map(review)).join('');
    for (const name of ['reviews', 'test']) await writeFile(join(folder, `${name}.jsonl`), reviews);
  });
  const lines = printed.trim().split('\n');
  expect(lines.map((line) => line.split(':')[0]).slice(0, 4)).toEqual(['1/4', '2/4', '3/4', '4/4']);
  expect(Number(lines[4])).toBeGreaterThanOrEqual(0.5);
});

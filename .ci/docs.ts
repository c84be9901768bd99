// `npm run docs`: writes the README's tables from the code: ops from the registry, exit codes from the command line's. A
// test fails when one is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { exitCodes } from '../cli/exit.ts';
import { type DType, weightDTypes } from '../engine/dtype.ts';
import {
  createCudaBackend,
  createReferenceBackend,
  createWasmBackend,
  registry,
  scope,
  withBackend,
} from '../engine/index.ts';
import type { AnyOp } from '../engine/op.ts';
import { seededGen } from '../test/support/gen.ts';

const readme = new URL('../README.md', import.meta.url);

/** Types by input: `weight` stands for every type a frozen weight may have, brackets for an input that may be left out. */
function types({ dtypes }: AnyOp): string {
  const most = Math.max(...dtypes.map((d) => d.length));
  const least = Math.min(...dtypes.map((d) => d.length));
  const inputs = Array.from({ length: most }, (_, i) => {
    const found = [...new Set(dtypes.flatMap((d): DType[] => (i < d.length ? [d[i]] : [])))];
    const stored = weightDTypes.every((w) => found.includes(w));
    const rest = stored ? ['weight', ...found.filter((d) => d === 'i32')] : found;
    return i < least ? rest.join('/') : `[${rest.join('/')}]`;
  });
  return inputs.join(', ');
}

/** Where an op runs: backends that have all kernels it launches, or what it needs instead of kernels. */
function runsOn(def: AnyOp, backends: readonly { name: string; kernels: readonly string[] }[]): string {
  if (!def.launch) return def.view ? 'all (a view)' : 'all (made of other ops)';
  const reference = createReferenceBackend();
  const launched = withBackend(reference, () =>
    def.dtypes.flatMap((dtypes) => {
      using _ = scope();
      const [inputs, attrs] = def.sample(seededGen(0, reference), dtypes);
      const specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
      const needs = specs.map(() => false);
      return def.launch?.(specs, attrs, needs).map((l) => l.kernel) ?? [];
    }),
  );
  const complete = backends.filter(({ kernels }) => launched.every((k) => kernels.includes(k)));
  return ['reference', ...complete.map((b) => b.name)].join(', ');
}

async function opTable(): Promise<string[]> {
  const wasm = await createWasmBackend({ threads: 1 });
  await wasm.close();
  const simulated = await createCudaBackend({ device: 'cuda-sim' });
  await simulated.close();
  const backends = [wasm, { name: 'cuda', kernels: simulated.kernels }];
  const rows = [...registry.values()].map((def) => {
    const gradient = def.vjp ? 'yes' : def.inPlace ? 'in place' : '–';
    return `| \`${def.name}\` | ${def.doc.replaceAll('|', '\\|')} | ${gradient} | ${types(def)} | ${runsOn(def, backends)} |`;
  });
  return ['| op | what it computes | gradient | types of its inputs | runs on |', '|---|---|---|---|---|', ...rows];
}

const exitTable = (): string[] => [
  '| exit status | |',
  '|---|---|',
  ...Object.values(exitCodes).map(({ code, meaning }) => `| ${code} | ${meaning} |`),
];

/** `text` with the lines between the markers of `name` replaced. */
function replaceSection(text: string, name: string, lines: string[]): string {
  const [begin, end] = [`<!-- ${name}: npm run docs -->\n`, `<!-- /${name} -->`];
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`README.md has no place for a table: ${begin.trim()} … ${end}`);
  return `${before}${begin}${lines.join('\n')}\n${end}${after}`;
}

/** The README as it is, and with today's tables in it. */
export async function documented(): Promise<{ found: string; written: string }> {
  const found = readFileSync(readme, 'utf8');
  return { found, written: replaceSection(replaceSection(found, 'ops', await opTable()), 'exit', exitTable()) };
}

if (import.meta.main) writeFileSync(readme, (await documented()).written);

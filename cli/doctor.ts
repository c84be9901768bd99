import { readFile } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { createWasmBackend } from '../engine/index.ts';
import { openCuda } from './backend.ts';
import { CliError } from './exit.ts';
import { verb } from './verb.ts';
import { version } from './version.ts';

/** The smallest modules that need a feature: a function of one instruction sequence each. */
const features: Record<string, number[]> = {
  // v128.const 0; i8x16.popcnt; drop
  'SIMD (128 bit)': [0xfd, 0x0c, ...new Array(16).fill(0), 0xfd, 0x62, 0x1a],
  // v128.const 0, three times; f32x4.relaxed_madd; drop
  'relaxed SIMD (FMA)': [...new Array(3).fill([0xfd, 0x0c, ...new Array(16).fill(0)]).flat(), 0xfd, 0x85, 0x02, 0x1a],
};

function supports(body: number[]): boolean {
  const code = [0, ...body, 0x0b];
  const bytes = [
    0,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    1,
    4,
    1,
    0x60,
    0,
    0,
    3,
    2,
    1,
    0,
    10,
    code.length + 2,
    1,
    code.length,
    ...code,
  ];
  return WebAssembly.validate(Uint8Array.from(bytes));
}

/** One thing that was looked at. `needed`: without it nothing runs. */
interface Finding {
  name: string;
  found: string;
  ok: boolean;
  needed?: boolean;
}

async function wasmFindings(threads: number | undefined): Promise<Finding[]> {
  const started = performance.now();
  try {
    const backend = await createWasmBackend({ threads, revectorize: true, products: 'int16' });
    const { build, threads: running, threadsReason, revectorize, revectorizeInt16, revectorizeReason } = backend.info;
    const onOff = (on: boolean): string => (on ? 'on' : 'off');
    const ms = Math.round(performance.now() - started);
    await backend.close();
    return [
      { name: 'kernels', found: `${build} build, ${backend.kernels.length} kernels, ready in ${ms} ms`, ok: true },
      {
        name: 'threads',
        found: `${running} of ${availableParallelism()} cores${threadsReason ? `: ${threadsReason}` : ''}`,
        ok: !threadsReason,
      },
      {
        name: 'revectorizer',
        found:
          `${onOff(revectorize)} in f32, ${onOff(revectorizeInt16)} in 16 bits (256-bit code from 128-bit SIMD): ` +
          revectorizeReason,
        ok: revectorize,
      },
    ];
  } catch (error) {
    return [{ name: 'kernels', found: `cannot start: ${(error as Error).message}`, ok: false, needed: true }];
  }
}

async function cudaFinding(): Promise<Finding> {
  try {
    await using device = await openCuda('cuda');
    return { name: 'CUDA', found: device.reason, ok: true };
  } catch (error) {
    return { name: 'CUDA', found: (error as Error).message, ok: false };
  }
}

/** Node's JavaScript engine and the processor it runs on. */
async function processor(): Promise<string> {
  const info = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  return /^model name\s*:\s*(.*)$/m.exec(info)?.[1] ?? process.arch;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

export const doctor = verb({
  name: 'doctor',
  summary: 'what this machine can run: Node, WebAssembly features, threads, CUDA',
  details: 'Exit status 0: the GPU and the CPU can be used; 6: the CPU alone; 1: neither.',
  options: ['threads', 'config', 'json'],
  async run({ threads }, { out }) {
    const cuda = await cudaFinding();
    const findings: Finding[] = [
      { name: 'lorikeet', found: version, ok: true },
      { name: 'node', found: `${process.version}, V8 ${process.versions.v8}`, ok: true },
      { name: 'processor', found: `${await processor()}, ${availableParallelism()} cores`, ok: true },
      { name: 'memory', found: `${gib(totalmem())}, ${gib(freemem())} free`, ok: true },
      ...Object.entries(features).map(([name, body]) => {
        const ok = supports(body);
        return { name, found: ok ? 'yes' : 'no', ok, needed: name.startsWith('SIMD') };
      }),
      ...(await wasmFindings(threads)),
      cuda,
    ];
    const width = Math.max(...findings.map(({ name }) => name.length));
    for (const { name, found, ok } of findings) out.line(`${ok ? '✓' : '✗'} ${name.padEnd(width)}  ${found}`);
    out.result(Object.fromEntries(findings.map(({ name, found, ok }) => [name, { ok, found }])));
    const missing = findings.filter(({ ok, needed }) => needed && !ok);
    if (missing.length > 0)
      throw new CliError('goal', `this machine cannot run Lorikeet: ${missing.map(({ name }) => name).join(', ')}`);
    if (!cuda.ok)
      throw new CliError(
        'device',
        'no GPU can be used (CUDA, above, says why); on the CPU (--device wasm) everything works',
      );
  },
});

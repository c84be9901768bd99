// `npm run bench`: every op of the registry on the wasm backend, at the sizes it names itself, against what the machine
// can do at best: multiply-adds alone, and the fastest copy of about as many bytes, measured in the same run.
//
//   npm run bench -- [OP …] [--threads N] [--no-revectorize] [--int16] [--seconds S] [--json FILE]
import { parseArgs } from 'node:util';
import Benchmark from 'benchmark';
import type { WasmInfo } from '../engine/backends/wasm.ts';
import { isQuantized } from '../engine/dtype.ts';
import { execute } from '../engine/execute.ts';
import { createWasmBackend, noGrad, registry, scope, setBackend } from '../engine/index.ts';
import type { AnyOp, BenchInput } from '../engine/op.ts';
import { formatShape } from '../engine/shape.ts';
import { inputTensor } from './inputs.ts';
import { peak } from './peaks.ts';
import { type Cell, machine, printMachine, printTable, writeJson } from './report.ts';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: {
    threads: { type: 'string' },
    revectorize: { type: 'boolean', default: true },
    int16: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '0.5' },
    json: { type: 'string' },
  },
});

interface Rate {
  /** benchmark.js's mean over its samples, and the smallest of them. */
  seconds: number;
  fastest: number;
  /** The mean's relative margin of error, in percent. */
  margin: number;
}

/** Times one op on these inputs with benchmark.js. Gradients that an op makes in its forward pass are made. */
function time(def: AnyOp, specs: BenchInput[], attrs: unknown): Rate {
  using _ = scope();
  const inputs = specs.map(inputTensor);
  const needs = specs.map(
    ({ dtype }, i) => !!def.vjp && dtype !== 'i32' && !isQuantized(dtype) && !def.constants?.includes(i),
  );
  const run = (): void => {
    using _ = scope();
    noGrad(() => execute(def, inputs, attrs, needs, !!def.launch));
  };
  const bench = new Benchmark(def.name, run, { maxTime: Number(flags.seconds), minSamples: 5 });
  bench.run();
  const { error } = bench as { error?: Error };
  if (error) throw error;
  return { seconds: bench.stats.mean, fastest: Math.min(...bench.stats.sample), margin: bench.stats.rme };
}

interface Roofline {
  /** Billion operations a second of all threads, by what is multiplied. A multiply-add is two. */
  gflops: { f32: number; int16: number };
  /** Copies that read and write so many bytes in all. */
  copies: { bytes: number; gbytes: number }[];
}

/** Billion multiply-adds a second of one thread: on a busy machine too, most of half a second is after V8 has optimised a loop. */
function measurePeaks() {
  const [f32, wideF32, wideInt8, wideInt16] = (['f32', 'wideF32', 'wideInt8', 'wideInt16'] as const).map((loop) =>
    peak(loop, 0.5),
  );
  return { f32, wideF32, wideInt8, wideInt16 };
}

/**
 * What no kernel can beat: multiply-adds that need no memory, and the fastest sample of copies from the caches and from memory.
 * Products of our own would lower the roof with themselves.
 */
function roofline({ revectorize, threads }: WasmInfo, peaks: ReturnType<typeof measurePeaks>): Roofline {
  const append = registry.get('appendRows') as AnyOp;
  const floats = (n: number): BenchInput => ({ shape: [n], dtype: 'f32' });
  const copies = [0.25, 1, 4, 16, 64, 256].map((mib) => {
    const bytes = mib * 2 ** 20;
    const { fastest } = time(append, [floats(bytes / 8), floats(bytes / 8)], { at: 0 });
    return { bytes, gbytes: bytes / fastest / 1e9 };
  });
  const f32 = revectorize ? peaks.wideF32 : peaks.f32;
  return { gflops: { f32: 2 * threads * f32, int16: 2 * threads * peaks.wideInt16 }, copies };
}

/** Bytes a second of the copy whose size is nearest. */
function bandwidth({ copies }: Roofline, bytes: number): number {
  const distance = (copy: { bytes: number }): number => Math.abs(Math.log(copy.bytes / Math.max(1, bytes)));
  return 1e9 * copies.reduce((a, b) => (distance(b) < distance(a) ? b : a)).gbytes;
}

interface Measured extends Rate {
  op: string;
  inputs: string[];
  /** Billion floating-point operations and bytes a second, by the op's own account of its work. */
  gflops: number;
  gbytes: number;
  /** Share of the time that the slower of arithmetic and memory would take at the roofline. */
  ofRoofline: number;
}

/** Ops whose products --int16 makes in 16 bits. */
const inInt16 = ['linear', 'linearGradInput', 'loraLinear', 'loraLinearGradInput', 'lora'];

function measure(def: AnyOp, inputs: BenchInput[], attrs: unknown, best: Roofline): Measured {
  const rate = time(def, inputs, attrs);
  const { multiplyAdds, bytes } = def.cost(inputs, attrs);
  const arithmetic = best.gflops[flags.int16 && inInt16.includes(def.name) ? 'int16' : 'f32'];
  const least = Math.max((2 * multiplyAdds) / (arithmetic * 1e9), bytes / bandwidth(best, bytes));
  return {
    op: def.name,
    inputs: inputs.map(({ shape, dtype }) => `${dtype} ${formatShape(shape)}`),
    ...rate,
    gflops: (2 * multiplyAdds) / rate.seconds / 1e9,
    gbytes: bytes / rate.seconds / 1e9,
    ofRoofline: least / rate.seconds,
  };
}

for (const name of positionals) {
  if (!registry.has(name)) throw new Error(`there is no op ${name}; ops: ${[...registry.keys()].join(', ')}`);
}
const threads = flags.threads === undefined ? undefined : Number(flags.threads);
const backend = await createWasmBackend({
  threads,
  revectorize: flags.revectorize,
  products: flags.int16 ? 'int16' : 'f32',
});
setBackend(backend);
const where = machine();
printMachine(where);
console.log(`wasm, ${JSON.stringify(backend.info)}`);
const peaks = measurePeaks();
const best = roofline(backend.info, peaks);
const [narrow, wide, int8, int16] = Object.values(peaks).map((x) => x.toFixed(1));
console.log(
  `multiply-adds a thread: f32 ${narrow} G/s in 128 bits, ${wide} paired; int8 dot products ${int8} G/s; ` +
    `the tile of int16 ${int16} G/s`,
);
const rates = best.copies.map(({ bytes, gbytes }) => `${gbytes.toFixed(1)} GB/s of ${bytes / 2 ** 20} MiB`);
const ofInt16 = flags.int16 ? ` (${inInt16.join(', ')}: ${best.gflops.int16.toFixed(1)})` : '';
console.log(`roofline: ${best.gflops.f32.toFixed(1)} GFLOP/s${ofInt16}; copies ${rates.join(', ')}\n`);
const results: Measured[] = [];
for (const def of registry.values()) {
  if (positionals.length > 0 && !positionals.includes(def.name)) continue;
  for (const [inputs, attrs] of def.bench?.() ?? []) {
    results.push(measure(def, inputs, attrs, best));
    // Timers and Ctrl-C get their turn.
    await backend.sync();
  }
}
printTable(
  ['op', 'inputs', 'µs', '±%', 'GFLOP/s', 'GB/s', '% of roofline'],
  results.map((r): Cell[] => [
    r.op,
    r.inputs.slice(0, 3).join(', '),
    r.seconds * 1e6,
    r.margin,
    r.gflops || undefined,
    r.gbytes || undefined,
    100 * r.ofRoofline || undefined,
  ]),
);
await writeJson(flags.json, { machine: where, backend: backend.info, roofline: best, peaks, results });
await backend.close();

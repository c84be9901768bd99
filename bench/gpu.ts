// `npm run bench:gpu`: the CUDA products and attention of a LLaMA2-7B step on the first GPU, beside the roofline that
// `npm run bench:ptx` models for it. A product with a weight in blocks is timed with its widening, which the model leaves out.

import { CliError, fail } from '../cli/exit.ts';
import { createCudaBackend } from '../engine/backends/cuda.ts';
import { time } from './gpuTiming.ts';
import { cases, storedCases } from './ptxCases.ts';
import { count, problem } from './ptxCounters.ts';
import { bound, gpus } from './ptxModel.ts';
import { type Cell, machine, printMachine, printTable } from './report.ts';
import { median } from './statistics.ts';

const RUNS = 20;
/** More than any L2 cache, and longer to fill than a run is to queue. */
const FILL_BYTES = 2 ** 29;

const backend = await createCudaBackend().catch((error: Error) =>
  fail(new CliError('device', `bench:gpu: ${error.message}`)),
);
const { name, attributes } = backend.device;
printMachine(machine());
console.log(`${name}, sm_${attributes.computeCapability.join('')}, ${attributes.multiprocessors} multiprocessors\n`);
const computed = [...cases, ...storedCases].filter(({ entry }) =>
  backend.computes.includes(entry.includes('bf16') ? 'bf16' : 'f32'),
);
const measured = [];
for (const c of computed) {
  for (const sizes of c.extrapolated) {
    const samples = await time(backend, c, sizes, { runs: RUNS, fillBytes: FILL_BYTES });
    measured.push({ c, sizes, seconds: median(samples) / 1000, fastest: Math.min(...samples) / 1000 });
  }
}
await backend.close();

// Minutes on the simulator: only where the model knows the GPU.
const gpu = gpus.find(({ driverName }) => driverName.test(name));
const counted = new Map<string, ReturnType<typeof count>>();
if (gpu) for (const c of computed) if (!counted.has(c.entry)) counted.set(c.entry, count(c));

printTable(
  ['entry', 'inputs', 'sizes', 'µs', 'fastest', 'TFLOP/s', 'model µs', 'bound by', 'TFLOP/s', '% of model'],
  measured.map(({ c, sizes, seconds, fastest }): Cell[] => {
    const counters = counted.get(c.entry);
    const model = gpu && counters && bound(problem(c, sizes, counters), gpu);
    const rate = (per: number): number => c.flops(sizes) / per / 1e12;
    const modelled = model && [1e6 * model.seconds, model.unit, rate(model.seconds), (100 * model.seconds) / seconds];
    const [x, w] = c.inputs(sizes).inputs;
    const what = [c.entry, `${x.dtype}, ${w.dtype}`, sizes.join('×')];
    return [...what, 1e6 * seconds, 1e6 * fastest, rate(seconds), ...(modelled ?? Array(4).fill(undefined))];
  }),
);
if (!gpu) console.log(`\nbench/ptxModel.ts has no data sheet of ${name}: no model`);

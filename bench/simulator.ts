// Rate of the CUDA simulator in thread-instructions a second of CPU time, with its checks on and off.
// Usage: node bench/simulator.ts [seconds per measurement]
import { readFileSync } from 'node:fs';
import { ArgumentBlock, type Dim3 } from '../kernels/cuda/runtime/src/runtime.ts';
import { openSimulator, type Simulator, type SimulatorOptions } from '../kernels/cuda/runtime/src/sim/simulator.ts';

const seconds = Number(process.argv[2] ?? 1);
const ptx = (name: string) => readFileSync(new URL(`../test/kernels/cuda/ptx/${name}.ptx`, import.meta.url), 'utf8');

type Work = {
  kernel: string;
  module: string;
  grid: Dim3;
  block: Dim3;
  shared: number;
  args(device: Simulator): Uint8Array;
};

const floats = (device: Simulator, n: number) => {
  const pointer = device.alloc(4 * n);
  const values = Float32Array.from({ length: n }, (_, i) => Math.sin(i));
  device.writeAsync(pointer, new Uint8Array(values.buffer));
  return pointer;
};
const half = (device: Simulator, n: number) => {
  const pointer = device.alloc(2 * n);
  // bf16 numbers of magnitude near 1.
  device.writeAsync(
    pointer,
    new Uint8Array(Uint16Array.from({ length: n }, (_, i) => 0x3f80 ^ ((i & 1) << 15) ^ (i % 100)).buffer),
  );
  return pointer;
};

const works: Work[] = [
  {
    module: 'elementwise',
    kernel: 'axpy',
    grid: [2048, 1, 1],
    block: [256, 1, 1],
    shared: 0,
    args: (d) =>
      new ArgumentBlock()
        .pointer(floats(d, 2 ** 19))
        .pointer(floats(d, 2 ** 19))
        .f32(0.5)
        .i32(2 ** 19).bytes,
  },
  {
    module: 'elementwise',
    kernel: 'softmax',
    grid: [128, 1, 1],
    block: [256, 1, 1],
    shared: 0,
    args: (d) =>
      new ArgumentBlock()
        .pointer(floats(d, 2 ** 18))
        .pointer(floats(d, 2 ** 18))
        .i32(2048).bytes,
  },
  {
    module: 'elementwise',
    kernel: 'blockSum',
    grid: [1024, 1, 1],
    block: [256, 1, 1],
    shared: 1024,
    args: (d) =>
      new ArgumentBlock()
        .pointer(floats(d, 1024))
        .pointer(floats(d, 2 ** 18))
        .i32(2 ** 18).bytes,
  },
  {
    module: 'gemm',
    kernel: 'sgemm',
    grid: [8, 8, 1],
    block: [16, 16, 1],
    shared: 0,
    args: (d) =>
      new ArgumentBlock()
        .pointer(floats(d, 2 ** 14))
        .pointer(floats(d, 2 ** 14))
        .pointer(floats(d, 2 ** 14))
        .i32(128)
        .i32(128)
        .i32(128).bytes,
  },
  {
    module: 'gemm',
    kernel: 'hgemm',
    grid: [4, 4, 1],
    block: [128, 1, 1],
    shared: 0,
    args: (d) =>
      new ArgumentBlock()
        .pointer(floats(d, 2 ** 16))
        .pointer(half(d, 2 ** 16))
        .pointer(half(d, 2 ** 16))
        .i32(256)
        .i32(256)
        .i32(256).bytes,
  },
];

const allOff = { memory: false, uninitialised: false, races: false, sync: false, counters: false };
const modes: [string, SimulatorOptions][] = [
  ['checks on', {}],
  ['checks off', { checks: allOff }],
];

for (const work of works) {
  const device = openSimulator({ checks: { ...allOff, counters: true } });
  const run = (
    on: Simulator,
    args: Uint8Array,
    kernel: ReturnType<ReturnType<Simulator['loadModule']>['getFunction']>,
  ) => on.launch(kernel, work.grid, work.block, work.shared, args);
  run(device, work.args(device), device.loadModule(ptx(work.module)).getFunction(work.kernel));
  const instructions = device.counts.threadInstructions;
  const rates = modes.map(([name, options]) => {
    const timed = openSimulator(options);
    const kernel = timed.loadModule(ptx(work.module)).getFunction(work.kernel);
    const args = work.args(timed);
    run(timed, args, kernel);
    run(timed, args, kernel);
    // CPU time, so that other work on the machine does not count.
    let runs = 0;
    const start = process.cpuUsage();
    let time = 0;
    while (time < seconds) {
      run(timed, args, kernel);
      runs++;
      const { user, system } = process.cpuUsage(start);
      time = (user + system) / 1e6;
    }
    return `${name} ${((instructions * runs) / time / 1e6).toFixed(0).padStart(5)} M/s (${((1000 * time) / runs).toFixed(1)} ms)`;
  });
  console.log(
    `${work.kernel.padEnd(10)} ${(instructions / 1e6).toFixed(1).padStart(6)} M thread-instructions  ${rates.join('  ')}`,
  );
}

// What a kernel's counters imply on a GPU: a roofline over the units that may limit it. A model, not a measurement.

/** Data sheets: NVIDIA's whitepapers of A100 (GA100), Ada (AD102) and H100 (GH100, SXM5), and that of H200; boost clocks. */
export interface Gpu {
  readonly name: string;
  /** What the driver calls it. */
  readonly driverName: RegExp;
  /** The sm_ that ptxas compiles for. */
  readonly architecture: number;
  readonly multiprocessors: number;
  readonly hertz: number;
  /** Dense bf16 with f32 sums through mma.sync, and f32 through fma; FLOP/s. */
  readonly tensor: number;
  readonly f32: number;
  /** Bytes/s. */
  readonly dram: number;
  /** Per multiprocessor. */
  readonly sharedBytes: number;
  readonly warps: number;
}

const h100: Gpu = {
  name: 'H100 SXM',
  driverName: /H100 80GB HBM3/,
  architecture: 90,
  multiprocessors: 132,
  hertz: 1.83e9,
  // 989 TFLOP/s need wgmma; mma.sync reaches 63% of that (Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU
  // Architecture via Microbenchmarking", 2024).
  tensor: 0.63 * 989e12,
  f32: 66.9e12,
  dram: 3.35e12,
  sharedBytes: 228 * 1024,
  warps: 64,
};

export const gpus: readonly Gpu[] = [
  {
    name: 'A100 80GB',
    driverName: /A100.*80GB/,
    architecture: 80,
    multiprocessors: 108,
    hertz: 1.41e9,
    tensor: 312e12,
    f32: 19.5e12,
    dram: 2.039e12,
    sharedBytes: 164 * 1024,
    warps: 64,
  },
  {
    name: 'RTX 4090',
    driverName: /RTX 4090$/,
    architecture: 89,
    multiprocessors: 128,
    hertz: 2.52e9,
    tensor: 165.2e12,
    f32: 82.6e12,
    dram: 1.008e12,
    sharedBytes: 100 * 1024,
    warps: 48,
  },
  h100,
  // The same chip with other memory.
  { ...h100, name: 'H200 SXM', driverName: /H200/, dram: 4.8e12 },
];

/** What ptxas says about an entry. */
export interface Resources {
  readonly registers: number;
  readonly spilledBytes: number;
  readonly sharedBytes: number;
}

/** Blocks of `threads` that a multiprocessor holds at once. */
export function residentBlocks({ registers, sharedBytes }: Resources, threads: number, gpu: Gpu): number {
  const warps = Math.ceil(threads / 32);
  // Registers are given to warps in units of 256 out of 65,536; a block's shared memory has 1 KB of the system's beside it.
  const byRegisters = Math.floor(65536 / (Math.ceil((registers * 32) / 256) * 256 * warps));
  return Math.min(byRegisters, Math.floor(gpu.sharedBytes / (sharedBytes + 1024)), Math.floor(gpu.warps / warps), 32);
}

/** What a launch, or a part of one, did. */
export interface Counters {
  readonly warpInstructions: number;
  readonly mma: number;
  readonly ldmatrix: number;
  /** Shared memory: 128-byte wavefronts, and as many as there were without bank conflicts. */
  readonly wavefronts: number;
  readonly ideal: number;
  /** Loads of global memory by warps, and 32-byte sectors of it, read through L2 and written. */
  readonly loads: number;
  readonly sectorsRead: number;
  readonly sectorsWritten: number;
}

export interface Problem {
  readonly blocks: number;
  /** Where there are no matrix instructions that count them. */
  readonly flops: number;
  /** Every input once and every output once. */
  readonly bytes: number;
  /** Of a block. */
  readonly counters: Counters;
}

/** Of `mma.m16n8k16`. */
const MMA_FLOPS = 2 * 16 * 8 * 16;

/** Seconds that each unit is busy; the largest bounds the kernel's time from below. */
export function roofline({ blocks, flops, bytes, counters }: Problem, gpu: Gpu): Record<string, number> {
  const { mma, wavefronts, warpInstructions, sectorsRead } = counters;
  // The last blocks leave some multiprocessors idle: the fullest one has so many of all blocks.
  const most = Math.ceil(blocks / gpu.multiprocessors);
  const clocks = (n: number): number => (n * most) / gpu.hertz;
  const arithmetic = mma > 0 ? (MMA_FLOPS * mma) / gpu.tensor : flops / blocks / gpu.f32;
  return {
    arithmetic: arithmetic * gpu.multiprocessors * most,
    // A wavefront, four instructions, or 64 bytes from L2 a clock and multiprocessor.
    shared: clocks(wavefronts),
    issue: clocks(warpInstructions / 4),
    L2: clocks((32 * sectorsRead) / 64),
    DRAM: bytes / gpu.dram,
  };
}

/** The unit that is busy longest. */
export function bound(problem: Problem, gpu: Gpu): { unit: string; seconds: number } {
  const [unit, seconds] = Object.entries(roofline(problem, gpu)).reduce((a, b) => (b[1] > a[1] ? b : a));
  return { unit, seconds };
}

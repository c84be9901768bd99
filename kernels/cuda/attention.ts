import {
  type Call,
  ceilDiv,
  computeTypes,
  each,
  type Family,
  type Kernel,
  type Phase,
  single,
  threads,
} from './table.ts';

/** Constants of attention.cu, and TILE of attention.cuh. */
const [ROWS, WARPS, STREAM, TILE, MAX_D] = [16, 4, 32, 32, 128];

/** Blocks of ROWS rows of the plan's tiles × `heads`. ints: Tq, H, D, Tk, KVH, keys in use, tiles. */
function tiled(entry: string, { ints: [, , D, , , , tiles] }: Call, heads: number, weights: number): Phase {
  if (D > MAX_D) throw new RangeError(`${entry}: heads are ${D} wide, the CUDA kernels take up to ${MAX_D}`);
  const padded = 8 * ceilDiv(D, 8);
  const floats = 2 * ROWS * padded + 2 * STREAM * (padded + 4) + weights * WARPS * STREAM * (ROWS / WARPS);
  return { entry, grid: [tiles * (TILE / ROWS), heads, 1], block: [32 * WARPS, 1, 1], sharedBytes: 4 * floats };
}

/** Constants of attentionMma.cuh and attentionMmaGrad.cuh; rows streamed at a time, by D. */
const MMA = { TILES: 4, THREADS: 256, forwardSteps: { 64: 64, 128: 64 }, gradSteps: { 64: 32, 128: 16 } };

/** Widths that bf16 takes on tensor cores. */
const onTensorCores = (name: string, D: number): D is 64 | 128 => name.endsWith('_bf16') && (D === 64 || D === 128);

/** Blocks of four tiles × `heads`, with `step` streamed rows of two operands in two stages, and `own` bytes beside them. */
function mma(name: string, { ints: [, , D, , , , tiles] }: Call, heads: number, step: number, own = 0): Phase {
  const grid = [ceilDiv(tiles, MMA.TILES), heads, 1] as const;
  return { entry: `${name}_mma${D}`, grid, block: [MMA.THREADS, 1, 1], sharedBytes: 2 * 2 * step * D * 2 + own };
}

/** Blocks of queries: the forward pass, and the gradient for q. */
const byQueries = (steps: typeof MMA.gradSteps): ((name: string) => Kernel) =>
  single((name, call) => {
    const [, H, D] = call.ints;
    return onTensorCores(name, D) ? mma(name, call, H, steps[D]) : tiled(name, call, H, 1);
  });

const gradKeyValue = (name: string): Kernel => ({
  // δ [Tq, H]
  scratchBytes: ({ ints: [Tq, H] }) => 4 * Tq * H,
  phases: (call) => {
    const [Tq, H, D, Tk, KVH, keys] = call.ints;
    // The block's own rows of k and v, and two numbers for each streamed query.
    const own = (step: number): number => 2 * MMA.TILES * TILE * D * 2 + 2 * 2 * step * 4;
    return [
      threads(`${name}_delta`, 32 * Tq * H),
      threads(`${name}_rest`, 2 * (Tk - keys) * KVH * D),
      onTensorCores(name, D)
        ? mma(name, call, KVH, MMA.gradSteps[D], own(MMA.gradSteps[D]))
        : tiled(name, call, KVH, 2),
    ];
  },
});

export const attention: Family = {
  ...each(['attention'], computeTypes, byQueries(MMA.forwardSteps)),
  ...each(['attentionGradQuery'], computeTypes, byQueries(MMA.gradSteps)),
  ...each(['attentionGradKeyValue'], computeTypes, gradKeyValue),
};

import { type Call, ceilDiv, computeTypes, each, type Family, type Kernel, type Phase, threads } from './table.ts';

/** Constants of attention.cu, and TILE of attention.cuh. */
const [ROWS, WARPS, STREAM, TILE, MAX_D] = [16, 4, 32, 32, 128];

/** Blocks of ROWS rows of the plan's tiles × `heads`. ints: Tq, H, D, Tk, KVH, keys in use, tiles. */
function tiled(entry: string, { ints: [, , D, , , , tiles] }: Call, heads: number, weights: number): Phase {
  if (D > MAX_D) throw new RangeError(`${entry}: heads are ${D} wide, the CUDA kernels take up to ${MAX_D}`);
  const padded = 8 * ceilDiv(D, 8);
  const floats = 2 * ROWS * padded + 2 * STREAM * (padded + 4) + weights * WARPS * STREAM * (ROWS / WARPS);
  return { entry, grid: [tiles * (TILE / ROWS), heads, 1], block: [32 * WARPS, 1, 1], sharedBytes: 4 * floats };
}

/** Constants of attentionMma.cuh. */
const MMA = { TILES: 4, THREADS: 256, KEYS: 64 };

/** A block for each head of q. */
const perQuery = (name: string): Kernel => ({ phases: (call) => [tiled(name, call, call.ints[1], 1)] });

/** The forward pass; bf16 of the usual head widths on tensor cores, keys and values of two stages in shared memory. */
const forward = (name: string): Kernel => ({
  phases: (call) => {
    const [, H, D, , , , tiles] = call.ints;
    if (name !== 'attention_bf16' || (D !== 64 && D !== 128)) return [tiled(name, call, H, 1)];
    const [grid, block] = [[ceilDiv(tiles, MMA.TILES), H, 1] as const, [MMA.THREADS, 1, 1] as const];
    return [{ entry: `${name}_mma${D}`, grid, block, sharedBytes: 2 * 2 * (2 * MMA.KEYS * D) }];
  },
});

const perKey = (name: string): Kernel => ({
  // δ [Tq, H]
  scratchBytes: ({ ints: [Tq, H] }) => 4 * Tq * H,
  phases: (call) => {
    const [Tq, H, D, Tk, KVH, keys] = call.ints;
    return [
      threads(`${name}_delta`, 32 * Tq * H),
      threads(`${name}_rest`, 2 * (Tk - keys) * KVH * D),
      tiled(name, call, KVH, 2),
    ];
  },
});

export const attention: Family = {
  ...each(['attention'], computeTypes, forward),
  ...each(['attentionGradQuery'], computeTypes, perQuery),
  ...each(['attentionGradKeyValue'], computeTypes, perKey),
};

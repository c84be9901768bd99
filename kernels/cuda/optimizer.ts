import { type Call, ceilDiv, each, type Family, type Kernel, single, threads } from './table.ts';

/** Blocks that the sum of squares is cut into at most; one block adds what they find. */
const MAX_PIECES = 1024;

function pieces({ ints: [n] }: Call): { chunk: number; count: number } {
  const chunk = Math.max(4096, 4 * ceilDiv(n, 4 * MAX_PIECES));
  return { chunk, count: ceilDiv(n, chunk) };
}

const globalNorm: Kernel = {
  scratchBytes: (call) => 8 * pieces(call).count,
  phases: (call) => {
    const { chunk, count } = pieces(call);
    const squares = threads('globalNorm_f32_squares', 256 * count, [call.ints[0], chunk]);
    return [squares, threads('globalNorm_f32_finish', 1, [count])];
  },
};

/** Four elements a thread. */
const step = single((name, { work }) => threads(name, ceilDiv(work[0], 4)));

export const optimizer: Family = { globalNorm_f32: globalNorm, ...each(['adamwStep', 'sgdStep'], ['f32'], step) };

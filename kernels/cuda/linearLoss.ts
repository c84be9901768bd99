import { blocks, inTiles, onTensorCores, plain, suffixOf } from './gemm.ts';
import {
  type Call,
  type Compute,
  ceilDiv,
  computeTypes,
  type Family,
  type Kernel,
  type Phase,
  threads,
  weightTypes,
} from './table.ts';

/** THREADS and `LossTile` of linearLoss.cu. */
const THREADS = 256;
const tiles = { f32: plain, bf16: onTensorCores };
/** Blocks that the sums of the gradient are cut into pieces for, where the tiles of [R, C] are fewer. */
const BLOCKS = 256;

/** Logits of a chunk: many rows take few columns at a time, whole STEPs, and few rows so many that a launch is worth its while. */
const MAX_LOGITS = 2 ** 23;
const STEP = 128;
const [MIN_CHUNK, MAX_CHUNK] = [256, 4096];

/** What follows from the shapes alone. ints: R, V, n, columns of the targets, C. */
function plan({ ints: [R, V, , , C] }: Call, compute: Compute, weight: string, grad: boolean) {
  const fitting = Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, STEP * Math.floor(MAX_LOGITS / Math.max(1, R) / STEP)));
  const capacity = STEP * Math.max(1, ceilDiv(Math.min(V, fitting), STEP));
  const tile = tiles[compute];
  const all = blocks({ tile, M: R, N: C, K: capacity });
  const most = Math.min(8, ceilDiv(Math.min(V, capacity), 32), Math.floor(BLOCKS / Math.max(1, all)));
  const pieces = grad ? Math.max(1, most) : 0;
  let end = 0;
  const place = (bytes: number): number => {
    const begin = end;
    end += ceilDiv(bytes, 256);
    return begin;
  };
  const bytes = compute === 'bf16' ? 2 : 4;
  place(3 * 4 * R);
  const widened = weight === compute ? -1 : place(bytes * capacity * C);
  const z = place(4 * R * capacity);
  const e = grad && compute !== 'f32' ? place(bytes * R * capacity) : z;
  const a = place(4 * pieces * R * C);
  return { tile, capacity, pieces, scratchBytes: 256 * end, ints: [pieces, widened, z, e, a] };
}

function linearLogProbs(op: string, compute: Compute, weight: string): Kernel {
  const grad = op === 'linearLogProbsGrad';
  const phases = (call: Call, alignment: number): Phase[] => {
    const [R, V, n, , C] = call.ints;
    const { tile, capacity, pieces, ints } = plan(call, compute, weight, grad);
    const chunk = (begin: number): Phase[] => {
      const count = Math.min(capacity, V - begin);
      const own = [...call.ints, begin, count, ...ints];
      const product = (what: string, N: number, K: number, parts: number, ...columns: number[]): Phase => {
        const entry = `${op}_${compute}_${what}${suffixOf(compute, alignment, ...columns)}`;
        return { ...inTiles(entry, { tile, M: R, N, K }, parts), ints: own };
      };
      const carry = grad ? `${op}_${compute}_carry` : `${op}_carry`;
      return [
        ...(weight === compute ? [] : [threads(`${op}_${compute}_widen_${weight}`, count * ceilDiv(C, 4), own)]),
        product('logits', count, C, 1, C),
        { entry: carry, grid: [R, 1, 1], block: [THREADS, 1, 1], ints: own },
        ...(grad ? [product('sums', C, count, pieces, count, C)] : []),
      ];
    };
    // Without a vocabulary there is still a total of 0 to be written.
    const chunks = Array.from({ length: Math.max(1, ceilDiv(V, capacity)) }, (_, i) => chunk(i * capacity));
    const last = [...call.ints, V, 0, ...ints];
    return [
      ...chunks.flat(),
      grad
        ? {
            entry: `${op}_${compute}_rows_${weight}`,
            grid: [R, ceilDiv(C, 4 * THREADS), 1],
            block: [THREADS, 1, 1],
            ints: last,
          }
        : threads(`${op}_rows`, R, last),
      threads(`${op}_targets`, n, last),
    ];
  };
  return { scratchBytes: (call) => plan(call, compute, weight, grad).scratchBytes, phases };
}

export const linearLoss: Family = Object.fromEntries(
  ['linearLogProbs', 'linearLogProbsGrad'].flatMap((op) =>
    computeTypes.flatMap((T) => weightTypes.map((W) => [`${op}_${T}_${W}`, linearLogProbs(op, T, W)])),
  ),
);

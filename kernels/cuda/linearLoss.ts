import {
  type Call,
  ceilDiv,
  computeTypes,
  each,
  type Family,
  type Kernel,
  type Phase,
  threads,
  weightTypes,
} from './table.ts';

/** Constants of linearLoss.cu. */
const [THREADS, TILE, DEPTH] = [256, 64, 16];
/** Blocks that the sums of the gradient are cut into pieces for, where the tiles of [R, C] are fewer. */
const BLOCKS = 256;

/** Logits of a chunk: many rows take few columns at a time, and few rows so many that a launch is worth its while. */
const MAX_LOGITS = 2 ** 23;
const [MIN_CHUNK, MAX_CHUNK] = [256, 4096];

/** What follows from the shapes alone. ints: R, V, n, columns of the targets, C. */
function plan({ ints: [R, V, , , C] }: Call, compute: string, weight: string, grad: boolean) {
  const fitting = Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, TILE * Math.floor(MAX_LOGITS / Math.max(1, R) / TILE)));
  const capacity = TILE * Math.max(1, ceilDiv(Math.min(V, fitting), TILE));
  const tiles = ceilDiv(R, TILE) * ceilDiv(C, TILE);
  const most = Math.min(8, ceilDiv(Math.min(V, capacity), DEPTH), Math.floor(BLOCKS / Math.max(1, tiles)));
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
  return { capacity, pieces, scratchBytes: 256 * end, ints: [capacity, pieces, widened, z, e, a] };
}

function linearLogProbs(name: string): Kernel {
  const [op, compute, ...rest] = name.split('_');
  const weight = rest.join('_');
  const grad = op === 'linearLogProbsGrad';
  const phases = (call: Call): Phase[] => {
    const [R, V, n, , C] = call.ints;
    const { capacity, pieces, ints } = plan(call, compute, weight, grad);
    const block = [THREADS, 1, 1] as const;
    const chunk = (begin: number): Phase[] => {
      const count = Math.min(capacity, V - begin);
      const own = [...call.ints, begin, count, ...ints];
      const [rows, columns] = [ceilDiv(R, TILE), ceilDiv(count, TILE)];
      const widen = threads(`${op}_${compute}_widen_${weight}`, count * ceilDiv(C, 4), own);
      return [
        ...(weight === compute ? [] : [widen]),
        { entry: `${op}_${compute}_logits`, grid: [rows, columns, 1], block, ints: own },
        { entry: grad ? `${op}_${compute}_carry` : `${op}_carry`, grid: [R, 1, 1], block, ints: own },
        ...(grad
          ? [{ entry: `${op}_${compute}_sums`, grid: [rows, ceilDiv(C, TILE), pieces] as const, block, ints: own }]
          : []),
      ];
    };
    // Without a vocabulary there is still a total of 0 to be written.
    const chunks = Array.from({ length: Math.max(1, ceilDiv(V, capacity)) }, (_, i) => chunk(i * capacity));
    const last = [...call.ints, V, 0, ...ints];
    return [
      ...chunks.flat(),
      grad
        ? { entry: `${op}_${compute}_rows_${weight}`, grid: [R, ceilDiv(C, 4 * THREADS), 1], block, ints: last }
        : threads(`${op}_rows`, R, last),
      threads(`${op}_targets`, n, last),
    ];
  };
  return { scratchBytes: (call) => plan(call, compute, weight, grad).scratchBytes, phases };
}

export const linearLoss: Family = each(
  ['linearLogProbs', 'linearLogProbsGrad'],
  computeTypes.flatMap((T) => weightTypes.map((W) => `${T}_${W}`)),
  linearLogProbs,
);

import { ceilDiv, type Phase, threads } from './table.ts';

/** gemm.cuh, mma.cuh: `Tile<T>`. */
const tiles = { f32: { side: 64, threads: 128 }, bf16: { side: 128, threads: 256 } };

export interface Product {
  /** Of the operands as they are multiplied. */
  type: 'f32' | 'bf16';
  M: number;
  N: number;
  K: number;
  batches?: number;
}

const blocks = ({ type, M, N, batches = 1 }: Product): number =>
  batches * ceilDiv(M, tiles[type].side) * ceilDiv(N, tiles[type].side);

/** A block for each tile. */
export const whole = (entry: string, p: Product): Phase => ({
  entry,
  grid: [blocks(p), 1, 1],
  block: [tiles[p.type].threads, 1, 1],
});

/** Blocks that keep every GPU busy, and the shortest part of K that is worth a pass over partial sums. */
const [ENOUGH, SHORTEST] = [128, 128];

/** How K is cut where there are few tiles: `partOfProduct` in gemm.cuh. Like the order of sums, a function of shapes alone. */
function cut(p: Product): { chunk: number; parts: number } {
  const most = p.batches === undefined || p.batches === 1 ? Math.floor(p.K / SHORTEST) : 1;
  const wanted = blocks(p) < ENOUGH ? Math.min(most, ceilDiv(2 * ENOUGH, Math.max(1, blocks(p)))) : 1;
  if (wanted <= 1) return { chunk: p.K, parts: 1 };
  const chunk = 32 * ceilDiv(p.K, 32 * wanted);
  return { chunk, parts: ceilDiv(p.K, chunk) };
}

/** Scratch memory for partial sums. */
export function partialBytes(p: Product): number {
  const { parts } = cut(p);
  return parts > 1 ? 4 * parts * p.M * p.N : 0;
}

/**
 * The phases of a product that may be cut: `entry` with the ints and the chunk, then, where it is cut, `total` with its ints and
 * the number of parts.
 */
export function inParts(
  p: Product,
  [entry, ints]: readonly [string, readonly number[]],
  [total, totalInts]: readonly [string, readonly number[]],
): Phase[] {
  const { chunk, parts } = cut(p);
  const sums = whole(entry, p);
  const first: Phase = { ...sums, grid: [sums.grid[0], parts, 1], ints: [...ints, chunk] };
  return parts > 1 ? [first, threads(total, p.M * ceilDiv(p.N, 4), [...totalInts, parts])] : [first];
}

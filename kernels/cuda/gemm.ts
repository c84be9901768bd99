import { type Compute, ceilDiv, type Phase, type Target, threads } from './table.ts';

/** What a block makes of a product. */
interface Tile {
  side: number;
  threads: number;
}
/** PlainTile of gemm.cuh. */
export const plain: Tile = { side: 64, threads: 128 };
/** MmaTile of mma.cuh. */
export const onTensorCores: Tile = { side: 128, threads: 256 };
/** `Tile<T>` of mma.cuh. */
export const tileOf = (type: Compute, target: Target): Tile => (type === 'f32' && target >= 80 ? plain : onTensorCores);

export interface Product {
  tile: Tile;
  M: number;
  N: number;
  K: number;
  batches?: number;
}

export const blocks = ({ tile: { side }, M, N, batches = 1 }: Product): number =>
  batches * ceilDiv(M, side) * ceilDiv(N, side);

/** A block for each tile and each part that the sums are cut into. */
export const inTiles = (entry: string, p: Product, parts = 1): Phase => ({
  entry,
  grid: [blocks(p), parts, 1],
  block: [p.tile.threads, 1, 1],
});

/** Suffix of entries whose operands come by cp.async: bf16 whose rows are whole packets of 16 bytes and begin at multiples of it. */
export const suffixOf = (type: Compute, alignment: number, ...columns: number[]): string =>
  type === 'bf16' && alignment >= 16 && columns.every((n) => n % 8 === 0) ? '_async' : '';

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
  const first: Phase = { ...inTiles(entry, p, parts), ints: [...ints, chunk] };
  return parts > 1 ? [first, threads(total, p.M * ceilDiv(p.N, 4), [...totalInts, parts])] : [first];
}

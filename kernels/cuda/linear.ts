import { inParts, inTiles, type Product, partialBytes, suffixOf, tileOf } from './gemm.ts';
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
import { inBlocks } from './weight.ts';

/** Rows up to which a product reads the weight as it is stored. */
const GEMV_ROWS = 8;
/**
 * Columns of a block, which is four warps: linear.cu's `columnsOf`.
 * @internal
 */
export const gemvColumns = (W: string): number => (inBlocks(W) ? 16 : 4);

const elements = ({ ints: [, N, K] }: Call): number => N * K;
/** Bytes of the weight in the activations' type, which it is widened to where it has another one. */
const wideBytes = (T: Compute, W: string, call: Call): number => (T === W ? 0 : elements(call) * (T === 'f32' ? 4 : 2));

function widen(op: string, T: Compute, W: string, call: Call): Phase[] {
  return T === W ? [] : [threads(`${op}_${T}_${W}_widen`, ceilDiv(elements(call), 4), [elements(call)])];
}

/** ints: rows, N, K and what else the op has */
function product(op: string, T: Compute, W: string, sizes: (call: Call) => Product): Kernel {
  /** Units of 256 bytes, as linear.cu's `Scratch` counts them. */
  const wideUnits = (call: Call): number => ceilDiv(wideBytes(T, W, call), 256);
  return {
    scratchBytes: (call) => {
      const partial = partialBytes(sizes(call));
      return partial > 0 ? 256 * wideUnits(call) + partial : wideBytes(T, W, call);
    },
    phases: (call, alignment) => {
      const p = sizes(call);
      const entry = `${op}_${T}`;
      const ints = [...call.ints, wideUnits(call)];
      const first = `${entry}${suffixOf(T, alignment, p.K, call.ints[2])}`;
      return [...widen(op, T, W, call), ...inParts(p, [first, ints], [`${entry}_total`, ints])];
    },
  };
}

/** ints: rows, N, K, whether there is a bias */
function forward(T: Compute, W: string): Kernel {
  const many = product('linear', T, W, ({ ints: [M, N, K], target }) => ({ tile: tileOf(T, target), M, N, K }));
  const few = ({ ints: [rows] }: Call): boolean => rows <= GEMV_ROWS;
  return {
    scratchBytes: (call) => (few(call) ? 0 : (many.scratchBytes?.(call) ?? 0)),
    phases: (call, alignment) =>
      few(call)
        ? [{ entry: `linear_${T}_${W}_gemv`, grid: [ceilDiv(call.ints[1], gemvColumns(W)), 1, 1], block: [128, 1, 1] }]
        : many.phases(call, alignment),
  };
}

/** ints: rows, N, K */
const gradInput = (T: Compute, W: string): Kernel =>
  product('linearGradInput', T, W, ({ ints: [M, N, K], target }) => ({ tile: tileOf(T, target), M, N: K, K: N }));

/** ints: rows, N, K */
const add = (T: Compute): Kernel => ({
  scratchBytes: (call) => wideBytes(T, 'f32', call),
  phases: (call, alignment) => {
    const [M, N, K] = call.ints;
    const entry = `linearAdd_${T}${suffixOf(T, alignment, K)}`;
    return [...widen('linearAdd', T, 'f32', call), inTiles(entry, { tile: tileOf(T, call.target), M, N, K })];
  },
});

export const linear: Family = Object.fromEntries(
  computeTypes.flatMap((T) => [
    [`linearAdd_${T}`, add(T)],
    ...weightTypes.flatMap((W): [string, Kernel][] => [
      [`linear_${T}_${W}`, forward(T, W)],
      [`linearGradInput_${T}_${W}`, gradInput(T, W)],
    ]),
  ]),
);

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

/** The same in units of 256 bytes, as linear.cu's `Scratch` counts them. */
const wideUnits = (T: Compute, W: string, call: Call): number => ceilDiv(wideBytes(T, W, call), 256);

function widen(op: string, T: Compute, W: string, call: Call): Phase[] {
  return T === W ? [] : [threads(`${op}_${T}_${W}_widen`, ceilDiv(elements(call), 4), [elements(call)])];
}

/** ints: rows, N, K and what else the op has */
function product(op: string, T: Compute, W: string, sizes: (call: Call) => Product): Kernel {
  return {
    scratchBytes: (call) => {
      const partial = partialBytes(sizes(call));
      return partial > 0 ? 256 * wideUnits(T, W, call) + partial : wideBytes(T, W, call);
    },
    phases: (call, alignment) => {
      const p = sizes(call);
      const entry = `${op}_${T}`;
      const ints = [...call.ints, wideUnits(T, W, call)];
      const first = `${entry}${suffixOf(T, alignment, p.K, call.ints[2])}`;
      return [...widen(op, T, W, call), ...inParts(p, [first, ints], [`${entry}_total`, ints])];
    },
  };
}

const few = ({ ints: [rows] }: Call): boolean => rows <= GEMV_ROWS;
const sizesOf = (T: Compute, { ints: [M, N, K], target }: Call): Product => ({ tile: tileOf(T, target), M, N, K });

/** ints: rows, N, K, whether there is a bias */
function forward(T: Compute, W: string): Kernel {
  const many = product('linear', T, W, (call) => sizesOf(T, call));
  return {
    scratchBytes: (call) => (few(call) ? 0 : (many.scratchBytes?.(call) ?? 0)),
    phases: (call, alignment) =>
      few(call)
        ? [{ entry: `linear_${T}_${W}_gemv`, grid: [ceilDiv(call.ints[1], gemvColumns(W)), 1, 1], block: [128, 1, 1] }]
        : many.phases(call, alignment),
  };
}

/** Of a gradient for the input; ints: rows, N, K */
const gradSizesOf = (T: Compute, { ints: [M, N, K], target }: Call): Product => ({
  tile: tileOf(T, target),
  M,
  N: K,
  K: N,
});

/** ints: rows, N, K */
const gradInput = (T: Compute, W: string): Kernel => product('linearGradInput', T, W, (call) => gradSizesOf(T, call));

/** ints: rows, N, r */
const add: Kernel = { phases: (call) => [inTiles('linearAdd_f32', sizesOf('f32', call))] };
/** ints: rows, r, K */
const gradInputAdd: Kernel = { phases: (call) => [inTiles('linearGradInputAdd_f32', gradSizesOf('f32', call))] };

/**
 * linear in bf16 and u·Bᵀ, which an adapter adds. ints: rows, N, K, whether there is a bias, r; buffers: y, x, W, bias, u, B. All
 * but the product are linear's own phases, which get what they get from linear.
 */
function lora(W: string): Kernel {
  const plain = forward('bf16', W);
  const ofLinear = (phase: Phase): Phase => ({ ...phase, buffers: [0, 1, 2, 3, 6] });
  return {
    scratchBytes: plain.scratchBytes,
    phases: (call, alignment) => {
      const [M, N, K, hasBias, r] = call.ints;
      const ints = [M, N, K, hasBias];
      if (few(call)) {
        const [gemv] = plain.phases(call, alignment);
        return [
          ofLinear({ ...gemv, ints }),
          { ...threads('loraLinear_bf16_add', M * N, [M, N, r]), buffers: [0, 4, 5] },
        ];
      }
      const units = wideUnits('bf16', W, call);
      const [first, ...total] = inParts(
        sizesOf('bf16', call),
        [`loraLinear_bf16${suffixOf('bf16', alignment, K)}`, [...ints, r, units]],
        ['linear_bf16_total', [...ints, units]],
      );
      return [...widen('linear', 'bf16', W, call).map(ofLinear), first, ...total.map(ofLinear)];
    },
  };
}

/** The same of linearGradInput. ints: rows, N, K, r, whether there is a mask; buffers: dx, g, W, gu, A, mask. */
function loraGradInput(W: string): Kernel {
  const { scratchBytes } = gradInput('bf16', W);
  const ofGradInput = (phase: Phase): Phase => ({ ...phase, buffers: [0, 1, 2, 6], floats: [] });
  return {
    scratchBytes,
    phases: (call, alignment) => {
      const [M, N, K] = call.ints;
      const units = wideUnits('bf16', W, call);
      const [first, ...total] = inParts(
        gradSizesOf('bf16', call),
        [`loraLinearGradInput_bf16${suffixOf('bf16', alignment, N, K)}`, [...call.ints, units]],
        ['linearGradInput_bf16_total', [M, N, K, units]],
      );
      return [...widen('linearGradInput', 'bf16', W, call).map(ofGradInput), first, ...total.map(ofGradInput)];
    },
  };
}

export const linear: Family = Object.fromEntries([
  ['linearAdd_f32', add],
  ['linearGradInputAdd_f32', gradInputAdd],
  ...weightTypes.flatMap((W): [string, Kernel][] => [
    [`loraLinear_bf16_${W}`, lora(W)],
    [`loraLinearGradInput_bf16_${W}`, loraGradInput(W)],
  ]),
  ...computeTypes.flatMap((T) =>
    weightTypes.flatMap((W): [string, Kernel][] => [
      [`linear_${T}_${W}`, forward(T, W)],
      [`linearGradInput_${T}_${W}`, gradInput(T, W)],
    ]),
  ),
]);

import { tiles } from './matmul.ts';
import { type Call, ceilDiv, computeTypes, type Family, type Kernel, threads, weightTypes } from './table.ts';

/** Rows up to which a product reads the weight as it is stored. */
const GEMV_ROWS = 8;

/**
 * A product with a weight of N × K, which is widened into scratch memory where it has another type than the activations.
 * @param columns widths of the output and of the operand that is no weight
 */
function widening(entry: string, T: string, W: string, columns: (call: Call) => [to: number, from: number]): Kernel {
  const widened = T !== W;
  const bytes = T === 'f32' ? 4 : 2;
  const elements = ({ ints: [, N, K] }: Call): number => N * K;
  return {
    scratchBytes: (call) => (widened ? bytes * elements(call) : 0),
    phases: (call, { alignment }) => {
      const [to, from] = columns(call);
      const inPackets = alignment >= 16 && from % 8 === 0 && call.ints[2] % 8 === 0;
      return [
        ...(widened ? [threads(`${entry}_${W}_widen`, ceilDiv(elements(call), 4), [elements(call)])] : []),
        tiles(T === 'bf16' && inPackets ? `${entry}_async` : entry, T, call.ints[0], to),
      ];
    },
  };
}

/** ints: rows, N, K, whether there is a bias */
function forward(T: string, W: string): Kernel {
  const many = widening(`linear_${T}`, T, W, ({ ints: [, N, K] }) => [N, K]);
  const few = ({ ints: [rows] }: Call): boolean => rows <= GEMV_ROWS;
  return {
    scratchBytes: (call) => (few(call) ? 0 : (many.scratchBytes?.(call) ?? 0)),
    phases: (call, circumstances) =>
      few(call)
        ? [{ entry: `linear_${T}_${W}_gemv`, grid: [ceilDiv(call.ints[1], 4), 1, 1], block: [128, 1, 1] }]
        : many.phases(call, circumstances),
  };
}

export const linear: Family = Object.fromEntries(
  computeTypes.flatMap((T) => [
    [`linearAdd_${T}`, widening(`linearAdd_${T}`, T, 'f32', ({ ints: [, N, K] }) => [N, K])],
    ...weightTypes.flatMap((W): [string, Kernel][] => [
      [`linear_${T}_${W}`, forward(T, W)],
      [`linearGradInput_${T}_${W}`, widening(`linearGradInput_${T}`, T, W, ({ ints: [, N, K] }) => [K, N])],
    ]),
  ]),
);

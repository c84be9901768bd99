import type { BlockMemory } from './blockMemory.ts';
import { fromHalf, toHalf } from './float.ts';

/** mma.sync with f16 accumulators, two to a register: they are widened and rounded here, once each. `rows` as the functions take them. */
export function halfAccumulators({ file, functions, sums }: BlockMemory) {
  const { ints } = file;
  return (k: number, operands: readonly number[], rowsC: readonly number[], rowsD: readonly number[]): void => {
    for (let i = 0; i < 4; i++) {
      for (let lane = 0; lane < 32; lane++) {
        sums[32 * i + lane] = fromHalf(ints[(rowsC[i >> 1] >> 2) + lane] >>> (16 * (i & 1)));
      }
    }
    functions[`product_f16_${k}`](...operands);
    for (let i = 0; i < 2; i++) {
      for (let lane = 0; lane < 32; lane++) {
        ints[(rowsD[i] >> 2) + lane] = toHalf(sums[64 * i + lane]) | (toHalf(sums[64 * i + 32 + lane]) << 16);
      }
    }
  };
}

// The matrix products that all libraries are given: y [M, N] = x [M, K] · Wᵀ, with W [N, K] as linear layers hold it.

export interface Product {
  M: number;
  N: number;
  K: number;
}

/** Linear layers of SmolLM2-135M over 128 tokens, then larger models'. */
export const products: readonly Product[] = [
  { M: 128, N: 576, K: 576 },
  { M: 128, N: 1536, K: 576 },
  { M: 128, N: 576, K: 1536 },
  { M: 256, N: 2048, K: 2048 },
  { M: 512, N: 4096, K: 4096 },
];

/** Element `i` of an operand, in [−0.5, 0.5): scattered without a table, and the same in every language. */
const element = (i: number): number => Math.imul(i, 0x9e3779b1) / 2 ** 32;

export function operand(n: number): Float32Array {
  const values = new Float32Array(n);
  for (let i = 0; i < n; i++) values[i] = element(i);
  return values;
}

/** The last element of the product of two such operands, in float64, and the error that float32 may have. */
export function lastElement({ M, N, K }: Product): { value: number; bound: number } {
  let [value, magnitude] = [0, 0];
  for (let k = 0; k < K; k++) {
    const term = Math.fround(element((M - 1) * K + k)) * Math.fround(element((N - 1) * K + k));
    value += term;
    magnitude += Math.abs(term);
  }
  return { value, bound: 2 ** -20 * magnitude };
}

/** What is asked of a library: repeat a product for some time. */
export interface ProductRequest extends Product {
  seconds: number;
  /** Type of the weight; libraries other than ours only know f32. */
  weight: 'f32' | 'bf16' | 'q8_0' | 'q4_1';
}

export interface ProductAnswer {
  /** Median time of a product. */
  seconds: number;
  runs: number;
  /** Last element of the result. */
  last: number;
}

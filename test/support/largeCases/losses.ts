import { dtypes, type WeightDType, weightDTypes } from '../../../engine/dtype.ts';
import type { Gen, Tensor } from '../../../engine/index.ts';
import { host } from '../gradcheck.ts';
import { type LargeCase, opOf, packetEnds } from './case.ts';

/** `name` for h [R, C], W [V, C] of `dtype` and pairs (row, token); `change` has the values of h and W. */
function lossCase(
  name: string,
  [R, C, V]: [number, number, number],
  pairs: number[],
  compute: 'f32' | 'bf16',
  { dtype = 'f32', change }: { dtype?: WeightDType; change?: (h: Float64Array, w: Float64Array) => void } = {},
): LargeCase {
  return {
    name: `${name} of ${R} rows, ${C} columns, ${V} tokens in ${dtype}, ${pairs.length / 2} targets in ${compute}`,
    def: opOf(name),
    compute,
    make: (gen) => {
      const h = gen.tensor([R, C], { dtype: compute, lo: -(C ** -0.5), hi: C ** -0.5 });
      const w = gen.tensor([V, C], { dtype, lo: -1, hi: 1 });
      change?.(host(h), host(w));
      const n = pairs.length / 2;
      const inputs = [h, w, gen.indices(pairs, [n, 2]), gen.tensor([n], { lo: 0.1, hi: 1 })];
      return [name === 'linearLogProbs' ? inputs.slice(0, 3) : inputs, undefined];
    },
  };
}

/** Losses beyond a chunk of the vocabulary, a block's threads, a block's columns, and beyond what e to the power of it can be. */
export function largeLosses(): LargeCase[] {
  // Rows of every number beyond a thread's four.
  const chunks: [number, number, number] = [6, 8, 4096 + 70];
  // Both sides of the chunks' border, the last token, and one twice.
  const border = [0, 4095, 0, 4096, 1, chunks[2] - 1, 2, 5, 2, 5];
  // A token for each row takes it all, in the first chunk or the second, of the first thread or the last of a warp: e to a difference
  // to another logit is infinite.
  const sure = (h: Float64Array, w: Float64Array): void => {
    for (const [row, token] of [4100, 0, 2015].entries()) {
      h[row * chunks[1] + row] = 64;
      w[token * chunks[1] + row] = 4;
    }
  };
  // More targets than threads; the last ones are a token and a row that there are not.
  const many = Array.from({ length: 298 }, (_, i) => [i % 2, (7 * i) % 9]).flat();
  many.push(2, 9, 3, 0);
  const sureCase = (name: string, compute: 'f32' | 'bf16'): LargeCase => ({
    ...lossCase(name, [3, chunks[1], chunks[2]], border, compute, { change: sure }),
    name: `${name} of sure tokens in ${compute}`,
  });
  return [
    lossCase('linearLogProbs', chunks, border, 'f32'),
    // Two and three tokens a thread.
    lossCase('linearLogProbs', [3, 8, 700], [0, 699, 2, 300], 'f32'),
    sureCase('linearLogProbs', 'f32'),
    ...columnEnds(),
    ...(['f32', 'bf16'] as const).flatMap((compute) => [
      lossCase('linearCrossEntropy', chunks, border, compute),
      sureCase('linearCrossEntropy', compute),
      lossCase('linearCrossEntropy', [5, 8, 4096 + 3], [0, 4095, 4, 4098], compute),
      lossCase('linearCrossEntropy', [3, 8, 700], [0, 699, 2, 300], compute),
      lossCase('linearCrossEntropy', [3, 1030, 40], [0, 3, 2, 39], compute),
      ...tiles(compute),
      ...fewColumns(compute),
      lossCase('linearCrossEntropy', [3, 12, 9], many, compute),
      ...weightsOfTypes(compute),
      ...sureLogits(compute),
      ...manyTargets(compute, many),
    ]),
  ];
}

/**
 * Every stored type of weight: four sums to add up, behind which there is nothing to be read, and a block's worth of targets that
 * are all of one row, among them a token that there is not, and behind them a row.
 */
function weightsOfTypes(compute: 'f32' | 'bf16'): LargeCase[] {
  const pairs = Array.from({ length: 256 }, (_, i) => [0, (7 * i) % 65]).flat();
  pairs.push(0, 63, 1, 3);
  return weightDTypes.map((dtype) => {
    const { block } = dtypes[dtype];
    return lossCase('linearCrossEntropy', [1, block > 1 ? block : 10, 64], pairs, compute, { dtype });
  });
}

/** Pairs of every row with every token. */
const everyLogit = (R: number, V: number): number[] =>
  Array.from({ length: R * V }, (_, i) => [Math.floor(i / V), i % V]).flat();

/** Columns that end everywhere in a tile's first step along k. */
const fewColumns = (compute: 'f32' | 'bf16'): LargeCase[] =>
  Array.from({ length: 15 }, (_, i) => i + 1).flatMap((C) =>
    ['linearLogProbs', 'linearCrossEntropy'].map((name) =>
      lossCase(name, [3, C, 5], [0, 4, 2, 1], compute, { dtype: compute }),
    ),
  );

/**
 * More than a tile of each product, in whole packets and not: every logit is seen, and every row has a gradient. Whole tiles
 * and no others, as `wholeTiles` of products has them.
 */
function tiles(compute: 'f32' | 'bf16'): LargeCase[] {
  const sizes: [number, number, number][] = [
    [130, 136, 144],
    [130, 139, 141],
  ];
  const one = ([R, , V]: [number, number, number]): number[] =>
    Array.from({ length: R }, (_, row) => [row, (7 * row) % V]).flat();
  const side = compute === 'f32' ? 64 : 128;
  const whole: [number, number, number] = [9 * side, side, 2 * side];
  return [
    ...sizes.flatMap((of) => [
      lossCase('linearLogProbs', of, everyLogit(of[0], of[2]), compute, { dtype: compute }),
      lossCase('linearCrossEntropy', of, one(of), compute, { dtype: compute }),
    ]),
    lossCase('linearCrossEntropy', whole, one(whole), compute, { dtype: compute }),
  ];
}

/**
 * `packetEnds` in all rows that a thread has: of the vocabulary, with operands in whole packets and every logit seen, and of the
 * gradient, whose sums do not cancel. Of each packet one end is in a second chunk too, which weighs about as much as the first.
 */
function columnEnds(): LargeCase[] {
  const R = 64;
  // Targets are before those C tokens that are likely, from `likely` on.
  const gradient = (C: number, likely: number): LargeCase => {
    const V = likely + C;
    const pairs = Array.from({ length: R }, (_, row) => [row, row % likely]).flat();
    const change = (h: Float64Array, w: Float64Array): void => {
      for (let row = 0; row < R; row++) h[row * C] = 2;
      for (const [i, x] of w.entries()) w[i] = Math.abs(x);
      for (let token = likely; token < V; token++) w[token * C] = 3;
    };
    return lossCase('linearCrossEntropy', [R, C, V], pairs, 'bf16', { dtype: 'bf16', change });
  };
  return [
    ...packetEnds.flatMap((N) => [
      lossCase('linearLogProbs', [R, 8, N], everyLogit(R, N), 'bf16', { dtype: 'bf16' }),
      gradient(N, 1),
    ]),
    ...[3, 10, 17, 27].map((C) => gradient(C, 4096)),
  ];
}

function sureLogits(compute: 'f32' | 'bf16'): LargeCase[] {
  const make = (gen: Gen): [Tensor[], unknown] => {
    const [R, V] = [3, 2051];
    const logits = gen.tensor([R, V], { dtype: compute, lo: -0.5, hi: 0.5 });
    for (const [row, token] of [0, 1, 1300].entries()) host(logits)[row * V + token] = 200;
    return [[logits, gen.ints([R], 3, 9), gen.tensor([R], { lo: 0.1, hi: 1 })], undefined];
  };
  return [{ name: `crossEntropy of sure tokens in ${compute}`, def: opOf('crossEntropy'), compute, make }];
}

function manyTargets(compute: 'f32' | 'bf16', pairs: number[]): LargeCase[] {
  const [R, V, n] = [3, 9, pairs.length / 2];
  const make = (op: string, inputs: (gen: Gen, shared: Tensor[]) => Tensor[]): LargeCase => ({
    name: `${op} of ${n} targets in ${compute}`,
    def: opOf(op),
    compute,
    make: (gen) => {
      const logits = gen.tensor([R, V], { dtype: compute, lo: -0.5, hi: 0.5 });
      const shared = [logits, gen.indices(pairs, [n, 2]), gen.tensor([n], { lo: 0.1, hi: 1 })];
      return [inputs(gen, shared), undefined];
    },
  });
  return [
    make('crossEntropy', (_, shared) => shared),
    make('crossEntropyGrad', (gen, shared) => [
      gen.tensor([], { apart: 0.1 }),
      ...shared,
      gen.tensor([R], { lo: 2, hi: 2.3 }),
    ]),
  ];
}

import { type DType, dtypes, weightDTypes } from '../../../engine/dtype.ts';
import type { Gen, Shape, Tensor } from '../../../engine/index.ts';
import { maskShape } from '../../../engine/ops/dropout.ts';
import { tileOf } from '../../../kernels/cuda/gemm.ts';
import type { Target } from '../../../kernels/cuda/table.ts';
import { host } from '../gradcheck.ts';
import { type LargeCase, opOf, packetEnds } from './case.ts';

type Compute = LargeCase['compute'];
type Sizes = [M: number, N: number, K: number];

/** An op on random tensors; those that have no type are of the compute type, integers are masks. */
function product(
  name: string,
  compute: Compute,
  inputs: readonly [shape: Shape, dtype?: DType][],
  attrs?: unknown,
): LargeCase {
  const make = (gen: Gen): [Tensor[], unknown] => [
    inputs.map(([shape, dtype = compute]) =>
      dtype === 'i32' ? gen.ints(shape, -(2 ** 31), 2 ** 31 - 1) : gen.tensor(shape, { dtype, lo: -1, hi: 1 }),
    ),
    attrs,
  ];
  const shapes = inputs.map(([shape, dtype]) => `[${shape}]${dtype ? ` ${dtype}` : ''}`).join(' ');
  const how = attrs ? ` ${JSON.stringify(attrs)}` : '';
  return { name: `${name} ${shapes} in ${compute}${how}`, def: opOf(name), compute, make };
}

/** y = x·Wᵀ, its gradient for x, and what LoRA adds with u·Bᵀ of rank r. */
const linear = (compute: Compute, [M, N, K]: Sizes): LargeCase => product('linear', compute, [[[M, K]], [[N, K]]]);
const linearBias = (compute: Compute, [M, N, K]: Sizes): LargeCase =>
  product('linear', compute, [[[M, K]], [[N, K]], [[N], 'f32']]);
const gradInput = (compute: Compute, [M, N, K]: Sizes): LargeCase =>
  product('linearGradInput', compute, [[[M, K]], [[K, N]]]);
const lora = (compute: Compute, [M, N, r]: Sizes): LargeCase =>
  product('loraLinear', compute, [[[M, 16]], [[N, 16], 'f32'], [[M, r]], [[N, r], 'f32']]);
/** The same of a layer of any depth, with a bias and a weight that need not be widened. */
const deepLora = (compute: Compute, [M, N, K]: Sizes, r: number): LargeCase =>
  product('loraLinear', compute, [[[M, K]], [[N, K]], [[M, r]], [[N, r], 'f32'], [[N], 'f32']]);
/** The gradient of such a layer for its input, [M, N]: with a mask, and where r is even without one. */
const loraGradInput = (compute: Compute, [M, N, K]: Sizes, r: number): LargeCase => {
  const matrices: [Shape, DType?][] = [[[M, K]], [[K, N]], [[M, r]], [[r, N], 'f32']];
  return r % 2 === 0
    ? product('loraLinearGradInput', compute, matrices)
    : product('loraLinearGradInput', compute, [...matrices, [maskShape(M, N), 'i32']], { p: 0.25, scale: 1.5 });
};

/**
 * Of several tiles, deeper than what is in flight at a time, in whole packets: in one go and cut into parts along K. Adapters take
 * one step, two or three.
 */
export function deepProducts(): LargeCase[] {
  const [M, N] = [130, 136];
  return (['f32', 'bf16'] as const).flatMap((compute) => [
    lora(compute, [M, N, 144]),
    deepLora(compute, [M, N, 264], 40),
    loraGradInput(compute, [M, N, 144], 15),
    loraGradInput(compute, [M, N, 264], 40),
    loraGradInput(compute, [M, N, 144], 96),
    ...[144, 264].flatMap((K) => [linear(compute, [M, N, K]), gradInput(compute, [M, N, K])]),
  ]);
}

/**
 * By the rows and columns of a tile, sizes whose edges fall on every part of it: rows on each of those that a thread has, four
 * neighbours that lack one, two or three, the end of K in each stage of the pipeline. `cut` are as deep as makes two parts of it
 * and more, of which the last one ends in the first of its steps or later.
 */
const edges: Readonly<Record<number, Readonly<Record<'whole' | 'cut', readonly Sizes[]>>>> = {
  64: {
    whole: [
      [7, 30, 45],
      [21, 61, 35],
      [42, 27, 71],
      [59, 46, 32],
      [8, 3, 18],
      [12, 5, 6],
      [9, 9, 17],
      [14, 66, 3],
    ],
    cut: [
      [21, 61, 257],
      [42, 27, 385],
      [59, 46, 513],
      [9, 7, 641],
    ],
  },
  128: {
    whole: [
      [7, 30, 45],
      [21, 113, 70],
      [107, 35, 71],
      [123, 74, 96],
      [105, 47, 34],
      [34, 44, 43],
      [86, 39, 99],
    ],
    cut: [
      [75, 67, 257],
      [21, 117, 261],
      [59, 27, 385],
      [123, 106, 513],
    ],
  },
};

const flags = [false, true];

/** What a product of activations is stored as. */
const matmulTypes: readonly [Compute, { to?: 'f32' }][] = [
  ['f32', {}],
  ['bf16', {}],
  ['bf16', { to: 'f32' }],
];

/** A product of activations, either operand transposed. */
const layouts = (compute: Compute, [M, N, K]: Sizes, to: { to?: 'f32' }): LargeCase[] =>
  flags.flatMap((transA) =>
    flags.map((transB) => {
      const shapes: [Shape][] = [[transA ? [K, M] : [M, K]], [transB ? [N, K] : [K, N]]];
      return product('matmul', compute, shapes, { transA, transB, ...to });
    }),
  );

/** `edges` in every layout, with every way to store the result. */
export function tileEdges(target: Target): LargeCase[] {
  const edgesOf = (compute: Compute) => edges[tileOf(compute, target).side];
  const matmuls = matmulTypes.flatMap(([compute, to]) =>
    Object.values(edgesOf(compute))
      .flat()
      .flatMap((sizes) => layouts(compute, sizes, to)),
  );
  const linears = (['f32', 'bf16'] as const).flatMap((compute) => {
    const { whole, cut } = edgesOf(compute);
    return [
      ...[...whole, ...cut].flatMap((sizes) => [linear, linearBias, gradInput].map((make) => make(compute, sizes))),
      ...whole.map((sizes) => lora(compute, sizes)),
      ...whole.map((sizes, i) => loraGradInput(compute, sizes, 1 + i)),
      ...[deepLora, loraGradInput].flatMap((make) => cut.map((sizes, i) => make(compute, sizes, [3, 8, 33, 70][i]))),
    ];
  });
  return [...matmuls, ...linears];
}

/** What tensor cores compute. */
const onTensorCores = (target: Target): Compute => (target >= 80 ? 'bf16' : 'f32');

/**
 * `packetEnds` of every product, in all rows that a thread has, with operands in whole packets: in one go and, as partial sums, cut
 * into two parts and into many; adapters of every rank of up to eight, with rows and columns in both packets of theirs that a thread
 * moves; and masks that end after each of the rows that a lane has of them.
 */
export function columnEnds(target: Target): LargeCase[] {
  const compute = onTensorCores(target);
  const matmuls = matmulTypes.filter(([type]) => type === compute);
  const masks = Array.from({ length: 8 }, (_, i) => loraGradInput(compute, [4 + 8 * i, 32, 8], 1));
  const products = packetEnds.flatMap((N, i) => [
    ...[8, 256].flatMap((K) => [
      linear(compute, [64, N, K]),
      gradInput(compute, [64, N, K]),
      ...matmuls.flatMap(([, to]) => layouts(compute, [64, N, K], to)),
    ]),
    lora(compute, [72, 64 + N, 1 + (i % 8)]),
    loraGradInput(compute, [72, 64 + N, 8], 1 + (i % 8)),
    deepLora(compute, [64, N, 256], 8),
  ]);
  // Partial sums are added four at a time.
  const manyParts = [1, 2, 3].flatMap((N) => [
    linear(compute, [64, N, 1200]),
    ...matmuls.flatMap(([, to]) => layouts(compute, [64, N, 1200], to)),
  ]);
  return [...products, ...manyParts, ...masks];
}

/** Whole tiles and no others, more than the eight rows of them that blocks go down before they go right. */
export function wholeTiles(target: Target): LargeCase[] {
  return matmulTypes.flatMap(([compute, to]) => {
    const { side } = tileOf(compute, target);
    const sizes: Sizes = [9 * side, 2 * side, 8];
    const linears = to.to ? [] : [linear, gradInput, lora].map((make) => make(compute, sizes));
    if (!to.to) linears.push(loraGradInput(compute, sizes, 9));
    return [...linears, ...layouts(compute, sizes, to)];
  });
}

/**
 * Left operands that sm_75 scales for f16, of every size: of two tiles along k, in the second of which numbers are larger or
 * smaller, and with one number beyond all others, which is each of the 16 that the last thread has.
 */
export function scaledLefts(): LargeCase[] {
  const tiles: [first: number, second: number][] = [
    [1e-9, 1e-9],
    [1, 16],
    [1e-30, 1e-9],
    [1e-9, 1e-14],
    [1e-30, 1e9],
    [1e36, 1e30],
    [0, 1e-20],
  ];
  const sizes: Sizes = [128, 24, 40];
  const products = [linear('f32', sizes), gradInput('f32', sizes), ...layouts('f32', sizes, {})];
  const scaled = (c: LargeCase, name: string, factor: (m: number, k: number, transposed: boolean) => number) => ({
    ...c,
    name: `${c.name}, ${name}`,
    make: (gen: Gen): [Tensor[], unknown] => {
      const [inputs, attrs] = c.make(gen);
      const [rows, columns] = inputs[0].shape;
      const transposed = rows === sizes[2];
      const left = host(inputs[0]);
      for (const i of left.keys()) {
        const at = [Math.floor(i / columns), i % columns];
        const [m, k] = transposed ? at.reverse() : at;
        left[i] *= factor(m, k, transposed);
      }
      return [inputs, attrs];
    },
  });
  /** The i-th number of a tile's last thread, eight neighbours in each of two places. */
  const lastThreads = (i: number, transposed: boolean): [m: number, k: number] => {
    const [place, neighbour] = [Math.floor(i / 8), i % 8];
    return transposed ? [120 + neighbour, place * 16 + 15] : [place * 64 + 63, 24 + neighbour];
  };
  return products.flatMap((c) => [
    ...tiles.map(([first, second]) =>
      scaled(c, `scaled by ${first} and ${second}`, (_, k) => (k < 32 ? first : second)),
    ),
    ...Array.from({ length: 16 }, (_, i) =>
      scaled(c, `number ${i} large`, (m, k, transposed) => {
        const [largeM, largeK] = lastThreads(i, transposed);
        return m === largeM && k === largeK ? 1e4 : 1;
      }),
    ),
  ]);
}

/**
 * Every number of rows that a weight is multiplied with as it is stored, of every type, with a bias and without, and with an
 * adapter.
 */
export function fewRows(): LargeCase[] {
  const rows = [1, 2, 3, 4, 5, 6, 7, 8];
  const adapted = rows.map((M) => deepLora('bf16', [M, 70, 16], M));
  const plain = (['f32', 'bf16'] as const).flatMap((compute) =>
    weightDTypes.flatMap((dtype) =>
      rows.flatMap((M) => {
        const { block } = dtypes[dtype];
        // Less than a warp takes at a time, and more; elements end one, two or three behind a packet of four. Of blocks a warp has
        // 1024 elements at most, in four columns.
        const depths = block > 1 ? [block, 1024 + block] : [5 + (M % 3), 129 + (M % 3)];
        return depths.flatMap((K) =>
          flags.map((bias) =>
            product('linear', compute, [[[M, K]], [[5, K], dtype], ...(bias ? [[[5], 'f32'] as [Shape, DType]] : [])]),
          ),
        );
      }),
    ),
  );
  return [...plain, ...adapted];
}

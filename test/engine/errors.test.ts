import { describe, expect, test } from 'vitest';
import {
  accumulate,
  add,
  appendRows,
  argmax,
  attention,
  attentionPlan,
  concat,
  createReferenceBackend,
  crossEntropy,
  dropout,
  embedding,
  empty,
  expand,
  Forest,
  gather,
  layerNorm,
  linear,
  linearCrossEntropy,
  linearGradInput,
  linearLogProbs,
  loraLinear,
  matmul,
  max,
  registry,
  reshape,
  rmsNorm,
  rope,
  ropeTable,
  ShapeError,
  scatterAdd,
  scope,
  setBackend,
  slice,
  softmax,
  sum,
  sumTo,
  swiglu,
  type Tensor,
  tensor,
  transpose,
  variance,
  where,
  zeros,
} from '../../engine/index.ts';
import { formatShape } from '../../engine/shape.ts';
import { seededGen } from '../support/gen.ts';

const backend = createReferenceBackend();
setBackend(backend);

const f = (...shape: number[]): Tensor => zeros(shape);
const i = (...shape: number[]): Tensor => zeros(shape, { dtype: 'i32' });
const eps = { eps: 1e-5 };
const heads = (Tq: number, H: number, Tk: number, KVH: number, D = 8): Tensor => {
  const forest = new Forest();
  forest.add(-1, 4);
  return attention(f(Tq, H, 8), f(Tk, KVH, D), f(Tk, KVH, D), attentionPlan(forest), { scale: 1 });
};

/** What a user does wrong, and all of what they are told. */
const mistakes: [() => unknown, string][] = [
  [() => add(f(2, 3), f(4, 3)), 'add: cannot broadcast [2, 3] with [4, 3]: axis 0 is 2 against 4'],
  [() => add(f(5, 2, 3), f(4)), 'add: cannot broadcast [5, 2, 3] with [4]: axis 2 is 3 against 4'],
  [() => accumulate(f(2, 3), f(3)), 'accumulate: [3] into [2, 3]: the shapes differ'],
  [
    () => where(i(2, 3), f(2, 3), f(4)),
    'where: [2, 3], [2, 3], [4]: cannot broadcast [2, 3] with [4]: axis 1 is 3 against 4',
  ],
  [() => sumTo(f(2, 3), [2]), 'sumTo: cannot broadcast [2] with [2, 3]: axis 1 is 2 against 3'],
  [() => expand(f(2, 3), [3]), 'expand: [2, 3] does not broadcast to [3]'],
  [() => reshape(f(2, 3), [4, 2]), 'reshape: [2, 3] has 6 elements, [4, 2] 8'],
  [() => slice(f(2, 3), 1, 4, 1), 'slice: [1, 4) is outside axis 1 of [2, 3]'],
  [() => slice(f(2, 3), 0, 1, 2), 'slice: axis 2 does not exist in [2, 3]'],
  [() => transpose(f(2, 3), 0, -3), 'transpose: axis -3 does not exist in [2, 3]'],
  [() => concat([f(2, 3), f(2, 4)], 0), 'concat: [2, 4] does not fit [2, 3] along axis 0'],
  [() => sum(f(2, 3), { axis: 2 }), 'sum: axis 2 does not exist in [2, 3]'],
  [() => variance(f(2, 3), { axis: [0, -4] }), 'variance: axis -4 does not exist in [2, 3]'],
  [() => max(f(2, 0), { axis: 1 }), 'max: the last axis of [2, 0] is empty'],
  [() => argmax(f(3), { axis: 1 }), 'argmax: axis 1 does not exist in [3]'],
  [() => softmax(f(2, 3), 5), 'softmax: axis 5 does not exist in [2, 3]'],
  [() => matmul(f(2, 3), f(4, 5)), 'matmul: inner sizes differ: [2, 3] · [4, 5]: 3 against 4'],
  [
    () => matmul(f(2, 3), f(3, 4), { transA: true, transB: true }),
    'matmul: inner sizes differ: [2, 3]ᵀ · [3, 4]ᵀ: 2 against 4',
  ],
  [() => matmul(f(3), f(3, 4)), 'matmul: operands need at least two axes: [3] · [3, 4]'],
  [
    () => matmul(f(2, 4, 3), f(5, 3, 4)),
    'matmul: [2, 4, 3] · [5, 3, 4]: cannot broadcast [2] with [5]: axis 0 is 2 against 5',
  ],
  [() => linear(f(2, 3), f(5, 4)), 'linear: axis 1 of [2, 3] is 3, the weight [5, 4] takes 4'],
  [() => linear(f(2, 4), f(5, 4), f(4)), 'linear: bias [4] for a weight of 5 rows'],
  [() => linearGradInput(f(2, 3), f(5, 4)), 'linearGradInput: axis 1 of [2, 3] is 3, the weight [5, 4] takes 5'],
  [
    () => loraLinear(f(2, 4), { weight: f(5, 4), a: f(8, 4), b: f(5, 7) }, { scale: 1 }),
    'lora: expected x [T, K], w [N, K], a [r, K], b [N, r], found [2, 4], [5, 4], [8, 4], [5, 7]',
  ],
  [() => embedding(f(9, 4), i(2, 3)), 'embedding: expected weight [V, C] and ids [T], found [9, 4] and [2, 3]'],
  [() => gather(f(), i(2)), 'gather: a scalar has no rows'],
  [() => scatterAdd(f(2, 3), i(3), 9), 'scatterAdd: expected x [M, …] and rows [M], found [2, 3] and [3]'],
  [() => rmsNorm(f(2, 3), f(4), eps), 'rmsNorm: x [2, 3] has 3 columns, its vector is [4]'],
  [() => layerNorm(f(2, 3), f(3), f(1, 3), eps), 'layerNorm: x [2, 3] has 3 columns, its vector is [1, 3]'],
  [
    () => rope(f(4, 2, 6), i(3), f(9, 6)),
    'rope: expected x [T, H, D] with D even, positions [T], table [P, D], found [4, 2, 6], [3], [9, 6]',
  ],
  [() => ropeTable({ headDim: 5, theta: 1e4, positions: 2 }), 'ropeTable: headDim must be even, found 5'],
  [() => swiglu(f(2, 3), f(2, 4)), 'swiglu: gate [2, 3] and up [2, 4] differ'],
  [
    () => dropout(f(2, 3), i(2), i(3, 2), { p: 0.5, module: 0 }),
    'dropout: expected x [T, C] and mask [T, ⌈C/32⌉], found [2, 3], [3, 1]',
  ],
  [
    () => appendRows(f(4, 3), f(2, 3), { at: 3 }),
    'appendRows: rows [2, 3] into a cache [4, 3]: rows 3 to 5 do not fit axis 0 of 4',
  ],
  [() => appendRows(f(4, 3), f(2, 2), { at: 0 }), 'appendRows: rows [2, 2] into a cache [4, 3]: their rows differ'],
  [() => heads(4, 6, 4, 4), 'attention: q [4, 6, 8], k [4, 4, 8], v [4, 4, 8]: 4 key heads do not divide 6 heads'],
  [() => heads(4, 6, 4, 3, 16), 'attention: q [4, 6, 8], k [4, 3, 16], v [4, 3, 16]: axis 2 is 8 against 16'],
  [() => crossEntropy(f(3, 5), i(4), f(4)), 'crossEntropy: targets [4] are neither [3] nor pairs [n, 2]'],
  [() => crossEntropy(f(3, 5), i(4, 2), f(3)), 'crossEntropy: weights [3] for 4 targets'],
  [
    () => linearCrossEntropy(f(3, 4), f(9, 5), i(3), f(3)),
    'linearCrossEntropy: expected h [R, C] and W [V, C], found [3, 4] and [9, 5]',
  ],
  [() => linearLogProbs(f(3, 4), f(9, 4), i(2)), 'linearLogProbs: targets [2] are neither [3] nor pairs [n, 2]'],
  // Values that are not arrays.
  [() => tensor([[1, 2], [3]]), 'tensor: ragged values: axis 1 has 1 against 2'],
];

describe('errors name the op, the shapes and the axis', () => {
  test.each(mistakes.map(([run, message]) => ({ run, message })))('$message', ({ run, message }) => {
    using _ = scope();
    expect(run).toThrow(new ShapeError(message));
  });
});

describe('types', () => {
  test('an op refuses a type it has no kernel for: nothing is promoted or reinterpreted', () => {
    using _ = scope();
    expect(() => add(f(2), i(2))).toThrow('add: input 1 is i32, expected f32; nothing is converted by itself');
    expect(() => matmul(f(2, 2), zeros([2, 2], { dtype: 'f16' }))).toThrow('matmul: input 1 is f16, expected f32');
    expect(() => embedding(f(2, 2), f(2))).toThrow('embedding: input 1 is f32, expected i32');
    expect(() => concat([f(1), f(1), f(1), f(1), i(1)], 0)).toThrow('concat: i32 does not fit f32');
  });

  test('a part of a quantised tensor is no view: its blocks may lie in planes', () => {
    const t = empty([4, 32], { dtype: 'q8_0' });
    expect(t.view([2, 64]).shape).toEqual([2, 64]);
    expect(() => t.view([2, 32], 68)).toThrow(
      new RangeError('view: [2, 32] of q8_0 [4, 32]: quantised tensors are viewed whole'),
    );
  });
});

// Rules of gradients call these with tensors that the op itself has checked.
const internal = ['crossEntropyGrad', 'rmsNormGradInput', 'layerNormGradInput', 'swigluGrad'];
const callable = [...registry.values()].filter(({ name }) => !/^attentionGrad/.test(name) && !internal.includes(name));

describe('a wrong shape is refused by name, or it is a right one', () => {
  test.each(callable)('$name', (def) => {
    for (const dtypes of def.dtypes) {
      for (let seed = 0; seed < 20; seed++) {
        using _ = scope();
        const [inputs, attrs] = def.sample(seededGen(seed, backend), dtypes);
        const specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
        const needs = specs.map(() => false);
        for (const [k, spec] of specs.entries()) {
          const longer = spec.shape.map((n, axis) => spec.shape.with(axis, n + 3));
          for (const shape of [...longer, [...spec.shape, 3], [2, ...spec.shape]]) {
            const changed = specs.with(k, { ...spec, shape });
            try {
              for (const out of def.outputs(changed, attrs, needs)) {
                expect(out.shape.every((n) => Number.isInteger(n) && n >= 0)).toBe(true);
              }
            } catch (error) {
              expect(error).toBeInstanceOf(ShapeError);
              const { message } = error as ShapeError;
              expect(message).toMatch(new RegExp(`^${def.name}: `));
              expect(changed.some((s) => message.includes(formatShape(s.shape)))).toBe(true);
            }
          }
        }
      }
    }
  });
});

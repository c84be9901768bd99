import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execute } from '../../../engine/execute.ts';
import {
  createReferenceBackend,
  createWasmBackend,
  type Gen,
  registry,
  scope,
  type Tensor,
} from '../../../engine/index.ts';
import type { AnyOp } from '../../../engine/op.ts';
import { seededGen } from '../../support/gen.ts';
import { differentiable } from '../../support/gradcheck.ts';
import { checkParity, moved } from '../../support/parity.ts';

// The derived suites draw small sizes: most of their launches are one chunk. These are several, the last one not full.

const reference = createReferenceBackend();
type Backend = Awaited<ReturnType<typeof createWasmBackend>>;
let alone: Backend;
let three: Backend;
beforeAll(async () => {
  alone = await createWasmBackend({ threads: 1 });
  three = await createWasmBackend({ threads: 3 });
});
afterAll(() => Promise.all([alone.close(), three.close()]));

const T = 700;
const C = 75;
const flat = 50_001;
const tensors = (gen: Gen, count: number, shape: number[]): Tensor[] =>
  Array.from({ length: count }, () => gen.tensor(shape, { lo: 0.5, hi: 2 }));
const each = (gen: Gen, ...shapes: number[][]): Tensor[] => shapes.map((shape) => gen.tensor(shape));
const mask = (gen: Gen): Tensor => gen.ints([T, Math.ceil(C / 32)], -(2 ** 31), 2 ** 31 - 1);
/** A state whose flag is down and whose loss is finite. */
const state = (gen: Gen): Tensor => {
  const t = gen.tensor([8]);
  t.set([2 ** -7, 0.5, 0.5, 1, 0.5, 0, 1, 0]);
  return t;
};

const cases: Record<string, (gen: Gen) => [Tensor[], unknown]> = {
  rmsNorm: (gen) => [[gen.tensor([T, C]), gen.tensor([C])], { eps: 1e-5 }],
  rmsNormGradInput: (gen) => {
    const rstd = gen.tensor([T, 1], { lo: 0.1, hi: 0.3 });
    return [[gen.tensor([T, C]), gen.tensor([T, C]), gen.tensor([C]), rstd], undefined];
  },
  layerNorm: (gen) => [[gen.tensor([T, C]), ...tensors(gen, 2, [C])], { eps: 1e-5 }],
  rope: (gen) => {
    const table = gen.tensor([99, 30], { lo: -1, hi: 1 });
    return [[gen.tensor([T, 5, 30]), gen.ints([T], 0, 98), table], { inverse: false }];
  },
  swiglu: (gen) => [[gen.tensor([flat]), gen.tensor([flat])], undefined],
  swigluGrad: (gen) => [tensors(gen, 3, [flat]), undefined],
  dropoutMask: (gen) => [[gen.ints([2], 0, 99), gen.ints([T, 2], 0, 99)], { p: 0.25, module: 3, columns: C }],
  dropout: (gen) => [[gen.tensor([T, C]), mask(gen)], { p: 0.25 }],
  dropoutLinear: (gen) => [[gen.tensor([T, C]), gen.tensor([9, C]), mask(gen)], { p: 0.25, scale: 2 }],
  dropoutLinearGradWeight: (gen) => [[gen.tensor([T, 9]), gen.tensor([T, C]), mask(gen)], { p: 0.25, scale: 2 }],
  loraLinear: (gen) => [each(gen, [T, C], [300, C], [T, 9], [300, 9]), undefined],
  loraLinearGradInput: (gen) => [each(gen, [T, 300], [300, C], [T, 9], [9, C]), undefined],
  'loraLinearGradInput with a mask': (gen) => [
    [...each(gen, [T, 300], [300, C], [T, 9], [9, C]), mask(gen)],
    { p: 0.25, scale: 2 },
  ],
  embedding: (gen) => [[gen.tensor([T, C]), gen.ints([1000], 0, T - 1)], { to: 'f32' }],
  scatterAdd: (gen) => [[gen.tensor([1000, C]), gen.ints([1000], 0, T - 1)], { N: T }],
  crossEntropy: (gen) => [
    [gen.tensor([T, C], { lo: -0.5, hi: 0.5 }), gen.ints([T], 0, C - 1), gen.tensor([T], { lo: 0.1, hi: 1 })],
    undefined,
  ],
  crossEntropyGrad: (gen) => [
    [
      gen.tensor([], { apart: 0.5 }),
      gen.tensor([T, C], { lo: -0.5, hi: 0.5 }),
      gen.ints([T], 0, C - 1),
      gen.tensor([T], { lo: 0.1, hi: 1 }),
      gen.tensor([T], { lo: 4, hi: 5 }),
    ],
    undefined,
  ],
  globalNorm: (gen) => [[state(gen), gen.tensor([flat])], { maxNorm: 1 }],
  adamwStep: (gen) => [
    [...tensors(gen, 4, [flat]), state(gen)],
    { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, lrScale: 1 },
  ],
  sgdStep: (gen) => [
    [...tensors(gen, 3, [flat]), state(gen)],
    { momentum: 0.9, nesterov: true, weightDecay: 0.1, lrScale: 1 },
  ],
};

describe('over several chunks', () => {
  test.each(Object.keys(cases))('%s agrees with the reference and is bit-equal for any threads', async (name) => {
    using _ = scope();
    const def = registry.get(name.split(' ')[0]) as AnyOp;
    const draw = () => cases[name](seededGen(5, reference));
    const results = async (backend: Backend): Promise<Uint8Array[]> => {
      const [inputs, attrs] = draw();
      const there = await Promise.all(inputs.map((t) => moved(t, backend)));
      const needs = differentiable(
        def,
        inputs.map((t) => t.dtype),
      );
      const outputs = execute(def, there, attrs, needs, true);
      // What an in-place op writes beside its first input counts, too.
      return Promise.all((def.inPlace ? there : outputs).map((t) => t.bytes()));
    };
    expect(await results(three)).toEqual(await results(alone));
    await checkParity(def, ...draw(), three);
  });
});

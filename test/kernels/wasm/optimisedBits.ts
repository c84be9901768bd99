// Prints a hash of what ops give once V8 has optimised their kernels, by op: `node optimisedBits.ts f32|int16 [revectorize]`.
// f32: elementwise ops, products and attention; int16: the products that are in 16 bits then.
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import {
  add,
  attention,
  attentionPlan,
  createWasmBackend,
  div,
  exp,
  Forest,
  gelu,
  grad,
  linear,
  log,
  mul,
  pow,
  Rng,
  scope,
  setBackend,
  sigmoid,
  silu,
  swiglu,
  type Tensor,
  tanh,
  tensor,
} from '../../../engine/index.ts';

const products = process.argv[2] === 'int16' ? 'int16' : 'f32';
const revectorize = process.argv[3] === 'revectorize';
const probe = () => ({ wide: true, wideInt16: true, found: 'the test' });
setBackend(await createWasmBackend({ threads: 1, revectorize, products, probe }));

const special = [0, -0, Infinity, -Infinity, NaN, 1e-40, -1e-40, 88.7, 89.5, -87.5, -103.9, 3.4e38, 1e-38];
const rng = new Rng(0);
const random = (lo: number, hi: number, shape: number[], requiresGrad = false): Tensor => {
  const length = shape.reduce((product, size) => product * size);
  return tensor(
    Float32Array.from({ length }, () => rng.uniform(lo, hi)),
    shape,
    { requiresGrad },
  ).persist();
};

type Op = [name: string, turns: number, run: () => Tensor[]];

/** Whole turns of the loops and a tail. */
const length = 4007;
const x = tensor(
  Float32Array.from({ length }, (_, i) => (i % 7 === 0 ? special[(i / 7) % special.length] : rng.uniform(-20, 20))),
  [length],
).persist();
const y = random(-3, 3, [length]);
const positive = random(0, 3, [length]);
const elementwise: Op[] = [
  ...Object.entries({ exp, log, tanh, sigmoid, silu, gelu }).map(([name, op]): Op => [name, 1500, () => [op(x)]]),
  ...Object.entries({ add, mul, div, swiglu }).map(([name, op]): Op => [name, 1500, () => [op(x, y)]]),
  ['pow', 1500, () => [pow(positive, y)]],
];

/** Two blocks of the depth, and tails of rows and columns. */
const [M, N, K] = [23, 139, 801];
const weight = random(-2, 2, [N, K]);
const [rows, row] = [M, 1].map((count) => random(-2, 2, [count, K], true));
const seed = random(-2, 2, [M, N]);
const withGradients = (output: Tensor, inputs: Tensor[], seed: Tensor): Tensor[] => [
  output,
  ...grad(output, inputs, { seed }),
];
const linears: Op[] = [['linear and its gradient', 100, () => withGradients(linear(rows, weight), [rows], seed)]];

const forest = new Forest();
forest.add(forest.add(-1, 45), 30);
const plan = attentionPlan(forest);
const [q, k, v, o] = [4, 2, 2, 4].map((heads) => random(-2, 2, [forest.rows, heads, 33], true));
const others: Op[] = [
  ['linear of one row', 400, () => [linear(row, weight)]],
  ['attention and its gradients', 100, () => withGradients(attention(q, k, v, plan, { scale: 0.2 }), [q, k, v], o)],
];

for (const [name, turns, run] of products === 'int16' ? linears : [...elementwise, ...linears, ...others]) {
  for (let turn = 0; turn < 2; turn++) {
    // V8 optimises what has run often, on a thread of its own.
    for (let i = 0; i < turns; i++) {
      using _ = scope();
      run();
    }
    await setTimeout(30);
  }
  using _ = scope();
  const hash = createHash('sha256');
  for (const output of run()) {
    // Which bits a NaN has is the machine's choice.
    hash.update(Float32Array.from(await output.data(), (v) => (Number.isNaN(v) ? NaN : v)));
  }
  console.log(name, hash.digest('hex'));
}
process.exit();

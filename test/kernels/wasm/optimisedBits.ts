// Prints a hash of what elementwise ops give once V8 has optimised their kernels, by op: `node elementwiseBits.ts [revectorize]`.
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import {
  add,
  createWasmBackend,
  div,
  exp,
  gelu,
  log,
  mul,
  noGrad,
  pow,
  Rng,
  scope,
  setBackend,
  sigmoid,
  silu,
  swiglu,
  tanh,
  tensor,
} from '../../../engine/index.ts';

const revectorize = process.argv[2] === 'revectorize';
const probe = () => ({ wide: true, found: 'the test' });
setBackend(await createWasmBackend({ threads: 1, revectorize, probe }));

const special = [0, -0, Infinity, -Infinity, NaN, 1e-40, -1e-40, 88.7, 89.5, -87.5, -103.9, 3.4e38, 1e-38];
/** Whole turns of the loops and a tail. */
const length = 4007;
const rng = new Rng(0);
const random = (lo: number, hi: number): Float32Array => Float32Array.from({ length }, () => rng.uniform(lo, hi));
const x = tensor(
  random(-20, 20).map((v, i) => (i % 7 === 0 ? special[(i / 7) % special.length] : v)),
  [length],
).persist();
const y = tensor(random(-3, 3), [length]).persist();
const positive = tensor(random(0, 3), [length]).persist();

const unary = { exp, log, tanh, sigmoid, silu, gelu };
const binary = { add, mul, div, swiglu };
const ops = [
  ...Object.entries(unary).map(([name, op]) => [name, () => op(x)] as const),
  ...Object.entries(binary).map(([name, op]) => [name, () => op(x, y)] as const),
  ['pow', () => pow(positive, y)] as const,
];

for (const [name, op] of ops) {
  for (let turn = 0; turn < 2; turn++) {
    // V8 optimises what has run often, on a thread of its own.
    for (let i = 0; i < 1500; i++) {
      using _ = scope();
      noGrad(op);
    }
    await setTimeout(30);
  }
  using _ = scope();
  // Which bits a NaN has is the machine's choice.
  const values = Float32Array.from(await noGrad(op).data(), (v) => (Number.isNaN(v) ? NaN : v));
  console.log(name, createHash('sha256').update(values).digest('hex'));
}
process.exit();

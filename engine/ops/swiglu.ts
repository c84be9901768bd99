import { execute } from '../execute.ts';
import { type OpDef, op } from '../op.ts';
import { formatShape, ShapeError, sameShape, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { silu } from './activation.ts';
import { mul } from './elementwise.ts';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const gradient: OpDef<void> = {
  name: 'swigluGrad',
  doc: "swiglu's gradients for gate and up, from g, gate and up",
  outputs: ([, gate, up]) => [gate, up],
  reference: ([dGate, dUp], [g, gate, up]) => {
    for (let i = 0; i < g.length; i++) {
      const s = sigmoid(gate[i]);
      dGate[i] = g[i] * up[i] * s * (1 + gate[i] * (1 - s));
      dUp[i] = g[i] * gate[i] * s;
    }
  },
  launch: ([g]) => {
    const n = size(g.shape);
    return [{ kernel: `swigluGrad_${g.dtype}`, outputs: [0, 1], inputs: [0, 1, 2], ints: [n], work: [n, 1, 1] }];
  },
  // dGate is a sum of two terms that cancels where silu has its minimum.
  contraction: () => 2,
  dtypes: [['f32', 'f32', 'f32']],
  activations: [0, 1, 2],
  sample: (gen, dtypes) => {
    const shape = [gen.dim(4), gen.dim(300, { zero: true })];
    return [dtypes.map((dtype) => gen.tensor(shape, { dtype })), undefined];
  },
  bench: () => [[[0, 1, 2].map(() => ({ shape: [2048, 1536], dtype: 'f32' })), undefined]],
  cost: ([g]) => ({ multiplyAdds: 4 * size(g.shape), bytes: 20 * size(g.shape) }),
};
op(gradient);

const applySwiglu = op<void>({
  name: 'swiglu',
  doc: 'silu(gate) · up',
  outputs: ([gate, up]) => {
    if (!sameShape(gate.shape, up.shape)) {
      throw new ShapeError(`swiglu: gate ${formatShape(gate.shape)} and up ${formatShape(up.shape)} differ`);
    }
    return [gate];
  },
  reference: ([y], [gate, up]) => {
    for (let i = 0; i < y.length; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
  },
  define: ([gate, up]) => mul(silu(gate), up),
  save: ([gate, up]) => [gate, up],
  vjp: (g, { saved: [gate, up] }, needs) => execute(gradient, [g, gate, up], undefined, needs),
  launch: ([gate]) => {
    const n = size(gate.shape);
    return [{ kernel: `swiglu_${gate.dtype}`, outputs: [0], inputs: [0, 1], ints: [n], work: [n, 1, 1] }];
  },
  dtypes: [['f32', 'f32']],
  activations: [0, 1],
  sample: (gen, dtypes) => {
    const shape = [gen.dim(4), gen.dim(300, { zero: true })];
    return [dtypes.map((dtype) => gen.tensor(shape, { dtype })), undefined];
  },
  bench: () => [[[0, 1].map(() => ({ shape: [2048, 1536], dtype: 'f32' })), undefined]],
  cost: ([gate]) => ({ multiplyAdds: 2 * size(gate.shape), bytes: 12 * size(gate.shape) }),
});

/**
 * silu(gate) · up, elementwise: the gated activation of LLaMA's MLP. Shazeer, "GLU Variants Improve Transformer", 2020.
 * @throws ShapeError when the shapes differ
 */
export const swiglu = (gate: Tensor, up: Tensor): Tensor => applySwiglu([gate, up], undefined);

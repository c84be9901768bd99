import { backward } from './autograd.ts';
import { Node } from './node.ts';
import type { AnyOp } from './op.ts';
import { noGrad, scope, withContext } from './scope.ts';
import { parameter, type Tensor } from './tensor.ts';

/** Not in the registry: its meaning is the function it is given. */
const recomputed: AnyOp = {
  name: 'recompute',
  doc: 'runs a function again in the backward pass in place of keeping what it computed',
  outputs: ([x]) => [x],
  vjp: (g, { saved: [x], attrs: { fn } }, needs) => {
    using inner = scope();
    const input = x.view();
    if (needs[0]) parameter(input);
    // Gradients of the parameters inside `fn` go to their `.grad` from here.
    withContext({ grad: true }, () => backward(fn(input), g));
    const { grad } = input;
    input.dispose();
    if (!grad) return [];
    // A leaf's gradient belongs to no scope until somebody takes it.
    inner.own(grad);
    return [inner.keep(grad)];
  },
  dtypes: [],
  sample: () => {
    throw new Error('recompute has no samples');
  },
  cost: () => ({ multiplyAdds: 0, bytes: 0 }),
};

/**
 * fn(x), keeping only x for the backward pass, which runs `fn` again (Chen et al., "Training deep nets with sublinear
 * memory cost", 2016). `fn` must compute the same bits each time and have trainable parameters or a differentiable x.
 */
export function recompute(fn: (x: Tensor) => Tensor, x: Tensor): Tensor {
  const result = noGrad(() => fn(x));
  result.requiresGrad = true;
  result.node = new Node(recomputed, { fn }, [x], [x.requiresGrad], [x]);
  return result;
}

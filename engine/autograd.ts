import { type Edge, Node } from './node.ts';
import { accumulate, add } from './ops/elementwise.ts';
import { sumTo } from './ops/reduce.ts';
import { context, noGrad, scope } from './scope.ts';
import { formatShape, ShapeError, sameShape } from './shape.ts';
import { ones, type Tensor } from './tensor.ts';

/** Nodes that lead to `root`, each after everything it depends on. Iterative: graphs can be 100,000 ops deep. */
function topological(root: Node): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>([root]);
  const stack: { node: Node; next: number }[] = [{ node: root, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const edge = top.node.edges[top.next++];
    if (top.next > top.node.edges.length) {
      order.push(top.node);
      stack.pop();
    } else if (edge instanceof Node && !seen.has(edge)) {
      seen.add(edge);
      stack.push({ node: edge, next: 0 });
    }
  }
  return order;
}

/** A handle on `t`'s memory that no scope owns. */
const hold = (t: Tensor): Tensor => t.view().persist();

function addGradient(sums: Map<Edge, Tensor>, edge: Edge, g: Tensor): void {
  const sum = sums.get(edge);
  if (!sum) {
    sums.set(edge, hold(g));
  } else if (sum.storage.exclusive) {
    accumulate(sum, g);
  } else {
    sums.set(edge, hold(add(sum, g)));
    sum.dispose();
  }
}

/** One step of the walk: what `node` hands to its inputs for the gradient `g` of its output. */
function propagate(node: Node, g: Tensor, sums: Map<Edge, Tensor>): void {
  using _ = scope();
  if (node.consumed)
    throw new Error(`backward: the graph of ${node.def.name} was already freed by an earlier backward`);
  const { def, needs, specs } = node;
  const gradients = def.vjp?.(g, { saved: node.saved as Tensor[], attrs: node.attrs, specs }, needs) ?? [];
  for (const [i, edge] of node.edges.entries()) {
    if (!needs[i]) continue;
    const gi = gradients[i];
    if (!gi) throw new Error(`${def.name}: its vjp returned no gradient for input ${i}, which needs one`);
    addGradient(sums, edge, sumTo(gi, specs[i].shape));
  }
}

/** Walks the graph from `root`, freeing it, and gives every leaf's gradient to `sink`, which takes it over. */
function walk(root: Tensor, seed: Tensor | undefined, sink: (leaf: Tensor, gradient: Tensor) => void): void {
  if (!root.requiresGrad) {
    throw new Error('backward: the tensor has no gradient history (second-order gradients are not supported)');
  }
  if (!seed && root.size !== 1) {
    throw new ShapeError(`backward: a root of shape ${formatShape(root.shape)} needs a seed gradient of that shape`);
  }
  if (seed && !sameShape(seed.shape, root.shape)) {
    throw new ShapeError(`backward: seed ${formatShape(seed.shape)} does not fit the root ${formatShape(root.shape)}`);
  }
  const sums = new Map<Edge, Tensor>();
  noGrad(() => {
    using _ = scope();
    const start: Edge = root.node ?? root;
    sums.set(start, hold(seed ?? ones(root.shape, { dtype: root.dtype, backend: root.backend })));
    // Walked from the end, and held meanwhile: freeing a node lets go of the nodes it leads to.
    const order = start instanceof Node ? topological(start) : [];
    for (const node of order) node.retain();
    try {
      for (let node = order.pop(); node; node = order.pop()) {
        const g = sums.get(node) as Tensor;
        sums.delete(node);
        try {
          propagate(node, g, sums);
        } finally {
          g.dispose();
          node.consume();
          node.release();
        }
      }
      for (const [leaf, gradient] of sums) {
        sums.delete(leaf);
        sink(leaf as Tensor, gradient);
      }
    } finally {
      for (const node of order) node.release();
      for (const g of sums.values()) g.dispose();
    }
  });
}

/**
 * Adds d(root)/d(leaf) to the `.grad` of every leaf that requires one and frees the graph on the way.
 * @param seed gradient of the root, of its shape; default 1 for a root with one element
 */
export function backward(root: Tensor, seed?: Tensor): void {
  walk(root, seed, (leaf, gradient) => {
    if (leaf.grad) {
      accumulate(leaf.grad, gradient);
      gradient.dispose();
    } else {
      leaf.grad = gradient;
    }
    leaf.gradCount++;
  });
}

/**
 * d(root)/d(x) for each of `xs` (leaves), without touching any `.grad`. The graph is freed.
 * @throws when root does not depend on one of them, or when `createGraph` asks for second-order gradients
 */
export function grad(
  root: Tensor,
  xs: Tensor[],
  { seed, createGraph = false }: { seed?: Tensor; createGraph?: boolean } = {},
): Tensor[] {
  if (createGraph) throw new Error('grad: createGraph asks for second-order gradients, which are not supported');
  const found = new Map<Tensor, Tensor>();
  walk(root, seed, (leaf, gradient) => {
    if (xs.includes(leaf)) found.set(leaf, gradient);
    else gradient.dispose();
  });
  return xs.map((x, i) => {
    const g = found.get(x);
    if (!g) throw new Error(`grad: the root does not depend on tensor ${i} of shape ${formatShape(x.shape)}`);
    context().scope?.own(g);
    return g;
  });
}

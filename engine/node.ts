import { execute } from './execute.ts';
import type { AnyOp, Maybe, Spec } from './op.ts';
import type { Tensor } from './tensor.ts';

/** Where a gradient goes next: another op's node, or a leaf tensor. */
export type Edge = Node | Tensor | undefined;

/**
 * One recorded op. Nodes are counted by the tensors and nodes that lead to them, not by the garbage collector:
 * closing a scope frees what a graph saved as soon as nothing can reach it, and `backward` frees it as it walks.
 */
export class Node {
  readonly def: AnyOp;
  readonly attrs: unknown;
  readonly needs: boolean[];
  readonly specs: Spec[];
  edges: Edge[];
  consumed = false;
  /** Tensors, or the op that makes one again. */
  #saved: (Tensor | Node | undefined)[];
  #result: Tensor | undefined;
  #references = 1;

  constructor(def: AnyOp, attrs: unknown, inputs: Tensor[], needs: boolean[], saved: Maybe<Tensor>[]) {
    this.def = def;
    this.attrs = attrs;
    this.needs = needs;
    this.specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    this.edges = inputs.map((t, i) => (needs[i] ? (t.node?.retain() ?? t) : undefined));
    this.#saved = saved.map((t) => {
      if (!t) return undefined;
      if (t.node?.def.again && !t.node.consumed) return t.node.retain();
      // An own handle on the same memory: a scope may close over the user's.
      return t.view().persist();
    });
  }

  /** What `vjp` reads. */
  get saved(): (Tensor | undefined)[] {
    return this.#saved.map((kept) => (kept instanceof Node ? kept.#again() : kept));
  }

  /** The op's result, computed once more and kept until the node is freed. */
  #again(): Tensor {
    if (!this.#result) {
      const { saved } = this;
      const inputs = (this.def.again as readonly number[]).map((i) => saved[i] as Tensor);
      const [result, ...auxiliaries] = execute(this.def, inputs, this.attrs, this.needs);
      for (const t of auxiliaries) t.dispose();
      this.#result = result.persist();
    }
    return this.#result;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /** Lets go of one reference; the last one frees what it saved and what only it leads to. */
  release(): void {
    // Iterative: graphs are too deep to recurse.
    const pending: Node[] = [this];
    for (let node = pending.pop(); node; node = pending.pop()) {
      if (--node.#references === 0) pending.push(...node.#drop());
    }
  }

  /** Frees what it saved and its edges although something may still refer to it: its gradient has been passed on. */
  consume(): void {
    for (const node of this.#drop()) node.release();
  }

  #drop(): Node[] {
    for (const kept of this.#saved) if (!(kept instanceof Node)) kept?.dispose();
    const inner = [...this.edges, ...this.#saved].filter((e) => e instanceof Node);
    this.#result?.dispose();
    this.#saved = [];
    this.edges = [];
    this.consumed = true;
    return inner;
  }
}

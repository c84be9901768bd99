import { AsyncLocalStorage } from 'node:async_hooks';
import type { Backend } from './backend.ts';
import type { OpDef, Spec } from './op.ts';
import type { Tensor } from './tensor.ts';

/** Anything a scope can own. */
export interface Owned {
  owner: Scope | undefined;
  dispose(): void;
}

/** Called after every op with its outputs; profilers, cost counters and the non-finite hunt are observers. */
export type Observer = (event: {
  def: OpDef<never>;
  specs: Spec[];
  attrs: unknown;
  outputs: readonly Tensor[];
  ms: number;
}) => void;

/** What surrounds the code that runs now. It follows `await`, so two trainings in one process do not mix. */
export interface Context {
  readonly scope?: Scope;
  readonly grad: boolean;
  readonly backend?: Backend;
  readonly observer?: Observer;
}

const storage = new AsyncLocalStorage<Context>();
let root: Context = { grad: true };

export const context = (): Context => storage.getStore() ?? root;

/** Runs `fn` (sync or async) in a changed context. */
export function withContext<T>(change: Partial<Context>, fn: () => T): T {
  return storage.run({ ...context(), ...change }, fn);
}

/** Runs `fn` without recording: what it computes needs no gradient. */
export const noGrad = <T>(fn: () => T): T => withContext({ grad: false }, fn);

/** Runs `fn` with tensors created on `backend`. */
export const withBackend = <T>(backend: Backend, fn: () => T): T => withContext({ backend }, fn);

/** The backend on which tensors are created where no context names another. */
export function setBackend(backend: Backend): void {
  root = { ...root, backend };
}

/**
 * Owns every tensor made while it is the innermost scope and frees them when it closes:
 * `using step = scope();`. Parameters, gradients and caches belong to no scope.
 */
export class Scope implements Disposable {
  readonly #outer: Context | undefined;
  readonly #owned = new Set<Owned>();
  private open = true;

  constructor() {
    this.#outer = storage.getStore();
    storage.enterWith({ ...context(), scope: this });
  }

  own(x: Owned): void {
    this.#owned.add(x);
    x.owner = this;
  }

  disown(x: Owned): void {
    this.#owned.delete(x);
    x.owner = undefined;
  }

  /** Hands `x` to the nearest enclosing scope that is still open; with none, the caller owns it. */
  keep<T extends Owned>(x: T): T {
    if (x.owner !== this) return x;
    this.disown(x);
    const outer = this.#outer?.scope;
    if (outer?.open) outer.own(x);
    return x;
  }

  [Symbol.dispose](): void {
    if (!this.open) return;
    if (context().scope !== this) throw new Error('scope: only the innermost open scope can be closed');
    this.open = false;
    storage.enterWith(this.#outer as Context);
    for (const x of this.#owned) {
      x.owner = undefined;
      x.dispose();
    }
  }
}

export const scope = (): Scope => new Scope();

/** Runs `fn` with a scope of its own and hands its result outward. Synchronous. */
export function scoped<T extends Owned | readonly Owned[] | undefined>(fn: () => T): T {
  using inner = scope();
  const result = fn();
  if (Array.isArray(result)) for (const x of result) inner.keep(x);
  else if (result) inner.keep(result as Owned);
  return result;
}

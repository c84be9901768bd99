import { type Backend, type ComputeDType, empty, scope, type Tensor } from '../engine/index.ts';
import type { LlamaConfig } from './config.ts';

/** Keys (after rope) and values of rows seen before, per layer [capacity, KVH, D]. Belongs to no scope. */
export class KeyValueCache implements Disposable {
  readonly keys: Tensor[];
  readonly values: Tensor[];
  readonly capacity: number;
  /** Rows in use. */
  length = 0;

  /** For rows of this model, in the type that it computes in. */
  constructor(
    { config, backend, dtype }: { config: LlamaConfig; backend: Backend; dtype: ComputeDType },
    capacity: number,
  ) {
    // Owns the first ones when there is no memory for all.
    using _ = scope();
    const make = (): Tensor => empty([capacity, config.numKeyValueHeads, config.headDim], { dtype, backend });
    this.capacity = capacity;
    this.keys = Array.from({ length: config.numHiddenLayers }, make);
    this.values = Array.from({ length: config.numHiddenLayers }, make);
    for (const t of [...this.keys, ...this.values]) t.persist();
  }

  [Symbol.dispose](): void {
    for (const t of [...this.keys, ...this.values]) t.dispose();
  }
}

import { appendRows } from './ops/cache.ts';
import { fill } from './ops/elementwise.ts';
import { reshape } from './ops/move.ts';
import { noGrad, scope } from './scope.ts';
import { storedBytes, type Tensor, zeros } from './tensor.ts';

/** Elements that a parameter's place is a multiple of: 256 bytes, what kernels may expect of an address. */
const ALIGNMENT = 64;

/** The view of `shape` at an element of a tensor; belongs to no scope. */
export const viewAt = (t: Tensor, element: number, shape: readonly number[]): Tensor =>
  t.view(shape, storedBytes(t.backend, t.dtype, [element])).persist();

interface Place {
  readonly name: string;
  readonly parameter: Tensor;
  readonly at: number;
  /** `gradCount` at the last `zeroGrad`. */
  countedBefore: number;
}

/**
 * Trainable tensors moved into one flat f32 storage, with their gradients in another: norm, clipping, step, zeroing and
 * checkpoints are one operation each, however many tensors there are. The tensors stay the same objects, with their
 * `.grad` a view of the flat gradient; between them lie zeros.
 */
export class FlatParameters {
  readonly values: Tensor;
  readonly grad: Tensor;
  readonly #places: Place[] = [];

  /** @throws Error naming the first tensor that is not a trainable f32 leaf on the backend of the others */
  constructor(named: Iterable<[name: string, parameter: Tensor]>) {
    let size = 0;
    for (const [name, parameter] of named) {
      const first = this.#places[0]?.parameter ?? parameter;
      if (!parameter.requiresGrad || parameter.node || parameter.dtype !== 'f32') {
        throw new Error(`FlatParameters: ${name} is not a trainable f32 leaf: ${parameter}`);
      }
      if (parameter.backend !== first.backend) {
        throw new Error(`FlatParameters: ${name} is on ${parameter.backend.name}, others on ${first.backend.name}`);
      }
      this.#places.push({ name, parameter, at: size, countedBefore: parameter.gradCount });
      size += Math.ceil(parameter.size / ALIGNMENT) * ALIGNMENT;
    }
    if (this.#places.length === 0) throw new Error('FlatParameters: there is nothing to train');
    const { backend } = this.#places[0].parameter;
    this.values = zeros([size], { backend }).persist();
    this.grad = zeros([size], { backend }).persist();
    noGrad(() => {
      using _ = scope();
      for (const { parameter, at } of this.#places) {
        appendRows(this.values, reshape(parameter, [parameter.size]), { at });
        parameter.rebase(this.values.storage, storedBytes(backend, 'f32', [at]));
        parameter.grad?.dispose();
        parameter.grad = viewAt(this.grad, at, parameter.shape);
      }
    });
  }

  get names(): string[] {
    return this.#places.map(({ name }) => name);
  }

  /** Elements of the flat storage. */
  get size(): number {
    return this.values.size;
  }

  /** Each parameter's part of `flat`, a tensor laid out like `values`; the views belong to no scope. */
  views(flat: Tensor): [name: string, view: Tensor][] {
    return this.#places.map(({ name, parameter, at }) => [name, viewAt(flat, at, parameter.shape)]);
  }

  /** Maximal ranges of elements whose parameters `classify` gives the same value. */
  ranges<T>(classify: (name: string) => T): { from: number; to: number; value: T }[] {
    const ranges: { from: number; to: number; value: T }[] = [];
    for (const [i, { name, at }] of this.#places.entries()) {
      const value = classify(name);
      const to = this.#places[i + 1]?.at ?? this.size;
      const last = ranges[ranges.length - 1];
      if (last && last.value === value) last.to = to;
      else ranges.push({ from: at, to, value });
    }
    return ranges;
  }

  zeroGrad(): void {
    fill(this.grad, 0);
    for (const place of this.#places) place.countedBefore = place.parameter.gradCount;
  }

  /** @throws Error naming every parameter that `backward` has given nothing since `zeroGrad` */
  assertGradients(): void {
    const without = this.#places.filter((p) => p.parameter.gradCount === p.countedBefore).map((p) => p.name);
    if (without.length) throw new Error(`no gradient has reached ${without.join(', ')} since zeroGrad`);
  }

  /** Frees the flat storages. The parameters keep the values' memory alive until they are freed themselves. */
  dispose(): void {
    for (const { parameter } of this.#places) {
      parameter.grad?.dispose();
      parameter.grad = undefined;
    }
    this.values.dispose();
    this.grad.dispose();
  }
}

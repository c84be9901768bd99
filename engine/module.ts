import { linear } from './ops/linear.ts';
import { formatShape, sameShape } from './shape.ts';
import { Tensor } from './tensor.ts';

/** `selfAttn` → `self_attn`: properties are camelCase, tensor names are those of checkpoints. */
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

type Entry = [name: string, value: Module | Tensor];

/** The modules and tensors `value` holds, arrays by index. */
function entriesOf(name: string, value: unknown): Entry[] {
  if (value instanceof Module || value instanceof Tensor) return [[name, value]];
  if (Array.isArray(value)) return value.flatMap((v, i) => entriesOf(`${name}.${i}`, v));
  return [];
}

/** A part of a network: its tensors and inner modules are its public properties, named as in a checkpoint. */
export abstract class Module {
  /** True while training: dropout is on. */
  training = false;

  #entries(): Entry[] {
    return Object.entries(this).flatMap(([key, value]) => entriesOf(snakeCase(key), value));
  }

  /** This module and all inner ones with their dotted names, depth first. */
  *namedModules(prefix = ''): Generator<[name: string, module: Module]> {
    yield [prefix, this];
    for (const [name, value] of this.#entries()) {
      if (value instanceof Module) yield* value.namedModules(prefix ? `${prefix}.${name}` : name);
    }
  }

  /** All tensors with their dotted names; one that stands in two places is named once. */
  *namedTensors(): Generator<[name: string, tensor: Tensor]> {
    const seen = new Set<Tensor>();
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, value] of module.#entries()) {
        if (!(value instanceof Tensor) || seen.has(value)) continue;
        seen.add(value);
        yield [prefix ? `${prefix}.${name}` : name, value];
      }
    }
  }

  /** The trainable tensors. */
  namedParameters(): [name: string, tensor: Tensor][] {
    return [...this.namedTensors()].filter(([, t]) => t.requiresGrad);
  }

  parameters(): Tensor[] {
    return this.namedParameters().map(([, t]) => t);
  }

  train(on = true): this {
    for (const [, m] of this.namedModules()) m.training = on;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Makes every tensor of this module constant. */
  freeze(): this {
    for (const [, t] of this.namedTensors()) t.requiresGrad = false;
    return this;
  }

  stateDict(): Map<string, Tensor> {
    return new Map(this.namedTensors());
  }

  /**
   * Copies values into this module's tensors.
   * @throws naming missing and unexpected tensors and those of another shape
   */
  async loadStateDict(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const own = this.stateDict();
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    if (missing.length || unexpected.length) {
      throw new Error(`loadStateDict: missing [${missing.join(', ')}], unexpected [${unexpected.join(', ')}]`);
    }
    for (const [name, target] of own) {
      const source = state.get(name) as Tensor;
      if (!sameShape(source.shape, target.shape)) {
        const shapes = `${formatShape(source.shape)} for ${formatShape(target.shape)}`;
        throw new Error(`loadStateDict: ${name} has shape ${shapes}`);
      }
      target.set(await source.data());
    }
  }

  /** Frees every tensor of this module. */
  dispose(): void {
    for (const [, t] of this.namedTensors()) {
      t.grad?.dispose();
      t.dispose();
    }
  }
}

/** y = x·Wᵀ + b with W [out, in]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;

  constructor(weight: Tensor, bias?: Tensor) {
    super();
    this.weight = weight;
    this.bias = bias;
  }

  get inFeatures(): number {
    return this.weight.shape[1];
  }

  get outFeatures(): number {
    return this.weight.shape[0];
  }

  /** x [..., in] → [..., out] */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

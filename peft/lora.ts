import {
  add,
  cast,
  Linear,
  loraLinear,
  Module,
  matmul,
  mul,
  parameter,
  type Rng,
  scoped,
  type Tensor,
  tensor,
} from '../engine/index.ts';
import type { DropoutRows } from '../models/batch.ts';
import type { Projection } from '../models/llama.ts';

/**
 * Values of A at the start (B is always 0): `true` is peft's default, Kaiming-uniform U(−1/√in, 1/√in);
 * `gaussian` is peft's N(0, 1/r); `normal` is the study's N(0, 1).
 */
export type LoraInit = 'true' | 'gaussian' | 'normal';

/** What peft calls `LoraConfig`, as far as it is supported. */
export interface LoraConfig {
  r: number;
  alpha: number;
  /** Probability that an input of the low-rank branch is dropped, in [0, 1). */
  dropout: number;
  /** Scale α/√r in place of α/r (Kalajdzievski, "A rank stabilization scaling factor", 2023). */
  rslora: boolean;
  /** Names or ends of module paths; a string is a regular expression for the whole path, or `all-linear`. */
  targetModules: readonly string[] | string;
  excludeModules?: readonly string[] | string;
  init: LoraInit;
  /** Other ranks and alphas for modules whose path ends with a key (a regular expression). */
  rankPattern?: Readonly<Record<string, number>>;
  alphaPattern?: Readonly<Record<string, number>>;
  layersToTransform?: readonly number[];
}

export const defaultLora: LoraConfig = {
  r: 8,
  alpha: 16,
  dropout: 0.1,
  rslora: false,
  targetModules: ['q_proj', 'v_proj'],
  init: 'true',
};

/** One adapter's matrices for one linear layer: A [r, in], B [out, r]. */
export class LoraWeights extends Module {
  readonly loraA: Tensor;
  readonly loraB: Tensor;
  readonly scale: number;
  readonly dropout: number;

  constructor(a: Tensor, b: Tensor, scale: number, dropout: number) {
    super();
    this.loraA = a;
    this.loraB = b;
    this.scale = scale;
    this.dropout = dropout;
  }
}

/** A linear layer with the adapters that target it, of which one at most is active. Stands where the layer stood. */
export class LoraLinear extends Module implements Projection {
  readonly baseLayer: Linear;
  /** The active adapter's part. */
  adapter: LoraWeights | undefined;
  /** Which layer of the model this is; its dropout masks depend on it. */
  readonly #index: number;
  #merged: Linear | undefined;

  constructor(base: Linear, index: number) {
    super();
    this.baseLayer = base;
    this.#index = index;
  }

  /** x [T, in] → [T, out] */
  forward(x: Tensor, mask?: DropoutRows): Tensor {
    if (this.#merged) return this.#merged.forward(x);
    const { adapter } = this;
    if (!adapter) return this.baseLayer.forward(x);
    const { weight, bias } = this.baseLayer;
    const p = this.training ? adapter.dropout : 0;
    return loraLinear(
      x,
      { weight, bias, a: adapter.loraA, b: adapter.loraB },
      { scale: adapter.scale, dropout: p > 0 ? { p, module: this.#index } : undefined },
      mask,
    );
  }

  /** W + s·B·A as f32, a new tensor; W itself where no adapter is active. */
  mergedWeight(): Tensor {
    const { adapter, baseLayer } = this;
    if (!adapter) return baseLayer.weight;
    return scoped(() => add(cast(baseLayer.weight), mul(matmul(adapter.loraB, adapter.loraA), adapter.scale)));
  }

  /** Folds the active adapter into the weight. The original stays until `dispose`, so unmerging restores it bit for bit. */
  merge(): void {
    if (this.#merged || !this.adapter) return;
    this.#merged = new Linear(this.mergedWeight().persist(), this.baseLayer.bias);
  }

  unmerge(): void {
    this.#merged?.weight.dispose();
    this.#merged = undefined;
  }

  override dispose(): void {
    this.unmerge();
    super.dispose();
  }
}

/** A linear layer of a model with the module that holds it. */
export interface LinearSite {
  /** Path within the model, as in a checkpoint: `model.layers.0.self_attn.q_proj`. */
  name: string;
  index: number;
  linear: Linear;
  replace(by: Module): void;
}

/** Every linear layer but the output layer, in the model's order. */
export function linearSites(model: Module): LinearSite[] {
  const modules = [...model.namedModules()];
  const parents = new Map(modules);
  const sites: LinearSite[] = [];
  for (const [name, module] of modules) {
    const base = module instanceof LoraLinear ? module.baseLayer : module;
    const dot = name.lastIndexOf('.');
    const parent = parents.get(name.slice(0, dot)) as unknown as Record<string, unknown> | undefined;
    if (dot < 0 || !parent || !(base instanceof Linear) || parent instanceof LoraLinear) continue;
    const key = Object.keys(parent).find((k) => parent[k] === module);
    if (!key) continue;
    const replace = (by: Module): void => {
      parent[key] = by;
    };
    sites.push({ name, index: sites.length, linear: base, replace });
  }
  return sites;
}

const wholeMatch = (pattern: string, name: string): boolean => new RegExp(`^(?:${pattern})$`).test(name);

function matches(targets: readonly string[] | string, name: string): boolean {
  if (targets === 'all-linear') return true;
  if (typeof targets === 'string') return wholeMatch(targets, name);
  return targets.some((t) => name === t || name.endsWith(`.${t}`));
}

/**
 * The layers a config targets, by peft's rules.
 * @throws when it targets none, listing the names there are
 */
export function targetedSites(sites: LinearSite[], config: LoraConfig): LinearSite[] {
  const { targetModules, excludeModules, layersToTransform } = config;
  const found = sites.filter(({ name }) => {
    if (!matches(targetModules, name) || (excludeModules && matches(excludeModules, name))) return false;
    const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
    return !layersToTransform || (layer !== undefined && layersToTransform.includes(Number(layer)));
  });
  if (found.length === 0) {
    const names = [...new Set(sites.map(({ name }) => name.slice(name.lastIndexOf('.') + 1)))];
    throw new Error(`LoRA: no linear layer matches ${JSON.stringify(targetModules)}; there are ${names.join(', ')}`);
  }
  return found;
}

/** The value a pattern gives this module, by peft's rule: the first key that matches the path or its end. */
function patterned(pattern: Readonly<Record<string, number>> | undefined, name: string, fallback: number): number {
  const key = Object.keys(pattern ?? {}).find((k) => wholeMatch(`(?:.*\\.)?${k}`, name));
  return key === undefined ? fallback : (pattern?.[key] as number);
}

/** Rank and scale that the config gives this module. */
export function rankAndScale(config: LoraConfig, name: string): { r: number; scale: number } {
  const r = patterned(config.rankPattern, name, config.r);
  const alpha = patterned(config.alphaPattern, name, config.alpha);
  return { r, scale: alpha / (config.rslora ? Math.sqrt(r) : r) };
}

/** A new adapter's matrices for a layer: A drawn from `rng` as `config.init` says, B zero. */
export function initialWeights(config: LoraConfig, { name, linear }: LinearSite, rng: Rng): LoraWeights {
  const { r, scale } = rankAndScale(config, name);
  const { inFeatures: K, outFeatures: N } = linear;
  const { backend } = linear.weight;
  const draw: Record<LoraInit, () => number> = {
    true: () => rng.uniform(-1 / Math.sqrt(K), 1 / Math.sqrt(K)),
    gaussian: () => rng.normal(0, 1 / r),
    normal: () => rng.normal(),
  };
  const a = tensor(Float32Array.from({ length: r * K }, draw[config.init]), [r, K], { backend });
  const b = tensor(new Float32Array(N * r), [N, r], { backend });
  return new LoraWeights(parameter(a), parameter(b), scale, config.dropout);
}

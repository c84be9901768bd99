import type { Rng, Tensor } from '../engine/index.ts';
import { type BatchRows, prepareBatch } from '../models/batch.ts';
import type { ForwardOptions, LlamaModel } from '../models/llama.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import {
  initialWeights,
  type LinearSite,
  type LoraConfig,
  LoraLinear,
  LoraWeights,
  linearSites,
  rankAndScale,
  targetedSites,
} from './lora.ts';
import { initialPrompt, type PromptConfig, PromptEmbedding } from './prompt.ts';

/** A loaded adapter: LoRA matrices by module path, or virtual tokens. */
export type Adapter = {
  /** Text of the adapter_config.json it was loaded from, which saving writes back byte for byte. */
  readonly source?: string;
} & (
  | { readonly method: 'lora'; readonly config: LoraConfig; readonly weights: ReadonlyMap<string, LoraWeights> }
  | { readonly method: 'prompt'; readonly config: PromptConfig; readonly prompt: PromptEmbedding }
);

/** A frozen model with adapters, of which one at most is active (peft's PeftModel). */
export class PeftModel {
  readonly model: LlamaModel;
  readonly #adapters = new Map<string, Adapter>();
  readonly #sites: LinearSite[];
  readonly #layers = new Map<string, LoraLinear>();
  #active: string | undefined;
  #version = 0;

  constructor(model: LlamaModel) {
    this.model = model.freeze() as LlamaModel;
    this.#sites = linearSites(model);
  }

  /** Changes whenever hidden states may: caches made under another version are stale. */
  get version(): number {
    return this.#version;
  }

  /** To be called after an optimizer step. */
  weightsChanged(): void {
    this.#version++;
  }

  get adapters(): ReadonlyMap<string, Adapter> {
    return this.#adapters;
  }

  get activeName(): string | undefined {
    return this.#active;
  }

  get active(): Adapter | undefined {
    return this.#active === undefined ? undefined : this.#adapters.get(this.#active);
  }

  /** Virtual tokens that stand before every sequence. */
  get virtualTokens(): number {
    return this.active?.method === 'prompt' ? this.active.config.virtualTokens : 0;
  }

  /** The linear layers an adapter may target. */
  get sites(): readonly LinearSite[] {
    return this.#sites;
  }

  /** Adds a LoRA adapter with fresh matrices and makes it the active one. */
  addLora(config: LoraConfig, rng: Rng, name = 'default'): void {
    const sites = targetedSites(this.#sites, config);
    this.#add(name, {
      method: 'lora',
      config,
      weights: new Map(sites.map((s) => [s.name, initialWeights(config, s, rng)])),
    });
  }

  /** Adds a LoRA adapter with given matrices A [r, in], B [out, r] by module path; they become trainable leaves. */
  addLoraWeights(
    config: LoraConfig,
    pairs: ReadonlyMap<string, { a: Tensor; b: Tensor }>,
    name = 'default',
    source?: string,
  ): void {
    const weights = new Map(
      [...pairs].map(([path, { a, b }]) => [
        path,
        new LoraWeights(a, b, rankAndScale(config, path).scale, config.dropout),
      ]),
    );
    this.#add(name, { method: 'lora', config, weights, source });
  }

  /** Adds fresh virtual tokens and makes them the active adapter. */
  async addPrompt(
    config: PromptConfig,
    rng: Rng,
    source: { tokenizer?: Tokenizer; labels?: readonly string[] } = {},
    name = 'default',
  ): Promise<void> {
    this.#add(name, { method: 'prompt', config, prompt: await initialPrompt(this.model, config, rng, source) });
  }

  /** Adds given virtual tokens [V, C] (a trainable leaf). */
  addPromptEmbeddings(config: PromptConfig, values: Tensor, name = 'default', source?: string): void {
    this.#add(name, { method: 'prompt', config, prompt: new PromptEmbedding(values), source });
  }

  #add(name: string, adapter: Adapter): void {
    if (this.#adapters.has(name)) throw new Error(`an adapter named '${name}' is loaded already`);
    this.#adapters.set(name, adapter);
    for (const path of adapter.method === 'lora' ? adapter.weights.keys() : []) this.#layerAt(path);
    this.setAdapter(name);
  }

  /** The layer at this path with room for adapters, put there on first use. */
  #layerAt(path: string): LoraLinear {
    const known = this.#layers.get(path);
    if (known) return known;
    const site = this.#sites.find((s) => s.name === path);
    if (!site) throw new Error(`the model has no linear layer ${path}`);
    const layer = new LoraLinear(site.linear, site.index);
    layer.train(this.model.training);
    site.replace(layer);
    this.#layers.set(path, layer);
    return layer;
  }

  /**
   * Makes one adapter active; undefined = the base model alone.
   * @throws when there is none of that name, listing those there are
   */
  setAdapter(name: string | undefined): void {
    if (name !== undefined && !this.#adapters.has(name)) {
      throw new Error(`no adapter '${name}'; loaded: ${[...this.#adapters.keys()].join(', ') || 'none'}`);
    }
    this.unmerge();
    this.#active = name;
    const { active } = this;
    for (const [path, layer] of this.#layers) {
      layer.adapter = active?.method === 'lora' ? active.weights.get(path) : undefined;
    }
    this.weightsChanged();
  }

  /** Runs `fn` with the base model alone (peft's disable_adapter). */
  async withoutAdapter<T>(fn: () => T | Promise<T>): Promise<T> {
    const before = this.#active;
    this.setAdapter(undefined);
    try {
      return await fn();
    } finally {
      this.setAdapter(before);
    }
  }

  /** Folds the active LoRA into the weights; the originals stay. @throws for prompt tuning */
  merge(): void {
    if (this.active?.method !== 'lora') throw new Error('merge: only an active LoRA adapter can be merged');
    for (const layer of this.#layers.values()) layer.merge();
    this.weightsChanged();
  }

  /** Restores the original weights, bit for bit. */
  unmerge(): void {
    for (const layer of this.#layers.values()) layer.unmerge();
    this.weightsChanged();
  }

  /** Weight of the linear layer at `path` with the active adapter folded in: f32 and new, or the layer's own. */
  mergedWeight(path: string): Tensor | undefined {
    return this.#layers.get(path)?.mergedWeight();
  }

  /** The active adapter's tensors by peft's names. */
  namedParameters(): [name: string, tensor: Tensor][] {
    const { active } = this;
    if (!active) return [];
    if (active.method === 'prompt') return [['prompt_embeddings', active.prompt.promptEmbeddings]];
    return [...active.weights].flatMap(([path, { loraA, loraB }]): [string, Tensor][] => [
      [`base_model.model.${path}.lora_A.weight`, loraA],
      [`base_model.model.${path}.lora_B.weight`, loraB],
    ]);
  }

  train(on = true): this {
    this.model.train(on);
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /**
   * Final hidden states of the wanted rows [R, C]. `rows.forest` includes the virtual tokens (its first rows);
   * a pass over rows that begin later (`rows.from` > 0) finds them in the cache.
   */
  forward(rows: Omit<BatchRows, 'virtual'>, options: Omit<ForwardOptions, 'prefix'> = {}): Tensor {
    const { active, virtualTokens } = this;
    const prefix = active?.method === 'prompt' && !rows.from ? active.prompt.promptEmbeddings : undefined;
    const batch = prepareBatch({ ...rows, virtual: prefix ? virtualTokens : 0 }, this.model.backend);
    return this.model.forward(batch, { ...options, prefix });
  }

  dispose(): void {
    this.setAdapter(undefined);
    for (const adapter of this.#adapters.values()) {
      const modules = adapter.method === 'prompt' ? [adapter.prompt] : adapter.weights.values();
      for (const m of modules) m.dispose();
    }
    this.model.dispose();
  }
}

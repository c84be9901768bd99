import {
  add,
  appendRows,
  assertComputes,
  attention,
  type Backend,
  type ComputeDType,
  cast,
  concat,
  context,
  embedding,
  fromBytes,
  gather,
  Linear,
  linear,
  Module,
  recompute,
  reshape,
  rmsNorm,
  rope,
  ropeTable,
  scope,
  scoped,
  swiglu,
  type Tensor,
} from '../engine/index.ts';
import type { Batch, DropoutRows, LayerRows } from './batch.ts';
import type { KeyValueCache } from './cache.ts';
import { type Checkpoint, expectedTensors } from './checkpoint/checkpoint.ts';
import { type LlamaConfig, llama3Factors } from './config.ts';

/** A linear layer of the model. An adapter takes its place and may use the rows for its dropout. */
export interface Projection extends Module {
  forward(x: Tensor, dropout?: DropoutRows): Tensor;
}

/** Finds a checkpoint tensor by its full name. */
type Weights = (name: string) => Tensor;

const projection = (weights: Weights, name: string, bias: boolean): Projection =>
  new Linear(weights(`${name}.weight`), bias ? weights(`${name}.bias`) : undefined);

class Embedding extends Module {
  readonly weight: Tensor;

  constructor(weight: Tensor) {
    super();
    this.weight = weight;
  }
}

class Norm extends Module {
  readonly weight: Tensor;
  readonly #eps: number;

  constructor(weight: Tensor, eps: number) {
    super();
    this.weight = weight;
    this.#eps = eps;
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { eps: this.#eps });
  }
}

/** What a layer's attention works with beside its input. */
interface LayerInput {
  rows: LayerRows;
  last?: Batch['last'];
  table: Tensor;
  cache?: { keys: Tensor; values: Tensor; at: number };
}

class SelfAttention extends Module {
  qProj: Projection;
  kProj: Projection;
  vProj: Projection;
  oProj: Projection;
  readonly #config: LlamaConfig;

  constructor(config: LlamaConfig, weights: Weights, name: string) {
    super();
    this.#config = config;
    this.qProj = projection(weights, `${name}.q_proj`, config.attentionBias);
    this.kProj = projection(weights, `${name}.k_proj`, config.attentionBias);
    this.vProj = projection(weights, `${name}.v_proj`, config.attentionBias);
    this.oProj = projection(weights, `${name}.o_proj`, config.attentionBias);
  }

  /** h [T, C] → [R, C]: queries are the wanted rows, keys and values all of them and those of the cache. */
  forward(h: Tensor, { rows, last, table, cache }: LayerInput): Tensor {
    const { numAttentionHeads: H, numKeyValueHeads: KVH, headDim: D } = this.#config;
    const asked = last ?? rows;
    const hq = last ? gather(h, last.index) : h;
    const heads = (x: Tensor, n: number): Tensor => reshape(x, [-1, n, D]);
    const q = rope(heads(this.qProj.forward(hq, asked.dropout), H), asked.positions, table);
    let k = rope(heads(this.kProj.forward(h, rows.dropout), KVH), rows.positions, table);
    let v = heads(this.vProj.forward(h, rows.dropout), KVH);
    if (cache) {
      k = appendRows(cache.keys, k, { at: cache.at });
      v = appendRows(cache.values, v, { at: cache.at });
    }
    const o = attention(q, k, v, asked.plan, { scale: 1 / Math.sqrt(D) });
    return this.oProj.forward(reshape(o, [-1, H * D]), asked.dropout);
  }
}

class Mlp extends Module {
  gateProj: Projection;
  upProj: Projection;
  downProj: Projection;

  constructor(config: LlamaConfig, weights: Weights, name: string) {
    super();
    this.gateProj = projection(weights, `${name}.gate_proj`, config.mlpBias);
    this.upProj = projection(weights, `${name}.up_proj`, config.mlpBias);
    this.downProj = projection(weights, `${name}.down_proj`, config.mlpBias);
  }

  forward(h: Tensor, dropout?: DropoutRows): Tensor {
    return this.downProj.forward(swiglu(this.gateProj.forward(h, dropout), this.upProj.forward(h, dropout)), dropout);
  }
}

class DecoderLayer extends Module {
  readonly inputLayernorm: Norm;
  readonly selfAttn: SelfAttention;
  readonly postAttentionLayernorm: Norm;
  readonly mlp: Mlp;

  constructor(config: LlamaConfig, weights: Weights, name: string) {
    super();
    this.inputLayernorm = new Norm(weights(`${name}.input_layernorm.weight`), config.rmsNormEps);
    this.selfAttn = new SelfAttention(config, weights, `${name}.self_attn`);
    const post = `${name}.post_attention_layernorm.weight`;
    this.postAttentionLayernorm = new Norm(weights(post), config.rmsNormEps);
    this.mlp = new Mlp(config, weights, `${name}.mlp`);
  }

  /** x [T, C] → [R, C] */
  forward(x: Tensor, input: LayerInput): Tensor {
    return scoped(() => {
      const residual = input.last ? gather(x, input.last.index) : x;
      const middle = add(residual, this.selfAttn.forward(this.inputLayernorm.forward(x), input));
      const dropout = (input.last ?? input.rows).dropout;
      return add(middle, this.mlp.forward(this.postAttentionLayernorm.forward(middle), dropout));
    });
  }
}

class Decoder extends Module {
  readonly embedTokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: Norm;

  constructor(config: LlamaConfig, weights: Weights) {
    super();
    this.embedTokens = new Embedding(weights('model.embed_tokens.weight'));
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      (_, n) => new DecoderLayer(config, weights, `model.layers.${n}`),
    );
    this.norm = new Norm(weights('model.norm.weight'), config.rmsNormEps);
  }
}

export interface ForwardOptions {
  /** Virtual tokens [P, C], put before the embedded ids. */
  prefix?: Tensor;
  /** Appended to; the batch's new rows begin where it ends. */
  cache?: KeyValueCache;
  /** Keep only each layer's input for the backward pass and compute the rest again. */
  recompute?: boolean;
}

export interface LlamaOptions {
  /**
   * Type of the activations: bf16 takes half the memory of f32 and tensor cores at full rate, on CUDA from sm_80 on. Norm
   * weights, biases, adapters and their gradients, statistics and the loss stay f32, frozen weights as they are stored.
   */
  dtype?: ComputeDType;
}

/** A LLaMA (1, 2, 3 and every model of that shape): what transformers' `LlamaForCausalLM` computes. */
export class LlamaModel extends Module {
  /** Type of the activations. */
  readonly dtype: ComputeDType;
  readonly model: Decoder;
  readonly lmHead: Linear | undefined;
  readonly #config: LlamaConfig;
  #table: Tensor | undefined;

  /** @throws TypeError where the weights' backend does not compute in the options' dtype */
  constructor(config: LlamaConfig, weights: Weights, { dtype = 'f32' }: LlamaOptions = {}) {
    super();
    this.dtype = dtype;
    this.#config = config;
    this.model = new Decoder(config, weights);
    this.lmHead = config.tieWordEmbeddings ? undefined : new Linear(weights('lm_head.weight'));
    assertComputes(this.backend, dtype);
  }

  get config(): LlamaConfig {
    return this.#config;
  }

  /** The output matrix [V, C]: the embeddings when they are tied. */
  get head(): Tensor {
    return (this.lmHead ?? this.model.embedTokens).weight;
  }

  get backend(): Backend {
    return this.head.backend;
  }

  /**
   * Reads a checkpoint tensor by tensor, freeing what `read` returned at once (from Node 21 on). Weights stay in their stored
   * type; norms and biases become f32.
   * @throws when the backend cannot hold it or does not compute in the options' dtype, or the file is damaged
   */
  static async load(
    checkpoint: Checkpoint,
    backend: Backend,
    { onTensor, dtype = 'f32' }: LlamaOptions & { onTensor?: (done: number, total: number) => void } = {},
  ): Promise<LlamaModel> {
    assertComputes(backend, dtype);
    const loaded = new Map<string, Tensor>();
    try {
      const names = [...expectedTensors(checkpoint.config).keys()];
      for (const [i, name] of names.entries()) {
        const { dtype, shape } = checkpoint.tensors.get(name) as { dtype: Tensor['dtype']; shape: Tensor['shape'] };
        const bytes = await checkpoint.read(name);
        const stored = fromBytes(bytes, shape, dtype, backend).persist();
        // Left to the garbage collector, the bytes of all tensors would wait for it at once, beside the weights themselves.
        await backend.sync();
        (bytes.buffer as { transfer?(length: number): unknown }).transfer?.(0);
        const vector = shape.length === 1 && dtype !== 'f32';
        loaded.set(name, vector ? cast(stored).persist() : stored);
        if (vector) stored.dispose();
        onTensor?.(i + 1, names.length);
      }
      return new LlamaModel(checkpoint.config, (name) => loaded.get(name) as Tensor, { dtype });
    } catch (error) {
      for (const t of loaded.values()) t.dispose();
      throw error;
    }
  }

  /** Rotary tables for at least this many positions. */
  #rope(positions: number): Tensor {
    if (this.#table && this.#table.shape[0] >= positions) return this.#table;
    const { headDim, ropeTheta: theta, ropeScaling, ropeFactors } = this.#config;
    const factors = ropeFactors ?? (ropeScaling && llama3Factors(ropeScaling, theta, headDim));
    this.#table?.dispose();
    const capacity = Math.max(512, 2 ** Math.ceil(Math.log2(positions)));
    this.#table = ropeTable({ headDim, theta, factors, positions: capacity, backend: this.backend }).persist();
    return this.#table;
  }

  /**
   * Final hidden states (after the last norm) of the batch's wanted rows: [R, C].
   * @throws when the cache has no room for the batch's rows
   */
  forward(batch: Batch, { prefix, cache, recompute: again = false }: ForwardOptions = {}): Tensor {
    if (cache && (batch.from !== cache.length || batch.from + batch.rows > cache.capacity)) {
      throw new RangeError(
        `forward: rows ${batch.from}–${batch.from + batch.rows} for a cache of ${cache.capacity} rows that holds ${cache.length}`,
      );
    }
    const table = this.#rope(batch.positions);
    return scoped(() => {
      const embedded = embedding(this.model.embedTokens.weight, batch.ids, this.dtype);
      let x = prefix ? concat([cast(prefix, this.dtype), embedded], 0) : embedded;
      for (const [n, layer] of this.model.layers.entries()) {
        using inner = scope();
        const input: LayerInput = {
          rows: batch.all,
          last: n === this.model.layers.length - 1 ? batch.last : undefined,
          table,
          cache: cache && { keys: cache.keys[n], values: cache.values[n], at: cache.length },
        };
        const run = (h: Tensor): Tensor => layer.forward(h, input);
        const recorded = context().grad && (x.requiresGrad || layer.parameters().length > 0);
        const next = inner.keep(again && recorded ? recompute(run, x) : run(x));
        x.dispose();
        x = next;
      }
      if (cache) cache.length += batch.rows;
      return this.model.norm.forward(x);
    });
  }

  /** hidden [R, C] → logits [R, V], f32 */
  logits(hidden: Tensor): Tensor {
    return linear(cast(hidden), this.head);
  }

  override dispose(): void {
    this.#table?.dispose();
    super.dispose();
  }
}

import type { Checkpoint } from '../../models/checkpoint/index.ts';

/** A q or k projection's rows as Meta orders them: those of a rotary pair side by side. */
function interleaved(bytes: Uint8Array, heads: number, headDim: number): Uint8Array {
  const row = bytes.length / (heads * headDim);
  const rows: Uint8Array[] = [];
  for (let h = 0; h < heads; h++) {
    for (let pair = 0; pair < headDim / 2; pair++) {
      for (const at of [h * headDim + pair, h * headDim + pair + headDim / 2]) {
        rows.push(bytes.subarray(at * row, (at + 1) * row));
      }
    }
  }
  return Buffer.concat(rows);
}

/** llama2.c's export of a model, in the order of its `memory_map_weights`. */
export async function llama2cFile(model: Checkpoint): Promise<Buffer> {
  const { config } = model;
  const vocab = config.tieWordEmbeddings ? config.vocabSize : -config.vocabSize;
  const header = Int32Array.of(
    config.hiddenSize,
    config.intermediateSize,
    config.numHiddenLayers,
    config.numAttentionHeads,
    config.numKeyValueHeads,
    vocab,
    config.maxPositionEmbeddings,
  );
  const layers = (part: string) =>
    Array.from({ length: config.numHiddenLayers }, (_, n) => model.read(`model.layers.${n}.${part}.weight`));
  const rotary = async (part: string, heads: number) =>
    (await Promise.all(layers(part))).map((bytes) => interleaved(bytes, heads, config.headDim));
  const parts = await Promise.all([
    model.read('model.embed_tokens.weight'),
    ...layers('input_layernorm'),
    ...(await rotary('self_attn.q_proj', config.numAttentionHeads)),
    ...(await rotary('self_attn.k_proj', config.numKeyValueHeads)),
    ...layers('self_attn.v_proj'),
    ...layers('self_attn.o_proj'),
    ...layers('post_attention_layernorm'),
    ...layers('mlp.gate_proj'),
    ...layers('mlp.down_proj'),
    ...layers('mlp.up_proj'),
    model.read('model.norm.weight'),
    Buffer.alloc(4 * config.maxPositionEmbeddings * config.headDim),
    ...(config.tieWordEmbeddings ? [] : [model.read('lm_head.weight')]),
  ]);
  return Buffer.concat([Buffer.from(header.buffer), ...parts]);
}

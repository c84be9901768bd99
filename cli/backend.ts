import type { MemoryModel } from '../engine/backends/rehearsal.ts';
import { type Backend, createReferenceBackend, createWasmBackend, setBackend } from '../engine/index.ts';
import type { Fingerprint } from '../peft/state.ts';
import { CliError } from './exit.ts';
import type { Output } from './output.ts';

export interface Device extends AsyncDisposable {
  backend: Backend;
  /** What was taken and why, in one line. */
  reason: string;
  /** What a result depends on beside its inputs: resuming under another is not bit for bit. */
  fingerprint: Fingerprint;
  /** How it takes memory, where that is limited. */
  memory?: MemoryModel;
}

/** Why there is no CUDA device. */
export const cudaMissing = 'this version has no CUDA backend yet';

/**
 * Opens what `--device` asks for, before any file is read.
 * @throws CliError when it is not there
 */
export async function openDevice(
  { device, threads }: { device: 'auto' | 'wasm' | 'cuda' | 'reference'; threads?: number },
  out: Output,
): Promise<Device> {
  if (device === 'cuda')
    throw new CliError('device', `--device cuda: ${cudaMissing}; --device wasm computes on the CPU`);
  const opened = device === 'reference' ? reference() : await wasm(threads, device === 'auto');
  setBackend(opened.backend);
  out.line(`device: ${opened.reason}`);
  return opened;
}

function reference(): Device {
  return {
    backend: createReferenceBackend(),
    reason: 'reference (float64 on one thread: slow, for comparisons)',
    fingerprint: { device: 'reference', build: 'float64' },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function wasm(threads: number | undefined, chosen: boolean): Promise<Device> {
  const backend = await createWasmBackend({ threads, revectorize: true });
  const { build, threads: running, threadsReason, revectorize, revectorizeReason } = backend.info;
  const parts = [
    build === 'relaxed' ? 'relaxed SIMD' : '128-bit SIMD without FMA',
    `${running} thread${running === 1 ? '' : 's'}${threadsReason ? ` (${threadsReason})` : ''}`,
    `revectorizer ${revectorize ? 'on' : `off (${revectorizeReason})`}`,
  ];
  return {
    backend,
    reason: `wasm, ${parts.join(', ')}${chosen ? `; no CUDA: ${cudaMissing}` : ''}`,
    fingerprint: { device: 'wasm', build },
    memory: backend.memoryModel,
    [Symbol.asyncDispose]: () => backend.close(),
  };
}

import type { MemoryModel } from '../engine/backends/rehearsal.ts';
import {
  assertComputes,
  type Backend,
  type ComputeDType,
  createCudaBackend,
  createReferenceBackend,
  createWasmBackend,
  setBackend,
  type WasmOptions,
} from '../engine/index.ts';
import type { Fingerprint } from '../peft/state.ts';
import { CliError } from './exit.ts';
import type { Compute, DeviceName } from './kinds.ts';
import type { Output } from './output.ts';

export interface Device extends AsyncDisposable {
  backend: Backend;
  /** Type of a model's activations on it. */
  dtype: ComputeDType;
  /** What was taken and why, in one line. */
  reason: string;
  /** What a result depends on beside its inputs: resuming under another is not bit for bit. */
  fingerprint: Fingerprint;
  /** How it takes memory, where that is limited. */
  memory?: MemoryModel;
}

/** Whether `--compute int16` is to be had there; `auto` takes the CPU for it. */
export const hasInt16 = (device: DeviceName): boolean => device === 'auto' || device === 'wasm';

/**
 * Opens what `--device` asks for, before any file is read.
 * @throws CliError when it is not there
 */
export async function openDevice(
  { device, threads, compute = 'float32' }: { device: DeviceName; threads?: number; compute?: Compute },
  out: Output,
): Promise<Device> {
  if (compute === 'int16' && !hasInt16(device)) {
    const message = `--compute int16: --device ${device} has no products in 16-bit integers; --device wasm has them`;
    throw new CliError('device', message);
  }
  const dtype = compute === 'bfloat16' ? 'bf16' : 'f32';
  const opened = await open(device, { threads, products: compute === 'int16' ? 'int16' : 'f32' });
  out.line(`device: ${opened.reason}`);
  try {
    assertComputes(opened.backend, dtype);
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw new CliError('device', `--compute ${compute}: ${(error as Error).message}`);
  }
  setBackend(opened.backend);
  return { ...opened, dtype };
}

/** A device before it is known what is computed on it. */
type Opened = Omit<Device, 'dtype'>;

async function open(device: DeviceName, options: WasmOptions): Promise<Opened> {
  if (device === 'reference') return reference();
  if (device === 'wasm') return wasm(options);
  if (device === 'auto' && options.products === 'int16') return wasm(options, '--compute int16 is for the CPU');
  try {
    return await openCuda(device === 'auto' ? 'cuda' : device);
  } catch (error) {
    const { message } = error as Error;
    if (device === 'auto') return wasm(options, message);
    throw new CliError('device', `--device ${device}: ${message}; --device wasm computes on the CPU`);
  }
}

function reference(): Opened {
  return {
    backend: createReferenceBackend(),
    reason: 'reference (float64 on one thread: slow, for comparisons)',
    fingerprint: { device: 'reference', build: 'float64' },
    [Symbol.asyncDispose]: async () => {},
  };
}

/**
 * A CUDA device that has answered.
 * @throws when there is no driver, no such device, or it is older than the kernels
 */
export async function openCuda(device: 'cuda' | `cuda:${number}` | 'cuda-sim'): Promise<Opened> {
  const backend = await createCudaBackend({ device });
  try {
    await backend.sync();
    const { memoryModel } = backend;
    const { name, attributes, simulated } = backend.device;
    const architecture = `sm_${attributes.computeCapability.join('')}`;
    const free = `${(memoryModel.capacity / 2 ** 30).toFixed(1)} GiB free`;
    return {
      backend,
      reason: `${backend.name}, ${simulated ? 'PTX on the CPU, very slow' : name} (${architecture}, ${free})`,
      fingerprint: { device: name, build: architecture },
      memory: memoryModel,
      [Symbol.asyncDispose]: () => backend.close(),
    };
  } catch (error) {
    await backend.close();
    throw error;
  }
}

/** @param noCuda why `auto` did not take CUDA */
async function wasm(options: WasmOptions, noCuda?: string): Promise<Opened> {
  const backend = await createWasmBackend({ ...options, revectorize: true });
  const { build, threads: running, threadsReason, products, ...found } = backend.info;
  const wide = found.revectorize && (products === 'f32' || found.revectorizeInt16);
  const parts = [
    build === 'relaxed' ? 'relaxed SIMD' : '128-bit SIMD without FMA',
    `${running} thread${running === 1 ? '' : 's'}${threadsReason ? ` (${threadsReason})` : ''}`,
    `revectorizer ${wide ? 'on' : `${found.revectorize ? 'on in f32 only' : 'off'} (${found.revectorizeReason})`}`,
    ...(products === 'int16' ? ['products in int16'] : []),
  ];
  return {
    backend,
    reason: `wasm, ${parts.join(', ')}${noCuda ? `; no CUDA: ${noCuda}` : ''}`,
    fingerprint: { device: 'wasm', build: products === 'int16' ? `${build}, int16` : build },
    memory: backend.memoryModel,
    [Symbol.asyncDispose]: () => backend.close(),
  };
}

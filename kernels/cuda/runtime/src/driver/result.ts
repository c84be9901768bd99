import { CudaError, LaunchError, NoDevice, OutOfMemory } from '../errors.ts';
import type { Library } from './library.ts';

/** The CUresult values that this code decides by. */
export const CUresult = {
  outOfMemory: 2,
  stubLibrary: 34,
  noDevice: 100,
  invalidDevice: 101,
  invalidImage: 200,
  noBinaryForGpu: 209,
  invalidPtx: 218,
  jitCompilerNotFound: 221,
  unsupportedPtxVersion: 222,
  notFound: 500,
  notReady: 600,
} as const;

/** The driver's name and text of a result, e.g. CUDA_ERROR_INVALID_VALUE and "invalid argument". */
export function describe(library: Library, result: number): { code: string; text: string } {
  return {
    code: word(library, 'cuGetErrorName', result) ?? `CUDA_ERROR_${result}`,
    text: word(library, 'cuGetErrorString', result) ?? 'unknown to this driver',
  };
}

function word(library: Library, name: 'cuGetErrorName' | 'cuGetErrorString', result: number): string | undefined {
  const pointer = new BigUint64Array(1);
  const known = library.entry(name)(result, pointer) === 0 && pointer[0] !== 0n;
  return known ? library.koffi.decode.string(pointer[0]) : undefined;
}

/** The error for `result`, of the class that its cause has. `doing` says what was attempted, with its sizes. */
export function failure(library: Library, result: number, doing: string): CudaError {
  const { code, text } = describe(library, result);
  const message = `${doing}: ${code} (${result}, ${text})`;
  if (result === CUresult.outOfMemory) return new OutOfMemory(code, message, { result });
  if (result === CUresult.noDevice || result === CUresult.invalidDevice) return new NoDevice(code, message, { result });
  if (poisons(result)) {
    const lost = `A kernel failed and the device's context is lost; the last one launched: ${library.lastLaunch}`;
    return new LaunchError(code, `${message}. ${lost}`, { result });
  }
  return new CudaError(code, message, { result });
}

/**
 * Whether a kernel failed so that its context accepts nothing more: illegal address (700), time limit (702), assertion
 * (710), and hardware stack, instruction, alignment, address space, program counter, unspecified failure (714 to 719).
 */
export function poisons(result: number): boolean {
  return result === 700 || result === 702 || result === 710 || (result >= 714 && result <= 719);
}

/** Throws `failure` unless `result` is CUDA_SUCCESS. */
export function check(library: Library, result: number, doing: string): void {
  if (result !== 0) throw failure(library, result, doing);
}

import { CudaError } from '../errors.ts';
import type { DriverFunction, Library } from './library.ts';
import { check } from './result.ts';

/** The primary context of a device, and everything that was made in it and has to go before it. */
export class Context {
  readonly library: Library;
  /** cuDriverGetVersion. */
  readonly driverVersion: number;
  readonly ordinal: number;
  /** For messages: ordinal and product name. */
  readonly label: string;
  readonly #device: number;
  readonly #handle: number;
  readonly #resources = new Set<Resource>();
  readonly #word = new BigUint64Array(1);
  #disposed = false;

  constructor(library: Library, driverVersion: number, ordinal: number, label: string) {
    this.library = library;
    this.driverVersion = driverVersion;
    this.ordinal = ordinal;
    this.label = label;
    check(library, library.entry('cuDeviceGet')(this.#word, ordinal), `cuDeviceGet(${ordinal})`);
    this.#device = Number(this.#word[0]);
    const retained = library.entry('cuDevicePrimaryCtxRetain')(this.#word, this.#device);
    check(library, retained, `context of ${label}`);
    this.#handle = Number(this.#word[0]);
  }

  get device(): number {
    return this.#device;
  }

  /** Makes the context current on this thread. Throws CudaError after dispose. */
  enter(): void {
    if (this.#disposed) throw new CudaError('CUDA_ERROR_CONTEXT_IS_DESTROYED', `${this.label} is disposed`);
    if (this.library.current === this.#handle) return;
    check(this.library, this.library.entry('cuCtxSetCurrent')(this.#handle), `cuCtxSetCurrent of ${this.label}`);
    this.library.current = this.#handle;
  }

  /** Calls a function of the driver here and returns its CUresult. */
  try(name: DriverFunction, ...args: Parameters<ReturnType<Library['entry']>>): number {
    this.enter();
    return this.library.entry(name)(...args);
  }

  /** Calls a function of the driver here; throws its failure. */
  call(name: DriverFunction, ...args: Parameters<ReturnType<Library['entry']>>): void {
    check(this.library, this.try(name, ...args), name);
  }

  /** Calls a function that writes one integer or handle through its first parameter, and returns that. */
  get(name: DriverFunction, ...args: Parameters<ReturnType<Library['entry']>>): number {
    this.#word[0] = 0n;
    this.call(name, this.#word, ...args);
    return Number(this.#word[0]);
  }

  adopt(resource: Resource): void {
    this.#resources.add(resource);
  }

  /** True the first time. */
  abandon(resource: Resource): boolean {
    return this.#resources.delete(resource);
  }

  /** What was made here and not disposed, in order. */
  get resources(): Iterable<Resource> {
    return this.#resources;
  }

  /** Waits for the device, disposes everything made here, newest first, then `last`, then the context. */
  dispose(last: () => void): void {
    if (this.#disposed) return;
    // Results of releasing are not looked at: after a failed kernel every call repeats that kernel's error, which whoever
    // waited for it has been told.
    this.try('cuCtxSynchronize');
    for (const resource of [...this.#resources].reverse()) resource[Symbol.dispose]();
    last();
    this.#disposed = true;
    this.library.entry('cuCtxSetCurrent')(0);
    this.library.current = 0;
    this.library.entry('cuDevicePrimaryCtxRelease_v2')(this.#device);
  }
}

/** Something of the driver that a context owns. Disposing twice, or after the context, does nothing. */
export abstract class Resource implements Disposable {
  readonly context: Context;
  readonly #handle: number;
  readonly #kind: string;
  #disposed = false;

  constructor(context: Context, handle: number, kind: string) {
    this.context = context;
    this.#handle = handle;
    this.#kind = kind;
    context.adopt(this);
  }

  /** The driver's handle. Throws CudaError (CUDA_ERROR_INVALID_HANDLE) after dispose. */
  get handle(): number {
    if (this.#disposed) throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `this ${this.#kind} is disposed`);
    return this.#handle;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.context.abandon(this)) this.release(this.#handle);
  }

  protected abstract release(handle: number): void;
}

/** `thing` as what this context made; throws CudaError (CUDA_ERROR_INVALID_HANDLE) for another device's. */
export function own<T extends Resource>(
  context: Context,
  thing: object,
  type: abstract new (...args: never[]) => T,
): T {
  if (thing instanceof type && thing.context === context) return thing;
  const kind = type.name.replace('Driver', '').toLowerCase();
  throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `not a ${kind} of ${context.label}`);
}

import { CudaError, InvalidPtx, LaunchError, PtxVersionUnsupported } from '../errors.ts';
import type { DeviceAttributes, DevicePointer, Kernel, Module } from '../runtime.ts';
import { type Context, Resource } from './context.ts';
import { driverFor, newestPtx, tooOldFor, versionText } from './ptxVersion.ts';
import { CUresult, check, describe, failure } from './result.ts';

const logBytes = 2 ** 16;
// CUjit_option: log buffers, their sizes, and ptxas -v's lines in the information log.
const jitOptions = Int32Array.of(3, 4, 5, 6, 12);
const functionAttribute = { maxThreads: 0, sharedBytes: 1, localBytes: 3, registers: 4, maxDynamicShared: 8 } as const;

export class DriverModule extends Resource implements Module {
  readonly infoLog: string;
  readonly #name: string;
  readonly #kernelNames: readonly string[];
  readonly #attributes: DeviceAttributes;
  readonly #kernels = new Map<string, DriverKernel>();

  constructor(context: Context, attributes: DeviceAttributes, ptx: string, name: string) {
    const { handle, infoLog } = load(context, attributes, ptx, name);
    super(context, handle, `module (${name})`);
    this.infoLog = infoLog;
    this.#name = name;
    this.#attributes = attributes;
    this.#kernelNames = [...ptx.matchAll(/^[^/\n]*\.entry\s+([\w$]+)/gm)].map((match) => match[1]);
  }

  getFunction(name: string): Kernel {
    const module = this.handle;
    let kernel = this.#kernels.get(name);
    if (kernel === undefined) {
      const word = new BigUint64Array(1);
      this.#found(this.context.try('cuModuleGetFunction', word, module, name), `kernel ${name}`);
      kernel = new DriverKernel(this, this.#attributes, name, Number(word[0]));
      this.#kernels.set(name, kernel);
    }
    return kernel;
  }

  getGlobal(name: string): { pointer: DevicePointer; bytes: number } {
    const words = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#found(this.context.try('cuModuleGetGlobal_v2', words[0], words[1], this.handle, name), `variable ${name}`);
    return { pointer: Number(words[0][0]), bytes: Number(words[1][0]) };
  }

  #found(result: number, what: string): void {
    const { library } = this.context;
    if (result !== CUresult.notFound) {
      check(library, result, `${what} of ${this.#name}`);
      return;
    }
    throw new CudaError(
      describe(library, result).code,
      `${this.#name} has no ${what}; its kernels: ${this.#kernelNames.join(', ') || 'none'}`,
      { result },
    );
  }

  protected release(handle: number): void {
    this.context.try('cuModuleUnload', handle);
  }
}

export class DriverKernel implements Kernel {
  readonly name: string;
  readonly registers: number;
  readonly sharedBytes: number;
  readonly localBytes: number;
  readonly maxThreads: number;
  readonly #module: DriverModule;
  readonly #handle: number;
  readonly #optin: number;
  #maxDynamicShared: number;

  constructor(module: DriverModule, attributes: DeviceAttributes, name: string, handle: number) {
    const attribute = (key: keyof typeof functionAttribute) =>
      module.context.get('cuFuncGetAttribute', functionAttribute[key], handle);
    this.name = name;
    this.registers = attribute('registers');
    this.sharedBytes = attribute('sharedBytes');
    this.localBytes = attribute('localBytes');
    this.maxThreads = attribute('maxThreads');
    this.#module = module;
    this.#handle = handle;
    this.#optin = attributes.sharedMemoryPerBlockOptin;
    this.#maxDynamicShared = attributes.sharedMemoryPerBlock - this.sharedBytes;
  }

  get module(): DriverModule {
    return this.#module;
  }

  /** CUfunction. Throws CudaError when its module is disposed. */
  get handle(): number {
    void this.#module.handle;
    return this.#handle;
  }

  get maxDynamicShared(): number {
    return this.#maxDynamicShared;
  }

  setMaxDynamicShared(bytes: number): void {
    const limit = this.#optin - this.sharedBytes;
    if (bytes > limit) {
      throw new LaunchError(
        'CUDA_ERROR_INVALID_VALUE',
        `${this.name}: ${bytes} bytes of dynamic shared memory, the device allows ${limit} beside ${this.sharedBytes} static`,
      );
    }
    if (bytes <= this.#maxDynamicShared) return;
    this.#module.context.call('cuFuncSetAttribute', this.handle, functionAttribute.maxDynamicShared, bytes);
    this.#maxDynamicShared = bytes;
  }
}

/** Has the driver compile `ptx`. */
function load(context: Context, attributes: DeviceAttributes, ptx: string, name: string) {
  const { koffi } = context.library;
  const info = new Uint8Array(logBytes);
  const errors = new Uint8Array(logBytes);
  const size = BigInt(logBytes);
  const values = BigUint64Array.of(koffi.address(info), size, koffi.address(errors), size, 1n);
  const handle = new BigUint64Array(1);
  const image = new TextEncoder().encode(`${ptx}\0`);
  const result = context.try('cuModuleLoadDataEx', handle, image, jitOptions.length, jitOptions, values);
  if (result !== 0) throw refused(context, attributes, result, ptx, name, text(errors));
  return { handle: Number(handle[0]), infoLog: text(info) };
}

function refused(
  context: Context,
  attributes: DeviceAttributes,
  result: number,
  ptx: string,
  name: string,
  log: string,
): CudaError {
  const { library, driverVersion, label } = context;
  const { code, text: words } = describe(library, result);
  const version = /^\s*\.version\s+(\d+\.\d+)/m.exec(ptx)?.[1] ?? '?';
  const target = /^\s*\.target\s+(\w+)/m.exec(ptx)?.[1] ?? '?';
  // Drivers before 11.1 have no result for a PTX version too new and call it invalid PTX.
  if (
    result === CUresult.unsupportedPtxVersion ||
    (result === CUresult.invalidPtx && tooOldFor(driverVersion, version))
  ) {
    return new PtxVersionUnsupported(
      code,
      `${name} is PTX ${version}, which needs a driver for CUDA ${driverFor(version) ?? `newer than ${versionText(driverVersion)}`}; ` +
        `this driver is for CUDA ${versionText(driverVersion)} and takes PTX up to ${newestPtx(driverVersion) ?? 'before 6.0'}`,
      { result },
    );
  }
  if (result === CUresult.noBinaryForGpu) {
    const found = attributes.computeCapability.join('');
    return new PtxVersionUnsupported(code, `${name} is for ${target} and newer; ${label} is sm_${found}`, { result });
  }
  if (result === CUresult.invalidPtx || result === CUresult.invalidImage) {
    return new InvalidPtx(code, `${name}: ${code} (${words})${log && `\n${log}`}`, log, { result });
  }
  if (result === CUresult.jitCompilerNotFound) {
    const needed = "the driver's PTX compiler (libnvidia-ptxjitcompiler.so.1) is missing beside the driver";
    return new CudaError(code, `${name}: ${needed}`, { result });
  }
  return failure(library, result, `loading ${name}${log && `\n${log}\n`}`);
}

const text = (log: Uint8Array): string => {
  const end = log.indexOf(0);
  return new TextDecoder().decode(log.subarray(0, end < 0 ? log.length : end)).trim();
};

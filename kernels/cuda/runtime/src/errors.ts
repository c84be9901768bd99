/** Base of every failure of a device. `code` is the CUresult name (`CUDA_ERROR_…`), `result` its number where one exists. */
export class CudaError extends Error {
  readonly code: string;
  readonly result: number | undefined;

  constructor(code: string, message: string, options?: { result?: number; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.result = options?.result;
  }
}

/** No usable CUDA driver: none could be opened (the message lists the names that were tried), or it is too old. */
export class NoDriver extends CudaError {}

/** The driver answers but has no device of the asked ordinal. */
export class NoDevice extends CudaError {}

/** The driver is too old for the PTX `.version`, or the device for its `.target`; the message names found and needed. */
export class PtxVersionUnsupported extends CudaError {}

/** The PTX was refused. `log` is the JIT's error log (the driver's words, or the simulator's `line N: …`). */
export class InvalidPtx extends CudaError {
  readonly log: string;

  constructor(code: string, message: string, log: string, options?: { result?: number; cause?: unknown }) {
    super(code, message, options);
    this.log = log;
  }
}

/** An allocation did not fit; the message states requested, free and total bytes. */
export class OutOfMemory extends CudaError {}

/** A launch was refused or its kernel failed: wrong shape, too many resources, illegal address, trap, checker report. */
export class LaunchError extends CudaError {}

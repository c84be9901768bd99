import { CudaError, NoDevice, NoDriver } from '../errors.ts';
import type { Device, DeviceAttributes } from '../runtime.ts';
import { readAttributes } from './attributes.ts';
import { Context } from './context.ts';
import { DriverDevice } from './device.ts';
import { Library } from './library.ts';
import { versionText } from './ptxVersion.ts';
import { CUresult, check, describe } from './result.ts';

export interface DriverOptions {
  /** Name or path of the driver's library. Default: the platform's names, see `openDriver`. */
  library?: string;
}

export interface DeviceSummary {
  readonly ordinal: number;
  readonly name: string;
  readonly attributes: DeviceAttributes;
}

/** The machine's NVIDIA driver. */
export interface Driver {
  /** The library that was opened. */
  readonly library: string;
  /** CUDA version the driver was made for, e.g. "12.4". */
  readonly version: string;
  /** The devices that the driver shows to this process (CUDA_VISIBLE_DEVICES decides which). */
  readonly devices: readonly DeviceSummary[];
  /** Opens device `ordinal`, default 0, with its primary context. Throws NoDevice. */
  open(ordinal?: number): Device;
}

/** CUDA 11.0: the first whose compiler takes PTX for sm_80. */
const oldest = 11000;

const opened = new Map<string, Driver>();

/**
 * Opens the NVIDIA driver: libcuda.so.1 on Linux (under WSL also where it is mounted), nvcuda.dll on Windows. No toolkit is
 * needed. Throws NoDriver when there is none or it is older than CUDA 11.0, NoDevice when it has no device.
 */
export function openDriver({ library }: DriverOptions = {}): Driver {
  const loaded = new Library(library);
  // One Library for all: it knows which context is current on this thread.
  const known = opened.get(loaded.name);
  if (known !== undefined) return known;
  const driver = new LoadedDriver(loaded);
  opened.set(loaded.name, driver);
  return driver;
}

class LoadedDriver implements Driver {
  readonly library: string;
  readonly version: string;
  readonly devices: readonly DeviceSummary[];
  readonly #library: Library;
  readonly #version: number;

  constructor(library: Library) {
    this.#library = library;
    this.library = library.name;
    const word = new Int32Array(1);
    check(library, library.entry('cuDriverGetVersion')(word), 'cuDriverGetVersion');
    this.#version = word[0];
    this.version = versionText(this.#version);
    if (this.#version < oldest) {
      throw new NoDriver(
        'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH',
        `the NVIDIA driver ${library.name} is for CUDA ${this.version}; CUDA ${versionText(oldest)} or newer is needed`,
      );
    }
    initialise(library, this.version);
    check(library, library.entry('cuDeviceGetCount')(word), 'cuDeviceGetCount');
    this.devices = Array.from({ length: word[0] }, (_, ordinal) => summary(library, ordinal));
    if (this.devices.length === 0) throw noDevice(library, this.version, 'CUDA_ERROR_NO_DEVICE');
  }

  open(ordinal = 0): Device {
    const device = this.devices[ordinal];
    if (device === undefined) {
      const list = this.devices.map((d) => `${d.ordinal}: ${d.name}`).join(', ');
      throw new NoDevice('CUDA_ERROR_INVALID_DEVICE', `no CUDA device ${ordinal}; found ${list}`);
    }
    const { name, attributes } = device;
    const context = new Context(this.#library, this.#version, ordinal, `device ${ordinal} (${name})`);
    try {
      return new DriverDevice(context, name, attributes);
    } catch (error) {
      context.dispose(() => {});
      throw error;
    }
  }
}

function initialise(library: Library, version: string): void {
  const result = library.entry('cuInit')(0);
  if (result === 0) return;
  const { code, text } = describe(library, result);
  if (result === CUresult.noDevice) throw noDevice(library, version, code, result);
  // The toolkit's libcuda.so to link against, which a loader path can put before the driver's.
  if (result === CUresult.stubLibrary) {
    throw new NoDriver(code, `${library.name} is the toolkit's stub library, not the NVIDIA driver`, { result });
  }
  const doing = `the NVIDIA driver ${library.name} (CUDA ${version}) did not start`;
  throw new CudaError(code, `${doing}: ${code} (${result}, ${text})`, { result });
}

function noDevice(library: Library, version: string, code: string, result?: number): NoDevice {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const hidden = visible === undefined ? '' : ` (CUDA_VISIBLE_DEVICES is "${visible}")`;
  return new NoDevice(
    code,
    `the NVIDIA driver ${library.name} (CUDA ${version}) shows no device to this process${hidden}; an NVIDIA GPU is needed`,
    { result },
  );
}

function summary(library: Library, ordinal: number): DeviceSummary {
  const device = new Int32Array(1);
  check(library, library.entry('cuDeviceGet')(device, ordinal), `cuDeviceGet(${ordinal})`);
  const name = new Uint8Array(256);
  check(library, library.entry('cuDeviceGetName')(name, name.length, device[0]), `name of device ${ordinal}`);
  return {
    ordinal,
    name: new TextDecoder().decode(name.subarray(0, name.indexOf(0))),
    attributes: readAttributes(library, device[0]),
  };
}

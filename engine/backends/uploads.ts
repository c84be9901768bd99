import type { Device, DevicePointer, Event, HostBuffer } from '../../kernels/cuda/runtime/src/index.ts';

/** Page-locked memory, filled from the front; `copied` is recorded behind the last copy out of it. */
interface Block {
  readonly memory: HostBuffer;
  readonly copied: Event;
}

const BLOCK_BYTES = 2 ** 20;
/** A training step writes a few hundred KiB of ids, plans and targets, and the one before may still run. */
const MOST_BLOCKS = 8;

/**
 * Writes that do not wait for the device. The driver may stage a copy from ordinary memory itself, and wait for the stream first;
 * it leaves page-locked memory alone. So small arrays are copied into a ring of blocks of it. Large ones, and all while every
 * block is on its way, go as they are. The device's end releases the blocks.
 */
export class Uploads {
  readonly #device: Device;
  #filling: Block | undefined;
  #filled = 0;
  /** Full, oldest first. */
  readonly #full: Block[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  /** `bytes` may be changed at once. */
  write(destination: DevicePointer, bytes: Uint8Array): void {
    const place = this.#place(bytes.length);
    place?.set(bytes);
    this.#device.writeAsync(destination, place ?? bytes);
  }

  #place(bytes: number): Uint8Array | undefined {
    if (bytes > BLOCK_BYTES) return undefined;
    if (this.#filling === undefined || this.#filled + bytes > BLOCK_BYTES) this.#next();
    const begin = this.#filled;
    this.#filled += bytes;
    return this.#filling?.memory.bytes.subarray(begin, begin + bytes);
  }

  /** Begins a block: the oldest one if all of it is on the device, else another one as long as there may be more. */
  #next(): void {
    if (this.#filling) {
      this.#filling.copied.record();
      this.#full.push(this.#filling);
    }
    this.#filled = 0;
    if (this.#full[0]?.copied.query()) this.#filling = this.#full.shift();
    else if (this.#full.length === MOST_BLOCKS) this.#filling = undefined;
    else this.#filling = { memory: this.#device.allocHost(BLOCK_BYTES), copied: this.#device.createEvent() };
  }
}

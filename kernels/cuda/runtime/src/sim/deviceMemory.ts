import { OutOfMemory } from '../errors.ts';
import type { LaneAddresses } from './laneAddresses.ts';
import type { Reporter } from './report.ts';

/** High words of generic addresses: which window an address lies in. */
export const windows = { GLOBAL: 7, SHARED: 1, LOCAL: 2, PARAM: 3 } as const;

/** Address of global memory's first byte. */
export const globalBase = windows.GLOBAL * 2 ** 32;

/** Shadow of a byte: 0 not allocated, 1 written, 2 allocated and not written, 4 target of a copy in flight. */
export const shadow = { written: 1, allocated: 2, inFlight: 4 } as const;
export const WRITTEN = 0x01010101;

/** Views of a buffer, from byte `start` on, as the types that instructions access. */
export function views(buffer: ArrayBuffer, start = 0, bytes = buffer.byteLength - start) {
  return {
    bytes: new Uint8Array(buffer, start, bytes),
    halves: new Uint16Array(buffer, start, bytes / 2),
    ints: new Int32Array(buffer, start, bytes / 4),
    floats: new Float32Array(buffer, start, bytes / 4),
    doubles: new Float64Array(buffer, start, bytes / 8),
  };
}

const granule = 256;
const scratchBytes = 4096;
/** Freed bytes that are kept out of use. */
const quarantine = 2 ** 26;

/**
 * Global memory: one arena with a shadow byte for every byte. Allocations keep at least 256 bytes apart, and the last 64 MiB
 * that were freed are not used again, so that running over an end or using freed memory meets bytes that belong to nobody.
 */
export class DeviceMemory {
  readonly size: number;
  readonly data: ReturnType<typeof views>;
  readonly shadow: ReturnType<typeof views>;
  /** An unused place at the end that illegal accesses are sent to, and one through which generic ones go. */
  readonly scratch: number;
  readonly genericSlot: number;
  readonly #allocations = new Map<number, number>();
  readonly #free: { start: number; end: number }[];
  readonly #freed: { start: number; end: number }[] = [];
  readonly #initial: number;
  #freedBytes = 0;
  used = 0;

  /** `size` bytes, at most 2 GiB; `trackWrites` off makes memory count as written when allocated. */
  constructor(size: number, trackWrites: boolean) {
    this.size = size;
    this.data = views(new ArrayBuffer(size));
    this.shadow = views(new ArrayBuffer(size));
    this.scratch = size - scratchBytes;
    this.genericSlot = this.scratch + 256;
    this.shadow.bytes.fill(shadow.written, this.scratch);
    this.#free = [{ start: granule, end: this.scratch }];
    this.#initial = trackWrites ? shadow.allocated : shadow.written;
  }

  /** Offset of `bytes` of new memory. Throws OutOfMemory. */
  alloc(bytes: number): number {
    const need = Math.max(1, Math.ceil(bytes / granule)) * granule + granule;
    let at = this.#free.findIndex(({ start, end }) => end - start >= need);
    if (at < 0 || this.#freedBytes > quarantine) {
      this.#reuse();
      at = this.#free.findIndex(({ start, end }) => end - start >= need);
    }
    if (at < 0) {
      const free = this.size - this.used;
      throw new OutOfMemory(
        'CUDA_ERROR_OUT_OF_MEMORY',
        `${bytes} bytes asked, ${free} of ${this.size} free in the simulated device`,
      );
    }
    const start = this.#free[at].start;
    this.#free[at].start += need;
    if (this.#free[at].start === this.#free[at].end) this.#free.splice(at, 1);
    this.#allocations.set(start, bytes);
    this.used += bytes;
    this.shadow.bytes.fill(this.#initial, start, start + bytes);
    return start;
  }

  /** Returns whether `offset` was the start of an allocation. */
  free(offset: number): boolean {
    const bytes = this.#allocations.get(offset);
    if (bytes === undefined) return false;
    this.#allocations.delete(offset);
    this.used -= bytes;
    this.shadow.bytes.fill(0, offset, offset + bytes);
    const end = offset + Math.max(1, Math.ceil(bytes / granule)) * granule + granule;
    this.#freed.push({ start: offset, end });
    this.#freedBytes += end - offset;
    return true;
  }

  // Gives the freed blocks back to the free list, neighbours joined.
  #reuse(): void {
    const blocks = [...this.#free, ...this.#freed].sort((a, b) => a.start - b.start);
    this.#freed.length = 0;
    this.#freedBytes = 0;
    this.#free.length = 0;
    for (const block of blocks) {
      const last = this.#free.at(-1);
      if (last !== undefined && last.end === block.start) last.end = block.end;
      else this.#free.push({ ...block });
    }
  }

  /** Whether all bytes of a range are allocated. */
  owns(offset: number, bytes: number): boolean {
    if (offset < 0 || offset + bytes > this.scratch) return false;
    return !this.shadow.bytes.subarray(offset, offset + bytes).includes(0);
  }

  /** What is known of the neighbourhood of a bad address, for its report. */
  #describe(offset: number): { kind: 'out-of-bounds' | 'use-after-free'; text: string } {
    const freed = this.#freed.find(({ start, end }) => offset >= start && offset < end - granule);
    if (freed !== undefined) return { kind: 'use-after-free', text: 'memory that was freed' };
    for (const [start, bytes] of this.#allocations) {
      if (offset >= start && offset < start + Math.ceil(bytes / granule) * granule + granule) {
        return {
          kind: 'out-of-bounds',
          text: `${offset - start - bytes} bytes past the end of an allocation of ${bytes}`,
        };
      }
    }
    return { kind: 'out-of-bounds', text: 'memory that belongs to no allocation' };
  }

  /** Mask of the lanes, of a warp's `lanes`, that may load 16 bytes from their address without more ado. */
  holdsRows({ lows, highs }: LaneAddresses, lanes: number): number {
    const { ints } = this.shadow;
    let held = 0;
    for (let l = 0; l < 32; l++) {
      const lo = lows[l];
      if (((lanes >>> l) & 1) === 0 || highs[l] !== windows.GLOBAL || (lo & 15) !== 0) continue;
      const x = lo >>> 2;
      if ((ints[x] & ints[x + 1] & ints[x + 2] & ints[x + 3]) === WRITTEN) held |= 1 << l;
    }
    return held;
  }

  /**
   * The slow path of an access: reports what is wrong with it, marks a store's bytes as written, and returns the byte offset
   * to use.
   */
  access(
    reporter: Reporter,
    site: number,
    warp: number,
    lane: number,
    lo: number,
    hi: number,
    bytes: number,
    store: boolean,
  ): number {
    const offset = lo >>> 0;
    if (hi === windows.GLOBAL && bytes >= 4 && offset % bytes === 0 && offset < this.scratch) {
      let all = WRITTEN;
      for (let x = offset >>> 2; x < (offset + bytes) >>> 2; x++) all &= this.shadow.ints[x];
      if (all === WRITTEN) return offset;
    }
    const address = (hi >>> 0) * 2 ** 32 + offset;
    const verb = store ? 'store' : 'load';
    if (hi !== windows.GLOBAL || offset + bytes > this.scratch) {
      reporter.add('out-of-bounds', site, warp, lane, address, `${verb} of ${bytes} bytes outside global memory`);
      return this.scratch;
    }
    if (offset % bytes !== 0) {
      reporter.add(
        'misaligned',
        site,
        warp,
        lane,
        address,
        `${verb} of ${bytes} bytes at an address that is no multiple of ${bytes}`,
      );
      return this.scratch;
    }
    let unwritten = false;
    for (let k = offset; k < offset + bytes; k++) {
      const state = this.shadow.bytes[k];
      if (state === 0) {
        const { kind, text } = this.#describe(k);
        reporter.add(kind, site, warp, lane, address, `${verb} of ${bytes} bytes in ${text}`);
        return this.scratch;
      }
      if (state !== shadow.written) unwritten = true;
    }
    if (store) this.shadow.bytes.fill(shadow.written, offset, offset + bytes);
    else if (unwritten)
      reporter.add('uninitialised', site, warp, lane, address, `load of ${bytes} bytes that nobody has written`);
    return offset;
  }
}

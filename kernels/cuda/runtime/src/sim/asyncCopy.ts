import { type DeviceMemory, shadow, WRITTEN } from './deviceMemory.ts';
import type { Reporter } from './report.ts';
import type { SharedMemory } from './sharedMemory.ts';

// A pending copy in a warp's queue: lane, group of the lane, target, source, bytes, bytes that come from the source (the rest
// is filled with zeros).
const fields = 6;
const inFlight = shadow.inFlight * 0x01010101;

/**
 * cp.async as the memory model has it: a copy may happen any time until its thread waits for its group, so nothing may touch
 * its target before. Here it happens at the wait, and its target is marked as in flight until then.
 */
export class AsyncCopies {
  readonly #queues = Array.from({ length: 32 }, () => new Int32Array(64 * fields));
  readonly #lengths = new Int32Array(32);
  /** Groups that each lane has committed. */
  readonly #groups = new Int32Array(32 * 32);
  #global: DeviceMemory;
  #shared: SharedMemory;
  #reporter: Reporter;
  #checks: { memory: boolean; races: boolean };

  constructor(
    global: DeviceMemory,
    shared: SharedMemory,
    reporter: Reporter,
    checks: { memory: boolean; races: boolean },
  ) {
    this.#global = global;
    this.#shared = shared;
    this.#reporter = reporter;
    this.#checks = checks;
  }

  /** Begins a block: copies that nobody waited for are dropped with the block that made them. */
  begin(warps: number): void {
    this.#lengths.fill(0);
    this.#groups.fill(0, 0, warps * 32);
  }

  issue(
    site: number,
    w: number,
    lane: number,
    toLow: number,
    toHigh: number,
    fromLow: number,
    fromHigh: number,
    bytes: number,
    sourceBytes: number,
  ): void {
    const valid = Math.min(sourceBytes >>> 0, bytes);
    let to = toLow;
    let from = fromLow;
    if (this.#checks.memory) {
      to = this.#shared.access(site, w, lane, toLow, toHigh, bytes, true);
      if (to === this.#shared.scratch) return;
      // The source is read in full words only as far as it is valid, whatever its length.
      if (valid === bytes) from = this.#global.access(this.#reporter, site, w, lane, fromLow, fromHigh, bytes, false);
      else if (valid > 0 && !this.#global.owns(fromLow >>> 0, valid)) {
        const address = fromHigh * 2 ** 32 + (fromLow >>> 0);
        this.#reporter.add('out-of-bounds', site, w, lane, address, `copy of ${valid} bytes from global memory`);
        return;
      }
      for (let x = to >>> 2; x < (to + bytes) >>> 2; x++) {
        if (this.#checks.races) this.#shared.races.write(site, w, lane, x, false);
        this.#shared.shadow.ints[x] = inFlight;
      }
    }
    let queue = this.#queues[w];
    const at = this.#lengths[w];
    if (at === queue.length) {
      queue = new Int32Array(2 * at);
      queue.set(this.#queues[w]);
      this.#queues[w] = queue;
    }
    queue[at] = lane;
    queue[at + 1] = this.#groups[w * 32 + lane];
    queue[at + 2] = to;
    queue[at + 3] = from;
    queue[at + 4] = bytes;
    queue[at + 5] = valid;
    this.#lengths[w] = at + fields;
  }

  commit(w: number, lanes: number): void {
    for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.#groups[w * 32 + l]++;
  }

  /** Completes the copies of all but each lane's latest `allow` groups; −1 completes everything, uncommitted copies too. */
  wait(w: number, lanes: number, allow: number): void {
    const queue = this.#queues[w];
    let kept = 0;
    for (let at = 0; at < this.#lengths[w]; at += fields) {
      const lane = queue[at];
      const done = (lanes >>> lane) & 1 && (allow < 0 || queue[at + 1] < this.#groups[w * 32 + lane] - allow);
      if (done) this.#complete(w, lane, queue[at + 2], queue[at + 3], queue[at + 4], queue[at + 5]);
      else {
        if (kept !== at) for (let k = 0; k < fields; k++) queue[kept + k] = queue[at + k];
        kept += fields;
      }
    }
    this.#lengths[w] = kept;
  }

  #complete(w: number, lane: number, to: number, from: number, bytes: number, valid: number): void {
    const source = this.#global.data.bytes;
    const target = this.#shared.data.bytes;
    const sourceWords = this.#global.data.ints;
    const words = this.#shared.data.ints;
    if (valid === bytes && (from & 3) === 0) {
      for (let k = 0; k < bytes; k += 4) words[(to + k) >>> 2] = sourceWords[(from + k) >>> 2];
    } else for (let k = 0; k < bytes; k++) target[to + k] = k < valid ? source[from + k] : 0;
    if (!this.#checks.memory) return;
    for (let x = to >>> 2; x < (to + bytes) >>> 2; x++) {
      this.#shared.shadow.ints[x] = WRITTEN;
      if (this.#checks.races) this.#shared.races.noteWrite(w, lane, x);
    }
  }
}

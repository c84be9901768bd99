import { type DeviceMemory, shadow, WRITTEN } from './deviceMemory.ts';
import type { Reporter } from './report.ts';
import type { SharedMemory } from './sharedMemory.ts';

// A pending copy in a warp's queue: group << 5 | lane, target, source, bytes << 8 | bytes that come from the source (the rest is
// filled with zeros).
const fields = 4;
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
      if (bytes !== 16 || !this.#shared.takesRow(toLow, toHigh)) {
        to = this.#shared.access(site, w, lane, toLow, toHigh, bytes, true);
        if (to === this.#shared.scratch) return;
      }
      if (valid !== 16 || !this.#global.holdsRow(fromLow, fromHigh)) {
        const found = this.#source(site, w, lane, fromLow, fromHigh, bytes, valid);
        if (found === undefined) return;
        from = found;
      }
      this.#mark(site, w, lane, to, bytes);
    }
    let queue = this.#queues[w];
    const at = this.#lengths[w];
    if (at === queue.length) {
      queue = new Int32Array(2 * at);
      queue.set(this.#queues[w]);
      this.#queues[w] = queue;
    }
    queue[at] = (this.#groups[w * 32 + lane] << 5) | lane;
    queue[at + 1] = to;
    queue[at + 2] = from;
    queue[at + 3] = (bytes << 8) | valid;
    this.#lengths[w] = at + fields;
  }

  // Checks what a copy reads: the source is read in full words only as far as it is valid, whatever its length.
  #source(site: number, w: number, lane: number, lo: number, hi: number, bytes: number, valid: number) {
    if (valid === bytes) return this.#global.access(this.#reporter, site, w, lane, lo, hi, bytes, false);
    if (valid === 0 || this.#global.owns(lo >>> 0, valid)) return lo;
    const address = hi * 2 ** 32 + (lo >>> 0);
    this.#reporter.add('out-of-bounds', site, w, lane, address, `copy of ${valid} bytes from global memory`);
    return undefined;
  }

  // From now on nothing may touch the target.
  #mark(site: number, w: number, lane: number, to: number, bytes: number): void {
    const { shadow, races } = this.#shared;
    const x = to >>> 2;
    if (bytes === 16) {
      if (this.#checks.races) races.checkRow(site, w, lane, x);
      shadow.ints[x] = shadow.ints[x + 1] = shadow.ints[x + 2] = shadow.ints[x + 3] = inFlight;
      return;
    }
    for (let k = 0; k < bytes >>> 2; k++) {
      if (this.#checks.races) races.check(site, w, lane, x + k, false);
      shadow.ints[x + k] = inFlight;
    }
  }

  commit(w: number, lanes: number): void {
    for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.#groups[w * 32 + l]++;
  }

  /** Completes the copies of all but each lane's latest `allow` groups; −1 completes everything, uncommitted copies too. */
  wait(w: number, lanes: number, allow: number): void {
    const queue = this.#queues[w];
    const length = this.#lengths[w];
    let kept = 0;
    for (let at = 0; at < length; at += fields) {
      const lane = queue[at] & 31;
      const group = queue[at] >>> 5;
      if ((lanes >>> lane) & 1 && (allow < 0 || group < this.#groups[w * 32 + lane] - allow)) {
        this.#complete(w, lane, queue[at + 1], queue[at + 2], queue[at + 3] >>> 8, queue[at + 3] & 255);
        continue;
      }
      queue[kept] = queue[at];
      queue[kept + 1] = queue[at + 1];
      queue[kept + 2] = queue[at + 2];
      queue[kept + 3] = queue[at + 3];
      kept += fields;
    }
    this.#lengths[w] = kept;
  }

  #complete(w: number, lane: number, to: number, from: number, bytes: number, valid: number): void {
    const source = this.#global.data;
    const target = this.#shared.data;
    const { shadow, races } = this.#shared;
    const x = to >>> 2;
    if (valid === 16 && (from & 3) === 0) {
      const y = from >>> 2;
      target.ints[x] = source.ints[y];
      target.ints[x + 1] = source.ints[y + 1];
      target.ints[x + 2] = source.ints[y + 2];
      target.ints[x + 3] = source.ints[y + 3];
    } else for (let k = 0; k < bytes; k++) target.bytes[to + k] = k < valid ? source.bytes[from + k] : 0;
    if (!this.#checks.memory) return;
    if (bytes === 16) {
      shadow.ints[x] = shadow.ints[x + 1] = shadow.ints[x + 2] = shadow.ints[x + 3] = WRITTEN;
      if (this.#checks.races) races.noteRow(w, lane, x);
      return;
    }
    for (let k = 0; k < bytes >>> 2; k++) {
      shadow.ints[x + k] = WRITTEN;
      if (this.#checks.races) races.noteWrite(w, lane, x + k);
    }
  }
}

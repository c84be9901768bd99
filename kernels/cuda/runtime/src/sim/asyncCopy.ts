import { type DeviceMemory, shadow } from './deviceMemory.ts';
import type { Reporter } from './report.ts';
import type { SharedMemory } from './sharedMemory.ts';

interface Copy {
  readonly site: number;
  readonly lane: number;
  readonly group: number;
  readonly to: number;
  readonly from: number;
  readonly bytes: number;
  /** Bytes that come from global memory; the rest is filled with zeros. */
  readonly valid: number;
}

/**
 * cp.async as the memory model has it: a copy may happen any time until its thread waits for its group, so nothing may touch
 * its target before. Here it happens at the wait, and its target is marked as in flight until then.
 */
export class AsyncCopies {
  readonly #pending: Copy[][] = Array.from({ length: 32 }, () => []);
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
  begin(): void {
    for (const copies of this.#pending) copies.length = 0;
    this.#groups.fill(0);
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
        this.#reporter.add(
          'out-of-bounds',
          site,
          w,
          lane,
          fromHigh * 2 ** 32 + (fromLow >>> 0),
          `copy of ${valid} bytes from global memory`,
        );
        return;
      }
      if (this.#checks.races)
        for (let x = to >>> 2; x < (to + bytes) >>> 2; x++) this.#shared.overwrite(site, w, lane, x);
      this.#shared.shadow.bytes.fill(shadow.inFlight, to, to + bytes);
    }
    this.#pending[w].push({ site, lane, group: this.#groups[w * 32 + lane], to, from: from >>> 0, bytes, valid });
  }

  commit(w: number, lanes: number): void {
    for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.#groups[w * 32 + l]++;
  }

  /** Completes the copies of all but each lane's latest `allow` groups; −1 completes everything, uncommitted copies too. */
  wait(w: number, lanes: number, allow: number): void {
    const copies = this.#pending[w];
    let kept = 0;
    for (const copy of copies) {
      const done = (lanes >>> copy.lane) & 1 && (allow < 0 || copy.group < this.#groups[w * 32 + copy.lane] - allow);
      if (done) this.#complete(w, copy);
      else copies[kept++] = copy;
    }
    copies.length = kept;
  }

  #complete(w: number, { lane, to, from, bytes, valid }: Copy): void {
    const target = this.#shared.data.bytes;
    target.set(this.#global.data.bytes.subarray(from, from + valid), to);
    if (valid < bytes) target.fill(0, to + valid, to + bytes);
    if (!this.#checks.memory) return;
    this.#shared.shadow.bytes.fill(shadow.written, to, to + bytes);
    if (this.#checks.races) for (let x = to >>> 2; x < (to + bytes) >>> 2; x++) this.#shared.noteWrite(w, lane, x);
  }
}

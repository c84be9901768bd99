import type { BlockMemory } from './blockMemory.ts';
import type { AccessCounter } from './counters.ts';
import { type DeviceMemory, windows } from './deviceMemory.ts';
import type { Instrumentation } from './instrumentation.ts';
import { LaneAddresses } from './laneAddresses.ts';
import { rowBytes } from './places.ts';
import type { Reporter } from './report.ts';
import type { SharedMemory } from './sharedMemory.ts';

const everyLane = Int32Array.from({ length: 32 }, (_, l) => l);

/** One instruction's copies that are not completed. */
class Copies {
  lanes = 0;
  bytes = 0;
  readonly to: LaneAddresses;
  readonly from: LaneAddresses;
  /** By lane: bytes that come from the source (the rest is filled with zeros), and the group. */
  readonly valid = new Int32Array(32);
  readonly groups = new Int32Array(32);
  /** Masks of the lanes of which all bytes come from there, and of which none. */
  whole = 0;
  none = 0;

  constructor(file: Int32Array) {
    this.to = new LaneAddresses(file);
    this.from = new LaneAddresses(file);
  }

  /** `given` has a number of bytes for each lane, or there is a `constant`; lanes that are `ignored` read none. */
  setValid(given: Int32Array | undefined, constant: number, ignored: number): void {
    const { valid, bytes } = this;
    if (given === undefined && ignored === 0) {
      const all = Math.min(constant >>> 0, bytes);
      valid.fill(all);
      this.whole = all === bytes ? -1 : 0;
      this.none = all === 0 ? -1 : 0;
      return;
    }
    this.whole = this.none = 0;
    for (let l = 0; l < 32; l++) {
      const bit = 1 << l;
      valid[l] = ignored & bit ? 0 : Math.min((given?.[l] ?? constant) >>> 0, bytes);
      if (valid[l] === bytes) this.whole |= bit;
      else if (valid[l] === 0) this.none |= bit;
    }
  }
}

/**
 * cp.async as the memory model has it: a copy may happen any time until its thread waits for its group, so nothing may touch
 * its target before. Here it happens at the wait, and its target is marked as in flight until then.
 */
export class AsyncCopies {
  /** By warp, in order. */
  readonly #pending: Copies[][] = Array.from({ length: 32 }, () => []);
  readonly #unused: Copies[] = [];
  /** Groups that each lane has committed. */
  readonly #groups = Array.from({ length: 32 }, () => new Int32Array(32));
  readonly #memory: BlockMemory;
  readonly #global: DeviceMemory;
  readonly #shared: SharedMemory;
  readonly #reporter: Reporter;
  readonly #checks: Instrumentation;
  readonly #counter: AccessCounter;

  constructor(
    memory: BlockMemory,
    global: DeviceMemory,
    shared: SharedMemory,
    reporter: Reporter,
    checks: Instrumentation,
    counter: AccessCounter,
  ) {
    this.#memory = memory;
    this.#global = global;
    this.#shared = shared;
    this.#reporter = reporter;
    this.#checks = checks;
    this.#counter = counter;
  }

  /** Begins a block: copies that nobody waited for are dropped with the block that made them. */
  begin(warps: number): void {
    for (let w = 0; w < warps; w++) {
      this.#groups[w].fill(0);
      const pending = this.#pending[w];
      if (pending.length > 0) this.#unused.push(...pending.splice(0));
    }
  }

  /**
   * Copies of `bytes` to shared memory, of which the row `validRow` of the file says how many come from global memory (−1:
   * `valid` in all lanes, and none where `ignored`). Addresses are given as to LaneAddresses.read.
   */
  issue(
    site: number,
    w: number,
    lanes: number,
    toRow: number,
    toWords: number,
    toLow: number,
    toHigh: number,
    fromRow: number,
    fromWords: number,
    fromLow: number,
    fromHigh: number,
    bytes: number,
    validRow: number,
    valid: number,
    ignored: number,
  ): void {
    const copies = this.#unused.pop() ?? new Copies(this.#memory.file.ints);
    copies.lanes = lanes;
    copies.bytes = bytes;
    copies.to.read(toRow, toWords, toLow, toHigh);
    copies.from.read(fromRow, fromWords, fromLow, fromHigh);
    const { ints } = this.#memory.file;
    copies.setValid(validRow < 0 ? undefined : ints.subarray(validRow, validRow + 32), valid, ignored);
    copies.groups.set(this.#groups[w]);
    if (this.#checks.counters) this.#count(copies);
    if (this.#checks.memory) {
      const done = bytes === rowBytes ? this.#takeRows(w, copies) : 0;
      for (let l = 0; l < 32; l++) if (((lanes & ~done) >>> l) & 1) this.#take(site, w, l, copies);
    }
    this.#pending[w].push(copies);
  }

  #count({ lanes, bytes, none, to, from }: Copies): void {
    this.#counter.global(from.lows, 0, lanes & ~none, bytes, 'loads');
    this.#counter.shared(to.lows, 0, lanes, bytes, 'stores');
  }

  // Checks copies of rows, as many as can be at once; returns a mask of the lanes for which that was all.
  #takeRows(w: number, { lanes, whole, none, to, from }: Copies): number {
    const ready = lanes & ~to.far & (none | this.#global.holdsRows(from, whole));
    const count = this.#pack(ready, to.lows);
    const left = this.#shared.takeRows(w, count);
    if (left === 0) return ready;
    let done = ready;
    for (let i = 0; i < count; i++) if ((left >>> i) & 1) done &= ~(1 << this.#memory.lanes[i]);
    return done;
  }

  // Puts the rows of some lanes where the block's memory wants them, one after another; returns how many they are.
  #pack(mask: number, offsets: Int32Array): number {
    const { rows, lanes } = this.#memory;
    if (mask === -1) {
      rows.set(offsets);
      lanes.set(everyLane);
      return 32;
    }
    let count = 0;
    for (let l = 0; l < 32; l++) {
      if (((mask >>> l) & 1) === 0) continue;
      rows[count] = offsets[l];
      lanes[count++] = l;
    }
    return count;
  }

  // A lane's copy with all of its checks; it is not made where it cannot be.
  #take(site: number, w: number, lane: number, copies: Copies): void {
    const { bytes, to, from } = copies;
    const source = this.#source(site, w, lane, copies);
    const target =
      source === undefined ? source : this.#shared.take(site, w, lane, to.lows[lane], to.highs[lane], bytes);
    if (source === undefined || target === undefined) copies.lanes &= ~(1 << lane);
    else [from.lows[lane], to.lows[lane]] = [source, target];
  }

  // Checks what a copy reads: the source is read in full words only as far as it is valid, whatever its length.
  #source(site: number, w: number, lane: number, { bytes, valid, from }: Copies): number | undefined {
    const [lo, hi] = [from.lows[lane], from.highs[lane]];
    if (valid[lane] === bytes) return this.#global.access(this.#reporter, site, w, lane, lo, hi, bytes, false);
    if (valid[lane] === 0) return lo;
    const inside = hi === windows.GLOBAL && this.#global.owns(lo >>> 0, valid[lane]);
    if (inside && lo % bytes === 0) return lo;
    const address = (hi >>> 0) * 2 ** 32 + (lo >>> 0);
    const text = `copy of ${valid[lane]} bytes from ${inside ? `an address that is no multiple of ${bytes}` : 'outside global memory'}`;
    this.#reporter.add(inside ? 'misaligned' : 'out-of-bounds', site, w, lane, address, text);
    return undefined;
  }

  commit(w: number, lanes: number): void {
    const groups = this.#groups[w];
    for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) groups[l]++;
  }

  /** Completes the copies of all but each lane's latest `allow` groups; −1 completes everything, uncommitted copies too. */
  wait(w: number, lanes: number, allow: number): void {
    const pending = this.#pending[w];
    const committed = this.#groups[w];
    let kept = 0;
    for (const copies of pending) {
      const { groups } = copies;
      let ready = 0;
      for (let l = 0; l < 32; l++) if (allow < 0 || groups[l] < committed[l] - allow) ready |= 1 << l;
      ready &= lanes & copies.lanes;
      if (ready !== 0) this.#complete(w, ready, copies);
      copies.lanes &= ~ready;
      if (copies.lanes === 0) this.#unused.push(copies);
      else pending[kept++] = copies;
    }
    pending.length = kept;
  }

  #complete(w: number, lanes: number, { bytes, valid, to, from }: Copies): void {
    const source = this.#global.data;
    const target = this.#shared.data;
    const [words, arrived] = [source.ints, target.ints];
    for (let l = 0; l < 32; l++) {
      if (((lanes >>> l) & 1) === 0) continue;
      const at = to.lows[l];
      if (valid[l] === rowBytes) {
        const x = at >>> 2;
        const y = from.lows[l] >>> 2;
        arrived[x] = words[y];
        arrived[x + 1] = words[y + 1];
        arrived[x + 2] = words[y + 2];
        arrived[x + 3] = words[y + 3];
      } else {
        for (let k = 0; k < bytes; k++) target.bytes[at + k] = k < valid[l] ? source.bytes[from.lows[l] + k] : 0;
      }
    }
    if (!this.#checks.memory) return;
    if (bytes === rowBytes) this.#shared.fillRows(w, this.#pack(lanes, to.lows));
    else for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.#shared.fill(w, l, to.lows[l], bytes);
  }
}

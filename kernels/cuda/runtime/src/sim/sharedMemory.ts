import { shadow, views, WRITTEN } from './deviceMemory.ts';
import type { Reporter, ReportKind } from './report.ts';

const maxWarps = 32;
/** Room for the opt-in limit of every known device, and for red zones between variables. */
const arenaBytes = 512 * 1024;
const scratch = arenaBytes - 4096;
const lastTime = 2 ** 20;

// An access is remembered in one integer: time << 11 | flag << 10 | warp << 5 | lane.
const timeOf = (entry: number) => entry >>> 11;
const warpOf = (entry: number) => (entry >>> 5) & 31;
const laneOf = (entry: number) => entry & 31;
/** Flag of a write: it was atomic. Flag of a read: several lanes of the warp read. */
const flag = 1024;

/** A variable of the block's shared memory. */
export interface SharedRange {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * A block's shared memory with its race detector.
 *
 * Time is a counter of the block that advances at every synchronisation. `clock[w][v]` is the time before which everything
 * that warp v did happened before what warp w does now; a barrier raises the clocks of the warps that meet there. Two
 * accesses of which one writes race when they come from different warps and the earlier one's time is not below the later
 * one's clock; and when they come from different lanes of one warp with no warp barrier between.
 */
export class SharedMemory {
  readonly data = views(new ArrayBuffer(arenaBytes));
  readonly shadow = views(new ArrayBuffer(arenaBytes));
  readonly scratch = scratch;
  /** Per word: the last write, and the last read since. */
  readonly writes = new Int32Array(arenaBytes / 4);
  readonly reads = new Int32Array(arenaBytes / 4);
  /** Warps that read the word at `readTime` before its last reader did, unordered with that. */
  readonly #readers = new Int32Array(arenaBytes / 4);
  readonly #readTime = new Int32Array(arenaBytes / 4);
  readonly #olderReads = new Map<number, Int32Array>();
  // The same per byte, for accesses narrower than a word.
  readonly #byteWrites = new Int32Array(arenaBytes);
  readonly #byteReads = new Int32Array(arenaBytes);
  /** What warp w's accesses are marked with now, lane 0. */
  readonly key = new Int32Array(maxWarps);
  readonly #clock = new Int32Array(maxWarps * maxWarps);
  /** Least of each warp's clocks: what happened before it is ordered before the warp, whoever did it. */
  readonly #horizon = new Int32Array(maxWarps);
  /** The same for generated code, which skips the check where both accesses lie before; 0 once narrow accesses matter, too. */
  readonly settled = new Int32Array(maxWarps);
  readonly #merged = new Int32Array(maxWarps);
  #warps = maxWarps;
  #ranges: readonly SharedRange[] = [];
  /** Time of each warp's last warp barrier. */
  readonly #warpSync = new Int32Array(maxWarps);
  #time = 1;
  #narrow = false;
  #checksRaces: boolean;
  #reporter: Reporter;

  constructor(reporter: Reporter, checksRaces: boolean) {
    this.#reporter = reporter;
    this.#checksRaces = checksRaces;
    this.shadow.bytes.fill(shadow.written, scratch);
  }

  /** Begins a block: its variables are unwritten, everything before is ordered before it. */
  begin(ranges: readonly SharedRange[], warps: number, trackWrites: boolean): void {
    this.#warps = warps;
    this.#ranges = ranges;
    this.#advance();
    if (this.#time > lastTime) {
      for (const state of [this.writes, this.reads, this.#readers, this.#readTime, this.#byteWrites, this.#byteReads])
        state.fill(0);
      this.#time = 1;
    }
    this.#clock.fill(this.#time, 0, warps * maxWarps);
    this.#horizon.fill(this.#time);
    this.settled.fill(this.#time);
    this.#warpSync.fill(this.#time);
    this.#narrow = false;
    this.#olderReads.clear();
    for (let w = 0; w < warps; w++) this.#rekey(w);
    for (const { offset, bytes } of ranges) {
      this.shadow.bytes.fill(trackWrites ? shadow.allocated : shadow.written, offset, offset + bytes);
    }
  }

  /** Ends a block: its variables belong to nobody. */
  end(ranges: readonly SharedRange[]): void {
    for (const { offset, bytes } of ranges) this.shadow.bytes.fill(0, offset, offset + bytes);
  }

  #advance(): void {
    this.#time++;
  }

  #rekey(warp: number): void {
    this.key[warp] = (this.#time << 11) | (warp << 5);
  }

  /** The warps of `mask` meet at a barrier: what each did before happened before what any does after. */
  synchronize(warps: readonly number[], arrivals: readonly { warp: number; time: number }[] = []): void {
    const merged = this.#merged.fill(0);
    const count = this.#warps;
    for (const w of warps) {
      for (let v = 0; v < count; v++) merged[v] = Math.max(merged[v], this.#clock[w * maxWarps + v]);
    }
    for (const { warp, time } of arrivals) merged[warp] = Math.max(merged[warp], time + 1);
    this.#advance();
    for (const w of warps) merged[w] = this.#time;
    let horizon = this.#time;
    for (let v = 0; v < count; v++) horizon = Math.min(horizon, merged[v]);
    for (const w of warps) {
      for (let v = 0; v < count; v++) this.#clock[w * maxWarps + v] = merged[v];
      this.#horizon[w] = horizon;
      this.settled[w] = this.#narrow ? 0 : horizon;
      this.#warpSync[w] = this.#time;
      this.#rekey(w);
    }
  }

  /** A warp arrives at a barrier without waiting: returns the time up to which it is ordered before those who wait. */
  arrive(warp: number): number {
    const time = this.#time;
    this.#advance();
    this.#rekey(warp);
    return time;
  }

  /** bar.warp.sync of a whole warp. */
  syncWarp(warp: number): void {
    this.#advance();
    this.#warpSync[warp] = this.#time;
    this.#rekey(warp);
  }

  // Every finding about shared memory says which variable is meant: addresses are those of the simulator's arena.
  #add(kind: ReportKind, site: number, w: number, lane: number, offset: number, message: string): void {
    let nearest: SharedRange | undefined;
    for (const range of this.#ranges) if (range.offset <= offset) nearest = range;
    const place =
      nearest === undefined ? '' : ` (${nearest.name}+${offset - nearest.offset}, of ${nearest.bytes} bytes)`;
    this.#reporter.add(kind, site, w, lane, offset, message + place);
  }

  #report(site: number, w: number, lane: number, address: number, what: string, entry: number): void {
    const other = warpOf(entry) === w ? `lane ${laneOf(entry)} of the same warp` : `warp ${warpOf(entry)}`;
    this.#add('race', site, w, lane, address, `${what} ${other} with no barrier between`);
  }

  // Whether a remembered access is not ordered before what this lane does now.
  #unordered(entry: number, w: number, lane: number): boolean {
    if (timeOf(entry) < this.#horizon[w]) return false;
    const v = warpOf(entry);
    if (v === w) return laneOf(entry) !== lane && timeOf(entry) >= this.#warpSync[w];
    return timeOf(entry) >= this.#clock[w * maxWarps + v];
  }

  /** Race check of a read of word `x`. Generated code does the first two cases itself. */
  read(site: number, w: number, lane: number, x: number): void {
    const key = this.key[w];
    const last = this.reads[x];
    const write = this.writes[x];
    if ((last & ~(flag | 31)) === key) {
      if (laneOf(last) !== lane) this.reads[x] = key | flag;
      return;
    }
    if (timeOf(last) < this.settled[w] && timeOf(write) < this.settled[w]) {
      this.reads[x] = key | lane;
      return;
    }
    if (this.#unordered(write, w, lane)) this.#report(site, w, lane, 4 * x, 'reads what was written by', write);
    if (this.#narrow) for (let k = 4 * x; k < 4 * x + 4; k++) this.#readByte(site, w, lane, k);
    if (timeOf(last) >= this.#horizon[w] && warpOf(last) !== w) this.#keepReader(w, x, warpOf(last), timeOf(last));
    this.reads[x] = key | lane;
  }

  // Another warp's read that is not ordered before this warp's, which is going to be the last, is remembered beside it.
  #keepReader(w: number, x: number, reader: number, time: number): void {
    const before = this.#readTime[x];
    if (before === time) {
      this.#readers[x] |= 1 << reader;
      return;
    }
    // Readers of an earlier time (there were partial barriers between) are remembered one by one.
    if (before >= this.#horizon[w]) {
      for (let v = 0; v < this.#warps; v++) {
        if (v === w || ((this.#readers[x] >>> v) & 1) === 0 || before < this.#clock[w * maxWarps + v]) continue;
        let times = this.#olderReads.get(x);
        if (times === undefined) {
          times = new Int32Array(maxWarps);
          this.#olderReads.set(x, times);
        }
        times[v] = before;
      }
    }
    this.#readTime[x] = time;
    this.#readers[x] = 1 << reader;
  }

  // Race check of a write of a word against earlier writes and reads; `same` says that it stores what is there already.
  #checkWrite(site: number, w: number, lane: number, x: number, same: boolean): void {
    const write = this.writes[x];
    if (this.#unordered(write, w, lane) && !(same && warpOf(write) === w)) {
      this.#report(site, w, lane, 4 * x, 'overwrites what was written by', write);
    }
    this.#checkReaders(site, w, lane, x, same);
  }

  #checkReaders(site: number, w: number, lane: number, x: number, same: boolean): void {
    const read = this.reads[x];
    if (timeOf(read) < this.#horizon[w]) return;
    const several = (read & flag) !== 0 || laneOf(read) !== lane;
    if (!same && several && warpOf(read) === w && timeOf(read) >= this.#warpSync[w]) {
      const text = 'overwrites what another lane of the same warp reads with no barrier between';
      this.#add('race', site, w, lane, 4 * x, text);
    }
    const last = warpOf(read);
    if (last !== w && timeOf(read) >= this.#clock[w * maxWarps + last]) this.#reportReader(site, w, lane, x, last);
    const older = this.#olderReads.size === 0 ? undefined : this.#olderReads.get(x);
    if (older === undefined && this.#readers[x] === 0) return;
    for (let v = 0; v < this.#warps; v++) {
      if (v === w) continue;
      const time = Math.max((this.#readers[x] >>> v) & 1 ? this.#readTime[x] : 0, older?.[v] ?? 0);
      if (time >= this.#clock[w * maxWarps + v]) this.#reportReader(site, w, lane, x, v);
    }
  }

  #reportReader(site: number, w: number, lane: number, x: number, v: number): void {
    this.#add('race', site, w, lane, 4 * x, `overwrites what warp ${v} reads with no barrier between`);
  }

  /** Bounds, state and race check of a word's store; returns the word to store to. */
  write(site: number, w: number, lane: number, x: number, bits: number, strong: boolean): number {
    if (x >= scratch >>> 2) return x;
    const state = this.shadow.ints[x];
    if (state !== WRITTEN) {
      const valid = this.#checkState(site, w, lane, 4 * x, 4, true);
      if (!valid) return scratch >>> 2;
      this.shadow.ints[x] = WRITTEN;
    }
    if (this.#checksRaces) {
      if (strong) this.atomic(site, w, lane, x);
      else {
        this.#checkWrite(site, w, lane, x, state === WRITTEN && this.data.ints[x] === bits);
        if (this.#narrow) for (let k = 4 * x; k < 4 * x + 4; k++) this.#writeByte(site, w, lane, k, false);
        this.#noteWrite(w, lane, x, 0);
      }
    }
    return x;
  }

  #noteWrite(w: number, lane: number, x: number, flags: number): void {
    this.writes[x] = this.key[w] | lane | flags;
    this.reads[x] = 0;
    this.#readers[x] = 0;
    if (this.#olderReads.size > 0) this.#olderReads.delete(x);
  }

  /** Race check of an atomic (or volatile, or relaxed) access of word `x`: those do not race among themselves. */
  atomic(site: number, w: number, lane: number, x: number): void {
    if (!this.#checksRaces) return;
    const write = this.writes[x];
    if ((write & flag) === 0) this.#checkWrite(site, w, lane, x, false);
    else this.#checkReaders(site, w, lane, x, false);
    this.#noteWrite(w, lane, x, flag);
  }

  /** Race check of an asynchronous write when it is issued, and the write itself when it has been waited for. */
  overwrite(site: number, w: number, lane: number, x: number): void {
    this.#checkWrite(site, w, lane, x, false);
    this.#noteWrite(w, lane, x, 0);
  }
  noteWrite(w: number, lane: number, x: number): void {
    this.#noteWrite(w, lane, x, 0);
  }

  // Narrow accesses are tracked per byte, so that neighbours in one word do not seem to race.
  #readByte(site: number, w: number, lane: number, k: number): void {
    const write = this.#byteWrites[k];
    if (this.#unordered(write, w, lane)) this.#report(site, w, lane, k, 'reads what was written by', write);
  }

  #writeByte(site: number, w: number, lane: number, k: number, same: boolean): void {
    const write = this.#byteWrites[k];
    if (this.#unordered(write, w, lane) && !(same && warpOf(write) === w)) {
      this.#report(site, w, lane, k, 'overwrites what was written by', write);
    }
    const read = this.#byteReads[k];
    if (this.#unordered(read, w, lane) && !same) this.#report(site, w, lane, k, 'overwrites what is read by', read);
  }

  #lookAtBytes(): void {
    this.#narrow = true;
    this.settled.fill(0);
  }

  readNarrow(site: number, w: number, lane: number, offset: number, bytes: number, strong: boolean): void {
    if (strong || offset >= scratch) return;
    this.#lookAtBytes();
    const x = offset >>> 2;
    const write = this.writes[x];
    if (this.#unordered(write, w, lane)) this.#report(site, w, lane, offset, 'reads what was written by', write);
    for (let k = offset; k < offset + bytes; k++) {
      this.#readByte(site, w, lane, k);
      this.#byteReads[k] = this.key[w] | lane;
    }
  }

  writeNarrow(
    site: number,
    w: number,
    lane: number,
    offset: number,
    bytes: number,
    bits: number,
    strong: boolean,
  ): void {
    if (strong || offset >= scratch) return;
    this.#lookAtBytes();
    const mask = bytes === 1 ? 255 : 65535;
    const now = bytes === 1 ? this.data.bytes[offset] : this.data.halves[offset >>> 1];
    const same = now === (bits & mask);
    this.#checkWrite(site, w, lane, offset >>> 2, same);
    for (let k = offset; k < offset + bytes; k++) {
      this.#writeByte(site, w, lane, k, same);
      this.#byteWrites[k] = this.key[w] | lane;
      this.#byteReads[k] = 0;
    }
  }

  // Reports bytes that are outside every variable, unwritten (for reads) or awaited; false if they may not be accessed.
  #checkState(site: number, w: number, lane: number, offset: number, bytes: number, store: boolean): boolean {
    const verb = store ? 'store' : 'load';
    let state = shadow.written as number;
    for (let k = offset; k < offset + bytes; k++) {
      const byte = this.shadow.bytes[k] ?? 0;
      if (byte === 0) {
        this.#add(
          'out-of-bounds',
          site,
          w,
          lane,
          offset,
          `${verb} of ${bytes} bytes outside the block's shared variables`,
        );
        return false;
      }
      if (byte !== shadow.written && state !== shadow.inFlight) state = byte;
    }
    if (state === shadow.inFlight) {
      this.#add('missing-wait', site, w, lane, offset, `${verb} of bytes that a cp.async is still copying to`);
    } else if (state === shadow.allocated && !store) {
      this.#add('uninitialised', site, w, lane, offset, `load of ${bytes} shared bytes that nobody has written`);
    }
    return true;
  }

  /** Slow path of an access's bounds, alignment and state; returns the byte offset to use. */
  access(site: number, w: number, lane: number, lo: number, hi: number, bytes: number, store: boolean): number {
    const offset = lo >>> 0;
    if (hi === 0 && bytes >= 4 && offset % bytes === 0 && offset < scratch) {
      let all = WRITTEN;
      for (let x = offset >>> 2; x < (offset + bytes) >>> 2; x++) all &= this.shadow.ints[x];
      if (all === WRITTEN) return offset;
    }
    if (hi !== 0 || offset + bytes > scratch) {
      const address = (hi >>> 0) * 2 ** 32 + offset;
      this.#add(
        'out-of-bounds',
        site,
        w,
        lane,
        address,
        `${store ? 'store' : 'load'} of ${bytes} bytes outside shared memory`,
      );
      return scratch;
    }
    if (offset % bytes !== 0) {
      const text = `${store ? 'store' : 'load'} of ${bytes} bytes at an address that is no multiple of ${bytes}`;
      this.#add('misaligned', site, w, lane, offset, text);
      return scratch;
    }
    if (!this.#checkState(site, w, lane, offset, bytes, store)) return scratch;
    if (store) this.shadow.bytes.fill(shadow.written, offset, offset + bytes);
    return offset;
  }
}

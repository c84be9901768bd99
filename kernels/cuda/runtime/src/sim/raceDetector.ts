import type { BlockMemory } from './blockMemory.ts';
import { type Clocks, flag, laneOf, maxWarps, timeOf, timeShift, warpOf } from './clocks.ts';

/** Takes a finding: site, warp, lane, byte offset in shared memory, what happened. */
export type RaceListener = (site: number, w: number, lane: number, offset: number, message: string) => void;

/**
 * Races in shared memory: two accesses of a word of which one writes race when they come from different warps, or different
 * lanes of one warp, and the earlier is not ordered before the later. Per word the last write is remembered, the last read
 * since, and other warps' reads that are not ordered before that; accesses narrower than a word are remembered per byte, so
 * that neighbours in a word do not seem to race.
 */
export class RaceDetector {
  readonly clocks: Clocks;
  /** Per word: the last write, and the last read since. */
  readonly writes: Int32Array;
  readonly reads: Int32Array;
  /** Per word: warps that read it at `readTime` before its last reader did, unordered with that. */
  readonly readers: Int32Array;
  readonly readTime: Int32Array;
  readonly #olderReads = new Map<number, Int32Array>();
  readonly #byteWrites: Int32Array;
  readonly #byteReads: Int32Array;
  #narrow = false;
  readonly #found: RaceListener;

  constructor({ clocks, accesses }: BlockMemory, found: RaceListener) {
    this.clocks = clocks;
    this.writes = accesses.writes;
    this.reads = accesses.reads;
    this.readers = accesses.readers;
    this.readTime = accesses.readTime;
    this.#byteWrites = accesses.byteWrites;
    this.#byteReads = accesses.byteReads;
    this.#found = found;
  }

  begin(warps: number): void {
    if (this.clocks.begin(warps)) {
      for (const entries of [this.writes, this.reads, this.readers, this.readTime, this.#byteWrites, this.#byteReads]) {
        entries.fill(0);
      }
    }
    this.#narrow = false;
    this.#olderReads.clear();
  }

  #report(site: number, w: number, lane: number, offset: number, what: string, entry: number): void {
    const other = warpOf(entry) === w ? `lane ${laneOf(entry)} of the same warp` : `warp ${warpOf(entry)}`;
    this.#found(site, w, lane, offset, `${what} ${other} with no barrier between`);
  }

  /** A read of word `x`. Generated code does the common cases itself. */
  read(site: number, w: number, lane: number, x: number): void {
    const { clocks } = this;
    const key = clocks.key[w];
    const last = this.reads[x];
    const write = this.writes[x];
    if ((last & ~(flag | 31)) === key) {
      if (laneOf(last) !== lane) this.reads[x] = key | flag;
      return;
    }
    if (timeOf(last) < clocks.settled[w] && timeOf(write) < clocks.settled[w]) {
      this.reads[x] = key | lane;
      return;
    }
    if (clocks.unordered(write, w, lane)) this.#report(site, w, lane, 4 * x, 'reads what was written by', write);
    if (this.#narrow) for (let k = 4 * x; k < 4 * x + 4; k++) this.#readByte(site, w, lane, k);
    if (timeOf(last) >= clocks.horizon[w] && warpOf(last) !== w) this.#keepReader(w, x, warpOf(last), timeOf(last));
    this.reads[x] = key | lane;
  }

  // Another warp's read that is not ordered before this warp's, which is going to be the last, is remembered beside it.
  #keepReader(w: number, x: number, reader: number, time: number): void {
    const before = this.readTime[x];
    if (before === time) {
      this.readers[x] |= 1 << reader;
      return;
    }
    if (before >= this.clocks.horizon[w]) this.#keepOlderReaders(w, x, before);
    this.readTime[x] = time;
    this.readers[x] = 1 << reader;
  }

  // Readers of an earlier time (there were partial barriers between) are remembered one by one.
  #keepOlderReaders(w: number, x: number, time: number): void {
    for (let v = 0; v < this.clocks.warps; v++) {
      if (v === w || ((this.readers[x] >>> v) & 1) === 0 || !this.clocks.between(v, time, w)) continue;
      let times = this.#olderReads.get(x);
      if (times === undefined) {
        times = new Int32Array(maxWarps);
        this.#olderReads.set(x, times);
      }
      times[v] = time;
    }
  }

  /** Reports what a write of word `x` races with; `same` says that it stores what is there already. */
  check(site: number, w: number, lane: number, x: number, same: boolean): void {
    const settled = this.clocks.settled[w];
    if (timeOf(this.writes[x]) < settled && timeOf(this.reads[x]) < settled) return;
    this.#checkWrite(site, w, lane, x, same);
    if (this.#narrow) for (let k = 4 * x; k < 4 * x + 4; k++) this.#writeByte(site, w, lane, k, false);
  }

  /** Checks a write and remembers it. */
  write(site: number, w: number, lane: number, x: number, same: boolean): void {
    this.check(site, w, lane, x, same);
    this.noteWrite(w, lane, x);
  }

  /** An atomic (or volatile, or relaxed) access: those do not race among themselves. */
  atomic(site: number, w: number, lane: number, x: number): void {
    if ((this.writes[x] & flag) === 0) this.#checkWrite(site, w, lane, x, false);
    else this.#checkReaders(site, w, lane, x, false);
    this.noteWrite(w, lane, x, flag);
  }

  // Lanes of one warp may store one value to one place; which of them does is all the same.
  #checkWrite(site: number, w: number, lane: number, x: number, same: boolean): void {
    const write = this.writes[x];
    if (this.clocks.unordered(write, w, lane) && !(same && warpOf(write) === w)) {
      this.#report(site, w, lane, 4 * x, 'overwrites what was written by', write);
    }
    this.#checkReaders(site, w, lane, x, same);
  }

  #checkReaders(site: number, w: number, lane: number, x: number, same: boolean): void {
    const { clocks } = this;
    const read = this.reads[x];
    const readAt = timeOf(read);
    if (readAt < clocks.horizon[w]) return;
    const last = warpOf(read);
    if (last === w) {
      const others = (read & flag) !== 0 || laneOf(read) !== lane;
      if (!same && others && clocks.sinceWarpBarrier(readAt, w)) {
        const text = 'overwrites what another lane of the same warp reads with no barrier between';
        this.#found(site, w, lane, 4 * x, text);
      }
    } else if (clocks.between(last, readAt, w)) this.#reportReader(site, w, lane, x, last);
    const older = this.#olderReads.size === 0 ? undefined : this.#olderReads.get(x);
    if (older === undefined && this.readers[x] === 0) return;
    for (let v = 0; v < clocks.warps; v++) {
      if (v === w) continue;
      const time = Math.max((this.readers[x] >>> v) & 1 ? this.readTime[x] : 0, older?.[v] ?? 0);
      if (clocks.between(v, time, w)) this.#reportReader(site, w, lane, x, v);
    }
  }

  #reportReader(site: number, w: number, lane: number, x: number, v: number): void {
    this.#found(site, w, lane, 4 * x, `overwrites what warp ${v} reads with no barrier between`);
  }

  /** Remembers a write without checking it. */
  noteWrite(w: number, lane: number, x: number, flags = 0): void {
    this.writes[x] = this.clocks.key[w] | lane | flags;
    this.reads[x] = 0;
    this.readers[x] = 0;
    if (this.#olderReads.size > 0) this.#olderReads.delete(x);
  }

  /** `settled` of a warp as the entry of an access at that time. */
  settledEntry(w: number): number {
    return this.clocks.settled[w] << timeShift;
  }

  /** What else is known of `count` rows of four words, which were noted as written elsewhere, is past. */
  forgetReaders(rows: Int32Array, count: number): void {
    if (this.#olderReads.size === 0) return;
    for (let i = 0; i < count; i++) for (let k = 0; k < 4; k++) this.#olderReads.delete((rows[i] >>> 2) + k);
  }

  // ---- accesses of one or two bytes ----

  #readByte(site: number, w: number, lane: number, k: number): void {
    const write = this.#byteWrites[k];
    if (this.clocks.unordered(write, w, lane)) this.#report(site, w, lane, k, 'reads what was written by', write);
  }

  #writeByte(site: number, w: number, lane: number, k: number, same: boolean): void {
    const write = this.#byteWrites[k];
    if (this.clocks.unordered(write, w, lane) && !(same && warpOf(write) === w)) {
      this.#report(site, w, lane, k, 'overwrites what was written by', write);
    }
    const read = this.#byteReads[k];
    if (this.clocks.unordered(read, w, lane) && !same)
      this.#report(site, w, lane, k, 'overwrites what is read by', read);
  }

  readNarrow(site: number, w: number, lane: number, offset: number, bytes: number): void {
    this.#narrow = true;
    this.clocks.neverSettle();
    const write = this.writes[offset >>> 2];
    if (this.clocks.unordered(write, w, lane)) this.#report(site, w, lane, offset, 'reads what was written by', write);
    for (let k = offset; k < offset + bytes; k++) {
      this.#readByte(site, w, lane, k);
      this.#byteReads[k] = this.clocks.key[w] | lane;
    }
  }

  writeNarrow(site: number, w: number, lane: number, offset: number, bytes: number, same: boolean): void {
    this.#narrow = true;
    this.clocks.neverSettle();
    this.#checkWrite(site, w, lane, offset >>> 2, same);
    for (let k = offset; k < offset + bytes; k++) {
      this.#writeByte(site, w, lane, k, same);
      this.#byteWrites[k] = this.clocks.key[w] | lane;
      this.#byteReads[k] = 0;
    }
  }
}

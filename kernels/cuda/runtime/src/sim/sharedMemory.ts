import type { BlockMemory } from './blockMemory.ts';
import { shadow, type views, WRITTEN } from './deviceMemory.ts';
import type { LaneAddresses } from './laneAddresses.ts';
import { RaceDetector } from './raceDetector.ts';
import type { Reporter, ReportKind } from './report.ts';
import { scratch } from './rows.ts';

/** A variable of the block's shared memory. */
export interface SharedRange {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

/** A block's shared memory: bytes, what is known of each, and the race detector. */
export class SharedMemory {
  readonly data: ReturnType<typeof views>;
  readonly shadow: ReturnType<typeof views>;
  /** An unused place at the end that illegal accesses are sent to. */
  readonly scratch = scratch;
  readonly races: RaceDetector;
  #ranges: readonly SharedRange[] = [];
  readonly #checksRaces: boolean;
  readonly #reporter: Reporter;
  readonly #memory: BlockMemory;

  constructor(memory: BlockMemory, reporter: Reporter, checksRaces: boolean) {
    this.#memory = memory;
    this.data = memory.shared;
    this.shadow = memory.shadow;
    this.#reporter = reporter;
    this.#checksRaces = checksRaces;
    this.shadow.bytes.fill(shadow.written, scratch);
    this.races = new RaceDetector(memory, (site, w, lane, offset, message) =>
      this.#add('race', site, w, lane, offset, message),
    );
  }

  /** Begins a block: its variables are unwritten. */
  begin(ranges: readonly SharedRange[], warps: number, trackWrites: boolean): void {
    this.#ranges = ranges;
    this.races.begin(warps);
    for (const { offset, bytes } of ranges) {
      this.shadow.bytes.fill(trackWrites ? shadow.allocated : shadow.written, offset, offset + bytes);
    }
  }

  /** Ends a block: its variables belong to nobody. */
  end(): void {
    for (const { offset, bytes } of this.#ranges) this.shadow.bytes.fill(0, offset, offset + bytes);
  }

  // Every finding about shared memory says which variable is meant: addresses are those of the simulator's arena.
  #add(kind: ReportKind, site: number, w: number, lane: number, offset: number, message: string): void {
    let nearest: SharedRange | undefined;
    for (const range of this.#ranges) if (range.offset <= offset) nearest = range;
    const place =
      nearest === undefined ? '' : ` (${nearest.name}+${offset - nearest.offset}, of ${nearest.bytes} bytes)`;
    this.#reporter.add(kind, site, w, lane, offset, message + place);
  }

  /** Bounds, state and race check of a word's store; returns the word to store to. */
  write(site: number, w: number, lane: number, x: number, bits: number, strong: boolean): number {
    if (x >= scratch >>> 2) return x;
    const state = this.shadow.ints[x];
    if (state !== WRITTEN) {
      if (!this.#checkState(site, w, lane, 4 * x, 4, true)) return scratch >>> 2;
      this.shadow.ints[x] = WRITTEN;
    }
    if (!this.#checksRaces) return x;
    if (strong) this.races.atomic(site, w, lane, x);
    else this.races.write(site, w, lane, x, state === WRITTEN && this.data.ints[x] === bits);
    return x;
  }

  /** Race check of a load of less than a word. */
  readNarrow(site: number, w: number, lane: number, offset: number, bytes: number, strong: boolean): void {
    if (!strong && offset < scratch) this.races.readNarrow(site, w, lane, offset, bytes);
  }

  /** Race check of a store of less than a word, whose low `bytes` of `bits` are stored. */
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
    const now = bytes === 1 ? this.data.bytes[offset] : this.data.halves[offset >>> 1];
    const same = now === (bits & (bytes === 1 ? 255 : 65535));
    this.races.writeNarrow(site, w, lane, offset, bytes, same);
  }

  /** Race check of an atomic access of a word. */
  atomic(site: number, w: number, lane: number, x: number): void {
    if (this.#checksRaces) this.races.atomic(site, w, lane, x);
  }

  // ---- rows of 16 bytes, whose offsets lie at `rows` of the block's memory: see rows.ts ----

  /** Checks of a load of 16 bytes by each of a warp's first `lanes` lanes; afterwards `rows` holds the offsets to use. */
  readRows(site: number, w: number, lanes: number, addresses: LaneAddresses): void {
    const { functions, rows } = this.#memory;
    const { clocks } = this.races;
    const left = functions.readRows(lanes, clocks.key[w], this.races.settledEntry(w), Number(this.#checksRaces));
    const far = addresses.far & (-1 >>> (32 - lanes));
    for (let rest = left | far; rest !== 0; rest &= rest - 1) {
      const lane = 31 - Math.clz32(rest & -rest);
      const offset = this.access(site, w, lane, rows[lane], addresses.highs[lane], 16, false);
      rows[lane] = offset;
      if (this.#checksRaces) for (let k = 0; k < 4; k++) this.races.read(site, w, lane, (offset >>> 2) + k);
    }
  }

  /** Checks copies to `count` rows and marks those as in flight; returns a mask of the rows that `take` must look at instead. */
  takeRows(w: number, count: number): number {
    return this.#memory.functions.takeRows(count, this.races.settledEntry(w), Number(this.#checksRaces));
  }

  /** Checks a copy of whole words and marks its target as in flight. Returns the offset to use, undefined if there is none. */
  take(site: number, w: number, lane: number, lo: number, hi: number, bytes: number): number | undefined {
    const offset = this.access(site, w, lane, lo, hi, bytes, true);
    if (offset === scratch) return undefined;
    if (this.#checksRaces) {
      for (let k = 0; k < bytes / 4; k++) this.races.check(site, w, lane, (offset >>> 2) + k, false);
    }
    this.shadow.bytes.fill(shadow.inFlight, offset, offset + bytes);
    return offset;
  }

  /** Copies have arrived at `count` rows, by the lanes at `lanes`. */
  fillRows(w: number, count: number): void {
    const { functions, rows } = this.#memory;
    functions.noteRows(count, this.races.clocks.key[w], Number(this.#checksRaces));
    this.races.forgetReaders(rows, count);
  }

  /** A copy of whole words has arrived. */
  fill(w: number, lane: number, offset: number, bytes: number): void {
    this.shadow.bytes.fill(shadow.written, offset, offset + bytes);
    if (!this.#checksRaces) return;
    for (let k = 0; k < bytes / 4; k++) this.races.noteWrite(w, lane, (offset >>> 2) + k);
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

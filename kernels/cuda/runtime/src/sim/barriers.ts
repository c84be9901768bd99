import type { Clocks } from './clocks.ts';
import type { Reporter } from './report.ts';
import { bitCount, laneList, type Warp } from './warp.ts';

/** A named barrier: warps that have come, those of them that wait, and votes of `.red`. */
interface Barrier {
  threads: number;
  expected: number;
  readonly waiters: number[];
  readonly arrivals: { warp: number; time: number }[];
  yes: number;
  no: number;
}

/** The sixteen named barriers of the running block: bar.sync, bar.arrive and bar.red. */
export class Barriers {
  readonly #file: Int32Array;
  readonly #reporter: Reporter;
  readonly #clocks: Clocks;
  readonly #checkSync: boolean;
  #warps: readonly Warp[] = [];
  readonly #barriers = Array.from(
    { length: 16 },
    (): Barrier => ({ threads: 0, expected: 0, waiters: [], arrivals: [], yes: 0, no: 0 }),
  );

  constructor(file: Int32Array, reporter: Reporter, clocks: Clocks, checkSync: boolean) {
    this.#file = file;
    this.#reporter = reporter;
    this.#clocks = clocks;
    this.#checkSync = checkSync;
  }

  begin(warps: readonly Warp[]): void {
    this.#warps = warps;
    for (const barrier of this.#barriers) if (barrier.threads > 0) this.#reset(barrier);
  }

  /** Remembers what a barrier instruction asked for, until its block returns. */
  remember(
    site: number,
    kind: string,
    aligned: boolean,
    operation: string,
    w: number,
    lanes: number,
    idRow: number,
    idConstant: number,
    countRow: number,
    countConstant: number,
    target: number,
    votes: number,
  ): void {
    if (lanes === 0) return;
    const lane = 31 - Math.clz32(lanes & -lanes);
    const id = idRow < 0 ? idConstant : this.#file[idRow + lane];
    const count = countRow < 0 ? countConstant : this.#file[countRow + lane];
    const expected = count < 0 ? 32 * this.#warps.length : count;
    const warp = this.#warps[w];
    if (warp.held.length === 0) warp.earlier.length = 0;
    else if (this.#checkSync && (warp.id !== (id & 15) || warp.kind !== kind || warp.operation !== operation)) {
      const message = `${laneList(lanes)} of the warp at another barrier than the lanes that wait at barrier ${warp.id}`;
      this.#reporter.add('divergent-barrier', site, w, lane, undefined, message);
    }
    warp.site = site;
    warp.kind = kind;
    warp.aligned = aligned;
    warp.operation = operation;
    warp.lanes = lanes;
    warp.id = id & 15;
    warp.expected = expected;
    warp.target = target;
    warp.votes = votes;
    const { all } = warp;
    if (this.#checkSync && aligned && lanes !== all && lanes === warp.live) {
      this.#reporter.add(
        'divergent-barrier',
        site,
        w,
        lane,
        undefined,
        `${laneList(all & ~lanes)} of the warp exited before it`,
      );
    }
    if (this.#checkSync && expected % 32 !== 0) {
      this.#reporter.add(
        'divergent-barrier',
        site,
        w,
        lane,
        undefined,
        `counts ${expected} threads, which is no multiple of 32`,
      );
    }
  }

  /** The warp has executed a block barrier, all of it or, without `.aligned`, in parts. Returns whether it must wait. */
  arrive(warp: Warp, w: number): boolean {
    // An aligned barrier that only part of the warp reached has been reported; waiting there would never end.
    if (warp.aligned && warp.lanes !== warp.live) return false;
    const barrier = this.#barriers[warp.id];
    barrier.expected = warp.expected;
    barrier.threads += 32;
    if (warp.kind === 'red') {
      for (const { lanes, votes } of [warp, ...warp.earlier]) {
        barrier.yes += bitCount(lanes & votes);
        barrier.no += bitCount(lanes & ~votes);
      }
    }
    if (warp.kind === 'arrive') barrier.arrivals.push({ warp: w, time: this.#clocks.arrive(w) });
    else {
      barrier.waiters.push(w);
      warp.state = 'waiting';
    }
    if (barrier.threads >= barrier.expected) this.#release(barrier);
    return warp.state === 'waiting';
  }

  #reset(barrier: Barrier): void {
    barrier.threads = barrier.yes = barrier.no = 0;
    barrier.waiters.length = barrier.arrivals.length = 0;
  }

  #release(barrier: Barrier): void {
    this.#clocks.synchronize(barrier.waiters, barrier.arrivals);
    for (const w of barrier.waiters) {
      const warp = this.#warps[w];
      const { operation } = warp;
      warp.state = 'ready';
      if (warp.kind !== 'red') continue;
      for (const { lanes, target } of [warp, ...warp.earlier]) {
        if (target < 0) continue;
        if (operation === 'popc') {
          for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.#file[target + l] = barrier.yes;
        } else {
          const holds = operation === 'and' ? barrier.no === 0 : barrier.yes > 0;
          this.#file[target] = (this.#file[target] & ~lanes) | (holds ? lanes : 0);
        }
      }
    }
    this.#reset(barrier);
  }

  /** Every warp waits or is done. Hardware lets a barrier pass when the missing warps have exited; it is a defect all the same. */
  breakDeadlock(): void {
    const id = this.#barriers.findIndex((barrier) => barrier.waiters.length > 0);
    const barrier = this.#barriers[id];
    if (this.#checkSync) {
      const missing = this.#warps.flatMap((warp, w) => (barrier.waiters.includes(w) ? [] : [`${w} (${warp.state})`]));
      const came = `${barrier.threads} of ${barrier.expected} threads came`;
      const message = `barrier ${id}: ${came}; missing warps ${missing.join(', ')}`;
      const [first] = barrier.waiters;
      this.#reporter.add('divergent-barrier', this.#warps[first].site, first, 0, undefined, message);
    }
    this.#release(barrier);
  }
}

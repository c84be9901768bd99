import { LaunchError } from '../errors.ts';
import { outcomes } from './compile.ts';
import type { Reporter } from './report.ts';
import type { SharedMemory } from './sharedMemory.ts';

/** Lanes of a warp that stand at the same block. */
interface Split {
  pc: number;
  mask: number;
  /** Waits in front of a collective instruction for lanes that have not come. */
  parked: boolean;
}

interface Warp {
  readonly all: number;
  live: number;
  readonly splits: Split[];
  state: 'ready' | 'waiting' | 'done';
  /** The barrier instruction that it executed last. */
  site: number;
  lanes: number;
  kind: string;
  operation: string;
  id: number;
  expected: number;
  target: number;
  votes: number;
}

/** A named barrier: warps that have come, those of them that wait, and votes of `.red`. */
interface Barrier {
  threads: number;
  expected: number;
  readonly waiters: number[];
  readonly arrivals: { warp: number; time: number }[];
  yes: number;
  no: number;
}

export type BlockFunction = (mask: number, base: number, w: number) => number;

const bitCount = (mask: number): number => {
  let n = 0;
  for (let m = mask; m !== 0; m &= m - 1) n++;
  return n;
};
const laneList = (mask: number): string => {
  const lanes: number[] = [];
  for (let l = 0; l < 32; l++) if ((mask >>> l) & 1) lanes.push(l);
  return lanes.length === 1 ? `lane ${lanes[0]}` : `lanes ${lanes.join(',')}`;
};

/**
 * Runs the warps of one block, one after another from barrier to barrier. Diverged lanes of a warp take turns, those at the
 * lowest block number first: in the compiler's order of blocks that lets the others be caught up with at the point where
 * paths meet. Lanes in front of a warp-wide instruction wait for the lanes that it names.
 */
export class Scheduler {
  readonly file: Int32Array;
  /** Filled by a block's function before it returns an outcome: targets and masks. */
  readonly control = new Int32Array(4);
  readonly targets = new Int32Array(32);
  #reporter: Reporter;
  #shared: SharedMemory;
  #checkSync: boolean;
  #limit: number;
  #warps: Warp[] = [];
  readonly #barriers = Array.from(
    { length: 16 },
    (): Barrier => ({ threads: 0, expected: 0, waiters: [], arrivals: [], yes: 0, no: 0 }),
  );
  #blockThreads = 0;
  /** The warp has no other lanes to run: a collective instruction must go on without those that are missing. */
  #forced = false;
  #steps = 0;

  constructor(file: Int32Array, reporter: Reporter, shared: SharedMemory, checkSync: boolean, stepLimit: number) {
    this.file = file;
    this.#reporter = reporter;
    this.#shared = shared;
    this.#checkSync = checkSync;
    this.#limit = stepLimit;
  }

  /** Begins counting steps of a launch. */
  begin(): void {
    this.#steps = 0;
  }

  /** Runs a block of `threads` threads; `words` is the size of a warp's register file. */
  run(functions: readonly BlockFunction[], threads: number, words: number): void {
    this.#blockThreads = Math.ceil(threads / 32) * 32;
    for (const barrier of this.#barriers) if (barrier.threads > 0) this.#reset(barrier);
    this.#warps = Array.from({ length: this.#blockThreads / 32 }, (_, w): Warp => {
      const lanes = Math.min(32, threads - 32 * w);
      const all = lanes === 32 ? -1 : (1 << lanes) - 1;
      return {
        all,
        live: all,
        splits: [{ pc: 0, mask: all, parked: false }],
        state: 'ready',
        site: 0,
        lanes: 0,
        kind: '',
        operation: '',
        id: 0,
        expected: 0,
        target: 0,
        votes: 0,
      };
    });
    for (;;) {
      let ran = false;
      for (let w = 0; w < this.#warps.length; w++) {
        const warp = this.#warps[w];
        if (warp.state !== 'ready') continue;
        ran = true;
        this.#runWarp(functions, warp, w, w * words);
      }
      if (ran) continue;
      if (this.#warps.every((warp) => warp.state === 'done')) return;
      this.#breakDeadlock();
    }
  }

  #runWarp(functions: readonly BlockFunction[], warp: Warp, w: number, base: number): void {
    const { control } = this;
    let current = this.#choose(warp);
    for (;;) {
      let { pc, mask } = current;
      const others = warp.splits;
      // No other lanes, or all of them ahead: nothing to compare with until this split reaches the lowest of them.
      let lowest = Infinity;
      for (const split of others) lowest = Math.min(lowest, split.pc);
      let outcome: number;
      for (;;) {
        if (++this.#steps > this.#limit) this.#hang();
        outcome = functions[pc](mask, base, w);
        if (outcome < 0 || outcome >= lowest) break;
        pc = outcome;
      }
      if (this.#forced && outcome !== outcomes.PARK) this.#forced = false;
      switch (outcome) {
        case outcomes.PARK:
          this.#join(others, pc, mask, true);
          break;
        case outcomes.DIVERGE:
          this.#join(others, control[0], control[1], false);
          this.#join(others, control[2], mask & ~control[1], false);
          break;
        case outcomes.EXIT: {
          const rest = mask & ~control[1];
          warp.live &= ~control[1];
          if (rest !== 0) this.#join(others, control[2], rest, false);
          break;
        }
        case outcomes.TABLE: {
          const rest = mask & ~control[1];
          for (let l = 0; l < 32; l++) if ((control[1] >>> l) & 1) this.#join(others, this.targets[l], 1 << l, false);
          if (rest !== 0) this.#join(others, control[2], rest, false);
          break;
        }
        case outcomes.BARRIER:
          this.#join(others, control[2], mask, false);
          if (this.#arrive(warp, w)) return;
          break;
        default:
          this.#join(others, outcome, mask, false);
      }
      if (others.length === 0) {
        warp.state = 'done';
        return;
      }
      current = this.#choose(warp);
    }
  }

  /** Adds lanes to the splits; those that meet others at a block go on together. */
  #join(splits: Split[], pc: number, mask: number, parked: boolean): void {
    const same = splits.find((split) => split.pc === pc);
    if (same === undefined) splits.push({ pc, mask, parked });
    else {
      same.mask |= mask;
      same.parked = false;
    }
  }

  /** Takes the split to run next: the lowest that is not parked; if all are, the lowest, which must then go on. */
  #choose(warp: Warp): Split {
    const { splits } = warp;
    if (splits.length === 1 && !splits[0].parked) return splits.pop()!;
    let best = -1;
    for (const [k, split] of splits.entries()) {
      if (!split.parked && (best < 0 || split.pc < splits[best].pc)) best = k;
    }
    if (best < 0) {
      this.#forced = true;
      for (const [k, split] of splits.entries()) if (best < 0 || split.pc < splits[best].pc) best = k;
    }
    const [chosen] = splits.splice(best, 1);
    return chosen;
  }

  // ---- collective instructions ----

  /** Whether the lanes of a member mask must still be waited for. Reports masks that cannot be met. */
  gather(site: number, w: number, lanes: number, mask: number, row: number, constant: number): boolean {
    if (lanes === -1) {
      // A full warp that names all of itself, as nearly all do.
      let all = constant;
      if (row >= 0) {
        all = -1;
        for (let l = 0; l < 32; l++) all &= this.file[row + l];
      }
      if (all === -1) return false;
    }
    const warp = this.#warps[w];
    let members = 0;
    let outside = 0;
    for (let l = 0; l < 32; l++) {
      if (((lanes >>> l) & 1) === 0) continue;
      const named = row < 0 ? constant : this.file[row + l];
      members |= named;
      if (((named >>> l) & 1) === 0) outside |= 1 << l;
    }
    const missing = members & warp.live & ~lanes;
    // Lanes that are active here but whose guard is false will not come.
    if (missing !== 0 && (missing & ~mask) !== 0 && !this.#forced) return true;
    if (!this.#checkSync) return false;
    if (outside !== 0) this.#member(site, w, lanes, `${laneList(outside)} not in the member mask that they pass`);
    const absent = members & ~warp.live;
    if (absent !== 0) {
      const gone = absent & warp.all;
      this.#member(
        site,
        w,
        lanes,
        gone !== 0
          ? `the member mask names ${laneList(gone)}, which exited`
          : `the member mask names ${laneList(absent)}, which this block does not have`,
      );
    }
    if (missing !== 0)
      this.#member(site, w, lanes, `the member mask names ${laneList(missing)}, which do not execute the instruction`);
    return false;
  }

  #member(site: number, w: number, lanes: number, message: string): void {
    this.#reporter.add('member-mask', site, w, 31 - Math.clz32(lanes & -lanes), undefined, message);
  }

  /** A lane reads another's value that does not take part. */
  wrongLane(site: number, w: number, lane: number, source: number): void {
    if (this.#checkSync)
      this.#reporter.add(
        'member-mask',
        site,
        w,
        lane,
        undefined,
        `reads lane ${source}, which does not execute the instruction`,
      );
  }

  /** Whether lanes of the warp must be waited for before an `.aligned` instruction. Reports those that never come. */
  gatherAll(site: number, w: number, lanes: number): boolean {
    const { live } = this.#warps[w];
    if (lanes === live || lanes === 0) return false;
    if (!this.#forced) return true;
    if (this.#checkSync) {
      const message = `executed by ${laneList(lanes)} while ${laneList(live & ~lanes)} of the warp went elsewhere`;
      this.#reporter.add('divergent-barrier', site, w, 31 - Math.clz32(lanes & -lanes), undefined, message);
    }
    return false;
  }

  /** Remembers what a barrier instruction asked for, until its block returns. */
  barrier(
    site: number,
    kind: string,
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
    const id = idRow < 0 ? idConstant : this.file[idRow + lane];
    const count = countRow < 0 ? countConstant : this.file[countRow + lane];
    const expected = count < 0 ? this.#blockThreads : count;
    const warp = this.#warps[w];
    warp.site = site;
    warp.kind = kind;
    warp.operation = operation;
    warp.lanes = lanes;
    warp.id = id & 15;
    warp.expected = expected;
    warp.target = target;
    warp.votes = votes;
    const { all } = warp;
    if (this.#checkSync && lanes !== all && lanes === warp.live) {
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

  /** The warp has executed a block barrier. Returns whether it must wait. */
  #arrive(warp: Warp, w: number): boolean {
    const { lanes, votes } = warp;
    // A barrier that only part of the warp reached has been reported; waiting there would never end.
    if (lanes !== warp.live) return false;
    const barrier = this.#barriers[warp.id];
    barrier.expected = warp.expected;
    barrier.threads += 32;
    if (warp.kind === 'red') {
      barrier.yes += bitCount(lanes & votes);
      barrier.no += bitCount(lanes & ~votes);
    }
    if (warp.kind === 'arrive') barrier.arrivals.push({ warp: w, time: this.#shared.arrive(w) });
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
    this.#shared.synchronize(barrier.waiters, barrier.arrivals);
    for (const w of barrier.waiters) {
      const warp = this.#warps[w];
      const { operation, lanes, target } = warp;
      warp.state = 'ready';
      if (target < 0) continue;
      if (operation === 'popc') {
        for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) this.file[target + l] = barrier.yes;
      } else {
        const holds = operation === 'and' ? barrier.no === 0 : barrier.yes > 0;
        this.file[target] = (this.file[target] & ~lanes) | (holds ? lanes : 0);
      }
    }
    this.#reset(barrier);
  }

  // Every warp waits or is done. Hardware lets a barrier pass when the missing warps have exited; it is a defect all the same.
  #breakDeadlock(): void {
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

  #hang(): never {
    const { kernel } = this.#reporter.position;
    throw new LaunchError('CUDA_ERROR_LAUNCH_TIMEOUT', `${kernel}: no end after ${this.#limit} simulated steps`);
  }
}

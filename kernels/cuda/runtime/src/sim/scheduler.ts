import { LaunchError } from '../errors.ts';
import { Barriers } from './barriers.ts';
import type { Clocks } from './clocks.ts';
import { outcomes } from './compile.ts';
import type { Reporter } from './report.ts';
import { laneList, newWarp, type Split, type Warp } from './warp.ts';

export type BlockFunction = (mask: number, base: number, w: number) => number;

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
  #checkSync: boolean;
  #limit: number;
  #warps: Warp[] = [];
  readonly barriers: Barriers;
  /** The warp has no other lanes to run: a collective instruction must go on without those that are missing. */
  #forced = false;
  #steps = 0;

  constructor(file: Int32Array, reporter: Reporter, clocks: Clocks, checkSync: boolean, stepLimit: number) {
    this.file = file;
    this.#reporter = reporter;
    this.barriers = new Barriers(file, reporter, clocks, checkSync);
    this.#checkSync = checkSync;
    this.#limit = stepLimit;
  }

  /** Begins counting steps of a launch. */
  begin(): void {
    this.#steps = 0;
  }

  /** Runs a block of `threads` threads; `words` is the size of a warp's register file. */
  run(functions: readonly BlockFunction[], threads: number, words: number): void {
    const count = Math.ceil(threads / 32);
    this.#warps = Array.from({ length: count }, (_, w) => newWarp(Math.min(32, threads - 32 * w)));
    this.barriers.begin(this.#warps);
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
      this.barriers.breakDeadlock();
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
          if (!warp.aligned && warp.lanes !== warp.live) {
            this.#hold(warp, control[2], mask);
            break;
          }
          this.#join(others, control[2], mask, false);
          if (this.barriers.arrive(warp, w)) return;
          break;
        default:
          this.#join(others, outcome, mask, false);
      }
      if (others.length === 0) {
        if (warp.held.length === 0) {
          warp.state = 'done';
          return;
        }
        others.push(...warp.held.splice(0));
        // Those that came last are what the warp remembers.
        warp.earlier.pop();
        if (this.barriers.arrive(warp, w)) return;
      }
      current = this.#choose(warp);
    }
  }

  /** Lanes that came to a barrier without `.aligned` wait for the rest of their warp, which may come to another instruction. */
  #hold(warp: Warp, pc: number, mask: number): void {
    const { lanes, votes, target } = warp;
    this.#join(warp.held, pc, lanes, false);
    warp.earlier.push({ lanes, votes, target });
    if ((mask & ~lanes) !== 0) this.#join(warp.splits, pc, mask & ~lanes, false);
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

  /** Whether lanes of the warp must be waited for before an instruction. Reports those that never come to an `.aligned` one. */
  gatherAll(site: number, w: number, lanes: number, aligned: boolean): boolean {
    const { live } = this.#warps[w];
    if (lanes === live || lanes === 0) return false;
    if (!this.#forced) return true;
    if (this.#checkSync && aligned) {
      const message = `executed by ${laneList(lanes)} while ${laneList(live & ~lanes)} of the warp went elsewhere`;
      this.#reporter.add('divergent-barrier', site, w, 31 - Math.clz32(lanes & -lanes), undefined, message);
    }
    return false;
  }

  #hang(): never {
    const { kernel } = this.#reporter.position;
    throw new LaunchError('CUDA_ERROR_LAUNCH_TIMEOUT', `${kernel}: no end after ${this.#limit} simulated steps`);
  }
}

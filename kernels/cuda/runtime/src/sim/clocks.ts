export const maxWarps = 32;
const lastTime = 2 ** 20;

// An access is remembered in one integer: time << 11 | flag << 10 | warp << 5 | lane.
export const timeShift = 11;
export const warpShift = 5;
export const timeOf = (entry: number): number => entry >>> timeShift;
export const warpOf = (entry: number): number => (entry >>> warpShift) & 31;
export const laneOf = (entry: number): number => entry & 31;
/** Flag of a write: it was atomic. Flag of a read: several lanes of the warp read. */
export const flag = 1024;

/**
 * What happened before what in a block. Time is a counter that advances at every synchronisation; `clock[w][v]` is the time
 * before which everything that warp v did happened before what warp w does now. A barrier raises the clocks of the warps
 * that meet there.
 */
export class Clocks {
  /** What each warp's accesses are marked with now, lane 0. */
  readonly key = new Int32Array(maxWarps);
  /** Least of each warp's clocks: what happened before it is ordered before the warp, whoever did it. */
  readonly horizon = new Int32Array(maxWarps);
  /** The same for generated code, which skips the check where all accesses lie before; 0 while it must not. */
  readonly settled = new Int32Array(maxWarps);
  readonly #clock = new Int32Array(maxWarps * maxWarps);
  readonly #merged = new Int32Array(maxWarps);
  /** Time of each warp's last warp barrier. */
  readonly #warpSync = new Int32Array(maxWarps);
  #warps = maxWarps;
  #time = 1;
  #settles = true;

  /** Begins a block: everything before is ordered before it. Returns whether time starts anew and entries must be forgotten. */
  begin(warps: number): boolean {
    this.#warps = warps;
    this.#time++;
    const restarts = this.#time > lastTime;
    if (restarts) this.#time = 1;
    this.#settles = true;
    this.#clock.fill(this.#time, 0, warps * maxWarps);
    this.horizon.fill(this.#time);
    this.settled.fill(this.#time);
    this.#warpSync.fill(this.#time);
    for (let w = 0; w < warps; w++) this.#rekey(w);
    return restarts;
  }

  get warps(): number {
    return this.#warps;
  }

  /** From now on to the block's end generated code must not skip checks. */
  neverSettle(): void {
    this.#settles = false;
    this.settled.fill(0);
  }

  #rekey(warp: number): void {
    this.key[warp] = (this.#time << timeShift) | (warp << warpShift);
  }

  /** `warps` meet at a barrier where `arrivals` have been: what each did before happened before what `warps` do after. */
  synchronize(warps: readonly number[], arrivals: readonly { warp: number; time: number }[]): void {
    const merged = this.#merged.fill(0);
    const count = this.#warps;
    for (const w of warps) {
      for (let v = 0; v < count; v++) merged[v] = Math.max(merged[v], this.#clock[w * maxWarps + v]);
    }
    for (const { warp, time } of arrivals) merged[warp] = Math.max(merged[warp], time + 1);
    this.#time++;
    for (const w of warps) merged[w] = this.#time;
    let horizon = this.#time;
    for (let v = 0; v < count; v++) horizon = Math.min(horizon, merged[v]);
    for (const w of warps) {
      for (let v = 0; v < count; v++) this.#clock[w * maxWarps + v] = merged[v];
      this.horizon[w] = horizon;
      this.settled[w] = this.#settles ? horizon : 0;
      this.#warpSync[w] = this.#time;
      this.#rekey(w);
    }
  }

  /** A warp arrives at a barrier without waiting: returns the time up to which it is ordered before those who wait. */
  arrive(warp: number): number {
    const time = this.#time++;
    this.#rekey(warp);
    return time;
  }

  /** bar.warp.sync of a whole warp. */
  syncWarp(warp: number): void {
    this.#time++;
    this.#warpSync[warp] = this.#time;
    this.#rekey(warp);
  }

  /** Whether something that warp v did at `time` is not ordered before what warp w does now. */
  between(v: number, time: number, w: number): boolean {
    return time >= this.#clock[w * maxWarps + v];
  }

  /** Whether something that the own warp did at `time` lies behind its last warp or block barrier. */
  sinceWarpBarrier(time: number, w: number): boolean {
    return time >= this.#warpSync[w];
  }

  /** Whether a remembered access is not ordered before what this lane does now. */
  unordered(entry: number, w: number, lane: number): boolean {
    const time = timeOf(entry);
    if (time < this.horizon[w]) return false;
    const v = warpOf(entry);
    return v === w ? laneOf(entry) !== lane && this.sinceWarpBarrier(time, w) : this.between(v, time, w);
  }
}

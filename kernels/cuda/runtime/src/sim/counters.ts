/** What a launch did, over all of its blocks. */
export interface LaunchCounts {
  /** Warp instructions, and the same weighted by active threads. */
  warpInstructions: number;
  threadInstructions: number;
  /** Warp instructions by class: `load.global`, `f32`, `mma`, `ldmatrix`, `barrier`, … */
  readonly byClass: Map<string, number>;
  /** Warp-wide accesses of global memory, the 32-byte sectors they touch, and the bytes that lanes asked for. */
  readonly global: Record<Way, AccessCounts>;
  /** Warp-wide accesses of shared memory: wavefronts they take with bank conflicts, and without. */
  readonly shared: Record<Way, WavefrontCounts>;
}

/** An atomic reads and writes, and is neither. */
const ways = ['loads', 'stores', 'atomics'] as const;
export type Way = (typeof ways)[number];

interface AccessCounts {
  requests: number;
  sectors: number;
  bytes: number;
}
interface WavefrontCounts {
  requests: number;
  wavefronts: number;
  ideal: number;
  bytes: number;
}

export function emptyCounts(): LaunchCounts {
  const access = () => ({ requests: 0, sectors: 0, bytes: 0 });
  const wavefront = () => ({ requests: 0, wavefronts: 0, ideal: 0, bytes: 0 });
  return {
    warpInstructions: 0,
    threadInstructions: 0,
    byClass: new Map(),
    global: { loads: access(), stores: access(), atomics: access() },
    shared: { loads: wavefront(), stores: wavefront(), atomics: wavefront() },
  };
}

/** Sectors and wavefronts of warp-wide accesses, from the lanes' addresses. */
export class AccessCounter {
  counts = emptyCounts();

  /** The counts since the last call. */
  take(): LaunchCounts {
    const taken = this.counts;
    this.counts = emptyCounts();
    return taken;
  }

  readonly #seen = new Set<number>();
  readonly #perBank = new Int32Array(32);

  /** A request to global memory: the distinct 32-byte sectors that the lanes of `mask` touch. */
  global(addresses: Int32Array, start: number, mask: number, bytes: number, way: Way): void {
    if (mask === 0) return;
    const counts = this.counts.global[way];
    this.#seen.clear();
    for (let l = 0; l < 32; l++) {
      if (((mask >>> l) & 1) === 0) continue;
      this.#seen.add(addresses[start + l] >>> 5);
      counts.bytes += bytes;
    }
    counts.requests++;
    counts.sectors += this.#seen.size;
  }

  /**
   * An access of shared memory. Accesses of 4 bytes or less go in one pass over the warp, of 8 in two halves, of 16 in four
   * quarters; a pass takes as many wavefronts as the most words that one of the 32 banks has to deliver. Lanes that read the
   * same word share it. `ideal` is what the distinct words would take without conflicts.
   */
  shared(addresses: Int32Array, start: number, mask: number, bytes: number, way: Way): void {
    if (mask === 0) return;
    const counts = this.counts.shared[way];
    const lanes = bytes <= 4 ? 32 : bytes === 8 ? 16 : 8;
    counts.requests++;
    for (let first = 0; first < 32; first += lanes) {
      this.#seen.clear();
      this.#perBank.fill(0);
      let most = 0;
      for (let l = first; l < first + lanes; l++) {
        if (((mask >>> l) & 1) === 0) continue;
        counts.bytes += bytes;
        for (let k = 0; k < bytes; k += 4) {
          const word = (addresses[start + l] + k) >>> 2;
          if (this.#seen.has(word)) continue;
          this.#seen.add(word);
          most = Math.max(most, ++this.#perBank[word & 31]);
        }
      }
      counts.wavefronts += most;
      counts.ideal += Math.ceil(this.#seen.size / 32);
    }
  }
}

/** Adds a launch's counts to a sum. */
export function addCounts(sum: LaunchCounts, counts: LaunchCounts): void {
  sum.warpInstructions += counts.warpInstructions;
  sum.threadInstructions += counts.threadInstructions;
  for (const [name, n] of counts.byClass) sum.byClass.set(name, (sum.byClass.get(name) ?? 0) + n);
  for (const space of ['global', 'shared'] as const) {
    for (const way of ways) {
      const to = sum[space][way] as unknown as Record<string, number>;
      for (const [key, n] of Object.entries(counts[space][way])) to[key] += n;
    }
  }
}

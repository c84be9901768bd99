/**
 * Addresses of a warp's lanes, as low and high words. An instruction names them by four numbers: where their row in the file
 * begins, how many words a lane has there (0: they are all the constant alone), and the constant that is added.
 */
export class LaneAddresses {
  readonly lows: Int32Array;
  readonly highs = new Int32Array(32);
  readonly #file: Int32Array;
  /** What all of `highs` are, where they are one. */
  #high: number | undefined = 0;

  constructor(file: Int32Array, lows = new Int32Array(32)) {
    this.#file = file;
    this.lows = lows;
  }

  read(row: number, words: number, low: number, high: number): void {
    const { lows, highs } = this;
    const file = this.#file;
    if (words === 2) {
      for (let l = 0; l < 32; l++) {
        const sum = (file[row + 2 * l] + low) | 0;
        lows[l] = sum;
        highs[l] = file[row + 2 * l + 1] + high + (sum >>> 0 < low >>> 0 ? 1 : 0);
      }
      this.#high = undefined;
      return;
    }
    if (words === 0) lows.fill(low);
    else for (let l = 0; l < 32; l++) lows[l] = file[row + l] + low;
    if (this.#high !== high) highs.fill(high);
    this.#high = high;
  }

  /** Mask of the lanes whose address is not one of 32 bits. */
  get far(): number {
    if (this.#high === 0) return 0;
    let mask = 0;
    for (let l = 0; l < 32; l++) if (this.highs[l] !== 0) mask |= 1 << l;
    return mask;
  }
}

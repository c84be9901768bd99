/**
 * Warp-wide instructions over rows of the register file (`file`): a row is the index of lane 0's word; −1 stands for a
 * destination that nobody wants or, beside a constant, for a source that is one. `wrongLane` hears of a lane that reads another
 * which does not take part.
 */
export function warpFunctions(
  file: Int32Array,
  wrongLane: (site: number, w: number, lane: number, source: number) => void,
) {
  const incoming = new Int32Array(32);

  function fillRow(lanes: number, row: number, value: number): void {
    if (row < 0) return;
    for (let l = 0; l < 32; l++) if ((lanes >>> l) & 1) file[row + l] = value;
  }

  /** shfl.sync: the manual's pseudo-code. Lanes beyond the segment's bound keep their own value and get predicate false. */
  function shuffle(
    mode: 'up' | 'down' | 'bfly' | 'idx',
    site: number,
    w: number,
    lanes: number,
    destination: number,
    predicate: number,
    source: number,
    sourceConstant: number,
    b: number,
    bConstant: number,
    c: number,
    cConstant: number,
  ): void {
    for (let l = 0; l < 32; l++) incoming[l] = source < 0 ? sourceConstant : file[source + l];
    // The butterfly of a reduction over the whole warp: every lane takes part and stays within bounds.
    if (mode === 'bfly' && lanes === -1 && b < 0 && c < 0 && cConstant === 31) {
      const by = bConstant & 31;
      if (destination >= 0) for (let l = 0; l < 32; l++) file[destination + l] = incoming[l ^ by];
      if (predicate >= 0) file[predicate] = -1;
      return;
    }
    let inside = 0;
    for (let l = 0; l < 32; l++) {
      if (((lanes >>> l) & 1) === 0) continue;
      const by = (b < 0 ? bConstant : file[b + l]) & 31;
      const control = c < 0 ? cConstant : file[c + l];
      const segment = (control >>> 8) & 31;
      const max = (l & segment) | (control & 31 & ~segment);
      let from: number;
      let valid: boolean;
      if (mode === 'up') {
        from = l - by;
        valid = from >= max;
      } else if (mode === 'down') {
        from = l + by;
        valid = from <= max;
      } else if (mode === 'bfly') {
        from = l ^ by;
        valid = from <= max;
      } else {
        from = (l & segment) | (by & ~segment);
        valid = from <= max;
      }
      if (!valid) from = l;
      else inside |= 1 << l;
      if (((lanes >>> from) & 1) === 0) wrongLane(site, w, l, from);
      if (destination >= 0) file[destination + l] = incoming[from];
    }
    if (predicate >= 0) file[predicate] = (file[predicate] & ~lanes) | inside;
  }

  /** vote.sync; the predicate forms write a mask word, ballot a row. */
  function vote(mode: 'all' | 'any' | 'uni' | 'ballot', lanes: number, destination: number, predicate: number) {
    const yes = predicate & lanes;
    if (mode === 'ballot') return fillRow(lanes, destination, yes);
    const result = mode === 'all' ? yes === lanes : mode === 'any' ? yes !== 0 : yes === lanes || yes === 0;
    if (destination >= 0) file[destination] = (file[destination] & ~lanes) | (result ? lanes : 0);
  }

  function match(
    mode: 'any' | 'all',
    lanes: number,
    destination: number,
    predicate: number,
    source: number,
    wide: boolean,
  ): void {
    const equal = (p: number, q: number) =>
      wide
        ? file[source + 2 * p] === file[source + 2 * q] && file[source + 2 * p + 1] === file[source + 2 * q + 1]
        : file[source + p] === file[source + q];
    const masks = incoming;
    let all = true;
    for (let l = 0; l < 32; l++) {
      masks[l] = 0;
      if (((lanes >>> l) & 1) === 0) continue;
      for (let k = 0; k < 32; k++) if ((lanes >>> k) & 1 && equal(l, k)) masks[l] |= 1 << k;
      if (masks[l] !== lanes) all = false;
    }
    for (let l = 0; l < 32; l++) {
      if ((lanes >>> l) & 1 && destination >= 0) file[destination + l] = mode === 'any' ? masks[l] : all ? lanes : 0;
    }
    if (predicate >= 0) file[predicate] = (file[predicate] & ~lanes) | (all ? lanes : 0);
  }

  function redux(
    operation: 'add' | 'min' | 'max' | 'and' | 'or' | 'xor',
    lanes: number,
    row: number,
    source: number,
    signed: boolean,
  ): void {
    let result: number | undefined;
    for (let l = 0; l < 32; l++) {
      if (((lanes >>> l) & 1) === 0) continue;
      const value = file[source + l];
      if (result === undefined) result = value;
      else if (operation === 'add') result = (result + value) | 0;
      else if (operation === 'and') result &= value;
      else if (operation === 'or') result |= value;
      else if (operation === 'xor') result ^= value;
      else {
        const less = signed ? value < result : value >>> 0 < result >>> 0;
        if (less === (operation === 'min')) result = value;
      }
    }
    fillRow(lanes, row, result ?? 0);
  }

  return { fillRow, shuffle, vote, match, redux };
}

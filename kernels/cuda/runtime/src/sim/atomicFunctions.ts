import type { views } from './deviceMemory.ts';
import { high } from './int64.ts';

type Views = ReturnType<typeof views>;

/** Words of the f64 NaN that arithmetic makes. */
const canonicalNaN = [0, 0x7ff80000];

/**
 * Atomic operations on checked places of memory. `place` resolves an address to the arrays of its space and the byte offset.
 */
export function atomicFunctions(
  place: (
    site: number,
    w: number,
    lane: number,
    lo: number,
    hi: number,
    space: string,
    bytes: number,
  ) => { data: Views; offset: number; global?: boolean },
  rounders: {
    bitsOf(x: number): number;
    flush(x: number): number;
    fromHalf(bits: number): number;
    toHalf(x: number): number;
    fromBfloat(bits: number): number;
    toBfloat(x: number): number;
  },
) {
  function integer(operation: string, old: number, b: number, c: number, type: string): number {
    switch (operation) {
      case 'and':
        return old & b;
      case 'or':
        return old | b;
      case 'xor':
        return old ^ b;
      case 'exch':
        return b;
      case 'cas':
        return old === b ? c : old;
      case 'add':
        return (old + b) | 0;
      case 'inc':
        return old >>> 0 >= b >>> 0 ? 0 : old + 1;
      case 'dec':
        return old === 0 || old >>> 0 > b >>> 0 ? b : old - 1;
      default: {
        const less = type === 's32' ? b < old : b >>> 0 < old >>> 0;
        return less === (operation === 'min') ? b : old;
      }
    }
  }

  /** 32-bit, 16-bit and packed half atomics; returns the old bits. */
  function atomic32(
    operation: string,
    site: number,
    w: number,
    lane: number,
    lo: number,
    hi: number,
    space: string,
    b: number,
    ...rest: (number | string)[]
  ): number {
    const type = rest.at(-1) as string;
    const c = rest.length === 2 ? (rest[0] as number) : 0;
    const narrow = type === 'f16' || type === 'bf16' || type === 'b16';
    const { data, offset } = place(site, w, lane, lo, hi, space, narrow ? 2 : 4);
    const old = narrow ? data.halves[offset >>> 1] : data.ints[offset >>> 2];
    let next: number;
    if (type === 'f16' || type === 'f16x2' || type === 'bf16' || type === 'bf16x2') {
      const [from, to] =
        type[0] === 'b' ? [rounders.fromBfloat, rounders.toBfloat] : [rounders.fromHalf, rounders.toHalf];
      next = to(from(old & 65535) + from(b & 65535));
      if (!narrow) next |= to(from(old >>> 16) + from(b >>> 16)) << 16;
    } else next = integer(operation, old, narrow ? b & 65535 : b, c, type);
    if (narrow) data.halves[offset >>> 1] = next;
    else data.ints[offset >>> 2] = next;
    return old;
  }

  /** Adds an f32 and returns the old bits. In global memory subnormals count as zero, before and after. */
  function atomicFloat(
    _operation: string,
    site: number,
    w: number,
    lane: number,
    lo: number,
    hi: number,
    space: string,
    b: number,
  ): number {
    const { data, offset, global } = place(site, w, lane, lo, hi, space, 4);
    const flush = global === true ? rounders.flush : (x: number) => x;
    const old = data.ints[offset >>> 2];
    const sum = flush(data.floats[offset >>> 2]) + flush(b);
    data.ints[offset >>> 2] = rounders.bitsOf(flush(Math.fround(sum)));
    return old;
  }

  /** Adds an f64; returns the old low half and leaves the high one in `high[0]`. */
  function atomicDouble(
    _operation: string,
    site: number,
    w: number,
    lane: number,
    lo: number,
    hi: number,
    space: string,
    b: number,
  ): number {
    const { data, offset } = place(site, w, lane, lo, hi, space, 8);
    const x = offset >>> 2;
    const [ol, oh] = [data.ints[x], data.ints[x + 1]];
    const sum = data.doubles[offset >>> 3] + b;
    if (Number.isNaN(sum)) data.ints.set(canonicalNaN, x);
    else data.doubles[offset >>> 3] = sum;
    high[0] = oh;
    return ol;
  }

  /** 64-bit integer atomics on halves; returns the old low half and leaves the high one in `high[0]`. */
  function atomic64(
    operation: string,
    site: number,
    w: number,
    lane: number,
    lo: number,
    hi: number,
    space: string,
    bl: number,
    bh: number,
    ...rest: (number | string)[]
  ): number {
    const type = rest.at(-1) as string;
    const { data, offset } = place(site, w, lane, lo, hi, space, 8);
    const x = offset >>> 2;
    const [ol, oh] = [data.ints[x], data.ints[x + 1]];
    const read = (l: number, h: number) => (BigInt(type === 's64' ? h : h >>> 0) << 32n) | BigInt(l >>> 0);
    const [old, b] = [read(ol, oh), read(bl, bh)];
    let next: bigint;
    if (operation === 'and') next = old & b;
    else if (operation === 'or') next = old | b;
    else if (operation === 'xor') next = old ^ b;
    else if (operation === 'exch') next = b;
    else if (operation === 'cas') next = old === b ? read(rest[0] as number, rest[1] as number) : old;
    else if (operation === 'add') next = old + b;
    else next = b < old === (operation === 'min') ? b : old;
    data.ints[x] = Number(BigInt.asIntN(32, next));
    data.ints[x + 1] = Number(BigInt.asIntN(32, next >> 32n));
    high[0] = oh;
    return ol;
  }

  return { atomic32, atomicFloat, atomicDouble, atomic64 };
}

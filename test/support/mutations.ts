/** Seeded numbers for tests (mulberry32): `next(n)` is an integer in [0, n). */
function seededIntegers(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

const extremes = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 53n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

/**
 * `count` damaged copies of a file, always the same for a seed: flipped bits, random bytes, extreme integers, cuts,
 * deletions, repeats. Half of them fall into the first `header` bytes, where a format keeps its structure.
 */
export function* mutations(original: Uint8Array, count: number, seed: number, header = 512): Generator<Uint8Array> {
  const next = seededIntegers(seed);
  for (let i = 0; i < count; i++) {
    let bytes = Buffer.from(original);
    for (let edits = 1 + next(3); edits > 0 && bytes.length > 0; edits--) {
      const at = next(next(2) ? Math.min(header, bytes.length) : bytes.length);
      const length = 1 + next(16);
      switch (next(7)) {
        case 0:
          bytes[at] ^= 1 << next(8);
          break;
        case 1:
          for (let j = at; j < Math.min(at + length, bytes.length); j++) bytes[j] = next(256);
          break;
        case 2: {
          const wide = next(2) === 0;
          if (at + 8 > bytes.length) break;
          if (wide) bytes.writeBigUInt64LE(extremes[next(extremes.length)], at);
          else bytes.writeUInt32LE(Number(extremes[next(extremes.length)] & 0xffff_ffffn), at);
          break;
        }
        case 3:
          bytes = bytes.subarray(0, at);
          break;
        case 4:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
          break;
        case 5:
          bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
          break;
        case 6: // text: one character for another that means something in JSON
          bytes[at] = '{}[]",:\\0919-e'.charCodeAt(next(14));
          break;
      }
    }
    yield bytes;
  }
}

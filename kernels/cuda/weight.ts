// How tensors of quantised blocks lie on the device (weight.cuh says why), and how they get there and back. The host takes blocks
// apart, which costs no memory of the device and little time beside reading them from a file.

/** A part of a block: where it begins, and its bytes. Both are even, as all of llama.cpp's are. */
interface Part {
  readonly offset: number;
  readonly bytes: number;
}

const parts = (...pairs: readonly (readonly [offset: number, bytes: number])[]): readonly Part[] =>
  pairs.map(([offset, bytes]) => ({ offset, bytes }));

/** The parts of llama.cpp's blocks (FORMATS: type ids 2–14) in the order of their planes: quants, high bits, scales. */
const blocks = {
  q8_0: parts([2, 32], [0, 2]),
  q4_0: parts([2, 16], [0, 2]),
  q4_1: parts([4, 16], [0, 4]),
  q5_0: parts([6, 16], [2, 4], [0, 2]),
  q5_1: parts([8, 16], [4, 4], [0, 4]),
  q4_k: parts([16, 128], [0, 16]),
  q5_k: parts([48, 128], [16, 32], [0, 16]),
  q6_k: parts([0, 128], [128, 64], [192, 16], [208, 2]),
} as const;

type BlockType = keyof typeof blocks;

export const blockTypes = Object.keys(blocks) as BlockType[];
export const inBlocks = (type: string): type is BlockType => type in blocks;

/** Bytes of blocks that are taken apart at a time. */
const PIECE = 2 ** 20;

/**
 * The planes of a tensor. They follow one another with nothing between them, so that a tensor has as many bytes as in its file. Bytes
 * and offsets of all methods are those of the file, of whole blocks.
 */
export class Planes {
  readonly #parts: readonly Part[];
  readonly #blockBytes: number;
  /** In the whole tensor. */
  readonly #blocks: number;

  constructor(type: BlockType, bytes: number) {
    this.#parts = blocks[type];
    this.#blockBytes = this.#parts.reduce((sum, part) => sum + part.bytes, 0);
    this.#blocks = bytes / this.#blockBytes;
  }

  /**
   * Where the bytes from `offset` on are: a range of each plane.
   * @throws RangeError where blocks are cut
   */
  ranges(offset: number, bytes: number): { begin: number; bytes: number }[] {
    const [first, count] = [offset / this.#blockBytes, bytes / this.#blockBytes];
    if (!Number.isInteger(first) || !Number.isInteger(count)) {
      throw new RangeError(`bytes ${offset} to ${offset + bytes} are not whole blocks of ${this.#blockBytes} bytes`);
    }
    let plane = 0;
    return this.#parts.map((part) => {
      const begin = plane + first * part.bytes;
      plane += this.#blocks * part.bytes;
      return { begin, bytes: count * part.bytes };
    });
  }

  /** What belongs there, piece by piece; the bytes of one are overwritten by the next. */
  *split(bytes: Uint8Array, offset: number): Generator<{ begin: number; bytes: Uint8Array }> {
    const ranges = this.ranges(offset, bytes.length);
    const step = Math.floor(PIECE / this.#blockBytes);
    const count = bytes.length / this.#blockBytes;
    const buffer = new Uint16Array((Math.min(step, count) * this.#blockBytes) / 2);
    for (let first = 0; first < count; first += step) {
      const end = Math.min(count, first + step);
      const piece = wordsOf(bytes.subarray(first * this.#blockBytes, end * this.#blockBytes));
      for (const [i, part] of this.#parts.entries()) {
        copyParts(buffer, part.bytes, piece.subarray(part.offset / 2), this.#blockBytes, part.bytes);
        const begin = ranges[i].begin + first * part.bytes;
        yield { begin, bytes: new Uint8Array(buffer.buffer, 0, (end - first) * part.bytes) };
      }
    }
  }

  /** The blocks whose `ranges` these are, one behind the other. */
  join(ranges: Uint8Array): Uint8Array {
    const joined = new Uint16Array(ranges.length / 2);
    const count = ranges.length / this.#blockBytes;
    let begin = 0;
    for (const { offset, bytes } of this.#parts) {
      const plane = wordsOf(ranges.subarray(begin, begin + count * bytes));
      copyParts(joined.subarray(offset / 2), this.#blockBytes, plane, bytes, bytes);
      begin += plane.length * 2;
    }
    return new Uint8Array(joined.buffer);
  }
}

/** Blocks in a file begin at multiples of two bytes, no more; where those of the array do not, it is copied. */
function wordsOf(bytes: Uint8Array): Uint16Array {
  const even = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(even.buffer, even.byteOffset, even.length / 2);
}

/** Copies `bytes` out of each `fromStep` to the beginning of each `toStep`, as long as there are any. */
function copyParts(to: Uint16Array, toStep: number, from: Uint16Array, fromStep: number, bytes: number): void {
  const [width, toWidth, fromWidth] = [bytes / 2, toStep / 2, fromStep / 2];
  for (let i = 0, j = 0; i < from.length; i += fromWidth, j += toWidth) {
    for (let k = 0; k < width; k++) to[j + k] = from[i + k];
  }
}

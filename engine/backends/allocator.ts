import { OutOfMemoryError } from '../backend.ts';

/** A range of the address space; free or live. Neighbours in the same region are linked, so that they can be joined. */
interface Block {
  address: number;
  bytes: number;
  live: boolean;
  previous?: Block;
  next?: Block;
}

interface Area {
  address: number;
  bytes: number;
}

const ALIGNMENT = 256;
/** Size classes between two powers of two: neighbouring classes are at most 1/8 = 12.5% apart. */
const STEPS = 8;
/** More than any device has. */
const LARGEST = 2 ** 44;
/** Asking the system for memory has a price: ask for this much at least. */
const GROWTH = 1 << 20;

/**
 * Segregated best-fit allocator over an address space that can only grow (Wilson et al., "Dynamic Storage Allocation", 1995):
 * free blocks lie in one bin a size class, a request takes the smallest block that is large enough, the rest of the block is
 * split off, and a freed block is joined with its free neighbours. Addresses and sizes are multiples of 256: training keeps
 * hundreds of tensors of a few sizes, so that rounding these up to classes would cost more than a longer look.
 */
export class Allocator {
  readonly #grow: (bytes: number) => Area;
  /** Every free block is in the bin of the largest class that is not larger. */
  readonly #bins: Set<Block>[] = Array.from({ length: classAbove(LARGEST) + 1 }, () => new Set());
  readonly #live = new Map<number, Block>();
  #last?: Block;
  #liveBytes = 0;
  #totalBytes = 0;

  /** @param grow obtains so many bytes more and says where; throws RangeError when there are none */
  constructor(grow: (bytes: number) => Area) {
    this.#grow = grow;
  }

  /** Bytes in live blocks, rounded up to multiples of 256. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Bytes obtained from the system, in use or not. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Address of at least `bytes` bytes. @throws OutOfMemoryError with the bytes requested and the bytes in use */
  alloc(bytes: number): number {
    const size = Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
    const block = this.#find(size) ?? this.#extend(size);
    if (!block) {
      throw new OutOfMemoryError(
        `out of memory: ${bytes} bytes requested, ${this.#liveBytes} bytes in use of the ${this.#totalBytes} obtained`,
      );
    }
    this.#unbin(block);
    if (block.bytes > size) this.#split(block, size);
    block.live = true;
    this.#live.set(block.address, block);
    this.#liveBytes += block.bytes;
    return block.address;
  }

  /** Makes the block at `address` available again. @throws if `address` is not live */
  free(address: number): void {
    const block = this.#live.get(address);
    if (!block) throw new Error(`no live block at address ${address}: freed twice?`);
    this.#live.delete(address);
    this.#liveBytes -= block.bytes;
    block.live = false;
    this.#bin(block);
    if (block.next && !block.next.live) this.#join(block, block.next);
    if (block.previous && !block.previous.live) this.#join(block.previous, block);
  }

  /** The smallest free block that is large enough. */
  #find(size: number): Block | undefined {
    let best: Block | undefined;
    for (let c = classBelow(size); c < this.#bins.length && !best; c++) {
      for (const block of this.#bins[c]) if (block.bytes >= size && !(best && best.bytes <= block.bytes)) best = block;
    }
    return best;
  }

  /** Grows the address space until a free block of `size` lies at its end; undefined when it cannot grow so far. */
  #extend(size: number): Block | undefined {
    const missing = this.#last && !this.#last.live ? size - this.#last.bytes : size;
    const area = this.#tryGrow(Math.max(missing, GROWTH)) ?? this.#tryGrow(missing);
    if (!area) return undefined;
    this.#totalBytes += area.bytes;
    const last = this.#last;
    const block: Block = { ...area, live: false };
    this.#last = block;
    this.#bin(block);
    if (last && last.address + last.bytes === area.address) {
      last.next = block;
      block.previous = last;
      if (!last.live) this.#join(last, block);
    }
    // Short only if somebody else has grown the memory in between, so that the old tail cannot be part of the block.
    return this.#last.bytes >= size ? this.#last : this.#extend(size);
  }

  #tryGrow(bytes: number): Area | undefined {
    try {
      return this.#grow(bytes);
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** Cuts a block to `size`; the rest becomes a free block. */
  #split(block: Block, size: number): void {
    const rest: Block = { address: block.address + size, bytes: block.bytes - size, live: false, previous: block };
    rest.next = block.next;
    if (rest.next) rest.next.previous = rest;
    if (this.#last === block) this.#last = rest;
    block.next = rest;
    block.bytes = size;
    this.#bin(rest);
  }

  /** Makes one free block of two neighbours. */
  #join(left: Block, right: Block): void {
    this.#unbin(left);
    this.#unbin(right);
    left.bytes += right.bytes;
    left.next = right.next;
    if (left.next) left.next.previous = left;
    if (this.#last === right) this.#last = left;
    this.#bin(left);
  }

  #bin(block: Block): void {
    this.#bins[classBelow(block.bytes)].add(block);
  }

  #unbin(block: Block): void {
    this.#bins[classBelow(block.bytes)].delete(block);
  }
}

/** Size of class c in bytes: 256 · (1 … 8), then eight steps from each power of two to the next. */
function classBytes(c: number): number {
  if (c < STEPS) return (c + 1) * ALIGNMENT;
  const octave = Math.floor(c / STEPS) - 1;
  return (STEPS + (c % STEPS) + 1) * 2 ** octave * ALIGNMENT;
}

/** The smallest class of at least `bytes`. */
function classAbove(bytes: number): number {
  const units = Math.ceil(bytes / ALIGNMENT);
  if (units <= STEPS) return units - 1;
  // (units - 1) lies in [8, 16) · 2^octave, since class sizes are 9 … 16 times 2^octave.
  const octave = Math.floor(Math.log2((units - 1) / STEPS));
  return (octave + 1) * STEPS + Math.floor((units - 1) / 2 ** octave) - STEPS;
}

/** The largest class of at most `bytes`, a multiple of 256. */
function classBelow(bytes: number): number {
  const c = classAbove(bytes);
  return classBytes(c) === bytes ? c : c - 1;
}

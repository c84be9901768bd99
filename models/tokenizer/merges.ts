import { FormatError } from '../../engine/file.ts';
import type { LongArray } from './longArray.ts';

/** Which two adjacent tokens byte-pair encoding merges: the pair of the lowest rank first. */
export interface Merges {
  /** Undefined where the pair is not merged. */
  rank(left: string, right: string): number | undefined;
  /** All pairs, lowest rank first. */
  pairs(): Iterable<[left: string, right: string]>;
}

/**
 * Every way to cut each token into two tokens, best token first: what the scores of SentencePiece and the ranks of tiktoken
 * mean as merges (Hugging Face's conversions). Cuts of one token go by the ids of their left parts. The rank of a pair follows
 * from its tokens, so that the pairs, some millions of cuts tried for LLaMA-3, are only listed to be written.
 */
export class CutMerges implements Merges {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #order: ArrayLike<number>;

  /** `order`: place of each id, the best 0; negative for tokens that are neither merged nor parts. */
  constructor(ids: ReadonlyMap<string, number>, order: ArrayLike<number>) {
    this.#ids = ids;
    this.#order = order;
  }

  /** The id of a token that takes part. */
  #idOf(token: string): number | undefined {
    const id = this.#ids.get(token);
    return id !== undefined && this.#order[id] >= 0 ? id : undefined;
  }

  rank(left: string, right: string): number | undefined {
    const id = this.#idOf(left);
    if (id === undefined || this.#idOf(right) === undefined) return undefined;
    const merged = this.#idOf(left + right);
    return merged === undefined ? undefined : this.#order[merged] * this.#order.length + id;
  }

  *pairs(): Generator<[left: string, right: string]> {
    const bestFirst: string[] = [];
    for (const [token, id] of this.#ids) if (this.#order[id] >= 0) bestFirst[this.#order[id]] = token;
    for (const token of bestFirst) {
      const cuts: [left: string, right: string, id: number][] = [];
      for (let at = 1; at < token.length; at++) {
        const id = this.#idOf(token.slice(0, at));
        const right = token.slice(at);
        if (id !== undefined && this.#idOf(right) !== undefined) cuts.push([token.slice(0, at), right, id]);
      }
      for (const [left, right] of cuts.sort((a, b) => a[2] - b[2])) yield [left, right];
    }
  }
}

/**
 * Pairs that a file lists, lowest rank first; of a pair that is there twice the last counts, as in Hugging Face's library. They
 * are held as ids and found by hashing them (open addressing): LLaMA-3 has 280,147, ten times as large as strings in a Map.
 */
export class ListedMerges implements Merges {
  readonly #tokens: readonly (string | undefined)[];
  readonly #ids: ReadonlyMap<string, number>;
  /** Ids of left and right part of each rank. */
  readonly #parts: Int32Array;
  /** 1 + rank, or 0 where free. At least half are free. */
  readonly #slots: Int32Array;

  /** @throws FormatError naming an entry that is not a pair of tokens, "a b" or ["a", "b"]; `source` stands before its name */
  constructor(
    tokens: readonly (string | undefined)[],
    ids: ReadonlyMap<string, number>,
    list: LongArray,
    source: string,
  ) {
    this.#tokens = tokens;
    this.#ids = ids;
    this.#parts = new Int32Array(2 * list.length);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * list.length + 1)));
    let rank = 0;
    for (const entry of list) {
      const pair: unknown = typeof entry === 'string' ? entry.split(' ') : entry;
      const isPair = Array.isArray(pair) && pair.length === 2;
      const [left, right] = isPair ? [ids.get(pair[0]), ids.get(pair[1])] : [];
      if (left === undefined || right === undefined) {
        throw new FormatError(`${source}merges[${rank}] is ${JSON.stringify(entry)}, expected two tokens`);
      }
      this.#parts[2 * rank] = left;
      this.#parts[2 * rank + 1] = right;
      this.#slots[this.#slotOf(left, right)] = ++rank;
    }
  }

  /** Where a pair is, or would be. */
  #slotOf(left: number, right: number): number {
    const mask = this.#slots.length - 1;
    // Multipliers of xxHash32; the high bits are the mixed ones.
    const hash = Math.imul(Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77), 0xc2b2ae3d);
    for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      const at = 2 * (this.#slots[slot] - 1);
      if (at < 0 || (this.#parts[at] === left && this.#parts[at + 1] === right)) return slot;
    }
  }

  rank(left: string, right: string): number | undefined {
    const [a, b] = [this.#ids.get(left), this.#ids.get(right)];
    if (a === undefined || b === undefined) return undefined;
    const found = this.#slots[this.#slotOf(a, b)];
    return found > 0 ? found - 1 : undefined;
  }

  *pairs(): Generator<[left: string, right: string]> {
    const token = (at: number): string => this.#tokens[this.#parts[at]] as string;
    for (let at = 0; at < this.#parts.length; at += 2) yield [token(at), token(at + 1)];
  }
}

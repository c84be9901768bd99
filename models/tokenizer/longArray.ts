const [QUOTE, COMMA, COLON, BACKSLASH, OPEN_ARRAY, OPEN_OBJECT, END_ARRAY, END_OBJECT] = Buffer.from('",:\\[{]}');
const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
/** Bytes that are parsed at a time, about. */
const PART = 2 ** 15;

/** The elements of an array, parsed as they are asked for. */
export interface LongArray extends Iterable<unknown> {
  readonly length: number;
}

/**
 * Parses JSON one of whose objects has a member `key` that is a very long array: the text as it would be with that array
 * empty, and the array. LLaMA-3's tokenizer.json lists 280,147 merges, which `JSON.parse` turns into objects of ten times
 * the size of everything else in it.
 *
 * @throws SyntaxError where `JSON.parse` would; for the array's elements when they are asked for
 */
export function parseWithLongArray(bytes: Buffer, key: string): { value: unknown; array?: LongArray } {
  const begin = findArray(bytes, key);
  const found = begin === undefined ? undefined : scan(bytes, begin);
  if (!found) return { value: JSON.parse(bytes.toString()) };
  const { cuts, length } = found;
  const [first, last] = [cuts[0], cuts[cuts.length - 1]];
  const value = JSON.parse(Buffer.concat([bytes.subarray(0, first), bytes.subarray(last)]).toString());
  const elements = function* () {
    let count = 0;
    for (let i = 0; i + 1 < cuts.length; i++) {
      const from = i === 0 ? first : cuts[i] + 1; // behind the comma
      const part: unknown[] = JSON.parse(`[${bytes.toString('utf8', from, cuts[i + 1])}]`);
      count += part.length;
      yield* part;
    }
    if (count !== length) throw new SyntaxError(`"${key}" has a comma without an element`);
  };
  return { value, array: { length, [Symbol.iterator]: elements } };
}

/** Where the `[` of the first member `key` with an array is. */
function findArray(bytes: Buffer, key: string): number | undefined {
  const name = `"${key}"`;
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) {
    if (bytes[at - 1] === BACKSLASH) continue; // a quote inside a string
    let next = at + name.length;
    const skipSpace = () => {
      while (isSpace(bytes[next])) next++;
    };
    skipSpace();
    if (bytes[next++] !== COLON) continue;
    skipSpace();
    if (bytes[next] === OPEN_ARRAY) return next;
  }
  return undefined;
}

/**
 * Cuts an array into parts of whole elements: where it begins (behind the bracket), commas between parts, where it ends
 * (before the bracket). Undefined if it does not end.
 */
function scan(bytes: Buffer, begin: number): { cuts: number[]; length: number } | undefined {
  const cuts = [begin + 1];
  let [commas, depth, empty] = [0, 1, true];
  for (let at = begin + 1; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === END_ARRAY || byte === END_OBJECT) {
      if (--depth === 0) return { cuts: [...cuts, at], length: empty ? 0 : commas + 1 };
    } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      depth++;
    } else if (byte === QUOTE) {
      for (at++; at < bytes.length && bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++;
    } else if (byte === COMMA && depth === 1) {
      commas++;
      if (at - cuts[cuts.length - 1] > PART) cuts.push(at);
    }
    empty &&= isSpace(byte);
  }
  return undefined;
}

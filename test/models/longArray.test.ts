import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseWithLongArray } from '../../models/tokenizer/longArray.ts';

/** The value with the array put back. */
function parsed(text: string): unknown {
  const { value, array } = parseWithLongArray(Buffer.from(text), 'list');
  if (array) {
    const elements = [...array];
    expect(array.length).toBe(elements.length);
    (value as { inner: { list: unknown } }).inner.list = elements;
  }
  return value;
}

const nasty = fc.constantFrom('"list":[', ']', ',', '\\', '\\"', '[', 'ü🙂', '{"list": [1]}');
const element = fc.oneof(fc.jsonValue({ maxDepth: 2 }), nasty, fc.tuple(nasty, nasty));
const before = fc.dictionary(fc.string(), fc.oneof(nasty, fc.integer()), { maxKeys: 3 });

describe('a JSON text with a long array', () => {
  it('is parsed as JSON.parse does', () => {
    fc.assert(
      fc.property(before, fc.array(element), fc.constantFrom(0, 1), (other, list, indent) => {
        const text = JSON.stringify({ before: other, inner: { first: 1, list, last: '"list": [' } }, null, indent);
        expect(parsed(text)).toEqual(JSON.parse(text));
      }),
      { numRuns: 300 },
    );
  });

  it('is parsed in parts of whole elements', () => {
    const list = Array.from({ length: 60_000 }, (_, i) => (i % 7 === 0 ? [`${i},]`, '\\"['] : `Ġ"${i}`));
    const text = JSON.stringify({ inner: { list } });
    expect(text.length).toBeGreaterThan(2 * 2 ** 18);
    expect(parsed(text)).toEqual({ inner: { list } });
  });

  it.each([
    '{"inner": {"list": [1, 2}',
    '{"inner": {"list": [1, 2]',
    '{"inner": {"list": ["a]}}',
    '{"inner": {"list": [1,, 2]}}',
    '{"inner": {"list": [1, 2,]}}',
    '{"inner": {"list": [[1, 2}]}}',
    '{"inner": {"list": [}}',
  ])('%s: is a SyntaxError', (text) => {
    expect(() => JSON.parse(text)).toThrow(SyntaxError);
    expect(() => parsed(text)).toThrow(SyntaxError);
  });

  it('may lack the array', () => {
    for (const text of ['[]', '{"inner": {"list": 3}}', '{"list" : {"a": [1]}}', '"\\"list\\": [1]"']) {
      expect(parseWithLongArray(Buffer.from(text), 'list')).toEqual({ value: JSON.parse(text) });
    }
  });
});

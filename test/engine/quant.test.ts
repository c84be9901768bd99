import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type DType, dtypes } from '../../engine/dtype.ts';
import { fromBf16, fromF16 } from '../../engine/half.ts';
import { dequantize } from '../../engine/quant.ts';

// Three blocks of each type (scales ordinary, negative and subnormal) and what llama.cpp's own Python reader makes of them.
const { source: _, ...types } = JSON.parse(readFileSync(`${import.meta.dirname}/quant-blocks.json`, 'utf8'));
const cases = Object.entries(types as Record<DType, { blocks: string; values: string }>) as [
  DType,
  { blocks: string; values: string },
][];

function decode(bytes: Uint8Array, dtype: DType, elements: number): Float64Array {
  if (dtypes[dtype].block > 1) return dequantize(bytes, dtype, elements);
  const bits = new Uint16Array(bytes.buffer);
  return Float64Array.from(bits, dtype === 'f16' ? fromF16 : fromBf16);
}

it.each(cases)('%s decodes as gguf-py does', (dtype, { blocks, values }) => {
  const bytes = new Uint8Array(Buffer.from(blocks, 'base64'));
  const expected = new Float32Array(new Uint8Array(Buffer.from(values, 'base64')).buffer);
  const { block } = dtypes[dtype];
  expect(expected.length).toBe((bytes.length / dtypes[dtype].bytes) * block);
  const found = decode(bytes, dtype, expected.length);
  for (let at = 0; at < expected.length; at += block) {
    // gguf-py rounds every step to f32, which matters where d·q and the minimum nearly cancel.
    const largest = Math.max(...expected.subarray(at, at + block).map(Math.abs));
    for (let i = at; i < at + block; i++)
      expect(Math.abs(found[i] - expected[i])).toBeLessThanOrEqual(largest * 2 ** -22);
  }
});

import { expect, test } from 'vitest';
import {
  add,
  createReferenceBackend,
  fromBytes,
  linear,
  Profile,
  reshape,
  scope,
  tensor,
  withContext,
} from '../../engine/index.ts';

const backend = createReferenceBackend();

test('a profile sums calls by op, types and shapes, whatever the number of rows', () => {
  using _ = scope();
  const zeros = (...shape: number[]) => tensor(new Float32Array(shape.reduce((n, s) => n * s, 1)), shape, { backend });
  const q8 = fromBytes(new Uint8Array(5 * 34), [5, 32], 'q8_0', backend);
  const profile = new Profile();
  withContext({ observer: profile.observer }, () => {
    for (const rows of [7, 3]) linear(zeros(rows, 32), q8);
    linear(zeros(7, 32), zeros(5, 32));
    // A view takes no time worth naming.
    reshape(add(zeros(2, 2), 1), [4]);
  });
  linear(zeros(9, 32), q8);

  const entries = profile.entries();
  expect(entries.map(({ op, inputs, rows, calls }) => [op, inputs, rows, calls]).sort()).toEqual([
    ['add', '[T, 2] []', [2, 2], 1],
    ['linear', '[T, 32] [5, 32]', [7, 7], 1],
    ['linear', '[T, 32] q8_0[5, 32]', [3, 7], 2],
  ]);
  expect(entries.map(({ ms }) => ms)).toEqual(entries.map(({ ms }) => ms).sort((a, b) => b - a));
  const products = entries.filter(({ contraction }) => contraction);
  expect(products.map(({ multiplyAdds }) => multiplyAdds).sort()).toEqual([7 * 32 * 5, 10 * 32 * 5].sort());
  for (const { bytes } of entries) expect(bytes).toBeGreaterThan(0);
});

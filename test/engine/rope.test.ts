import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Backend,
  checkIndices,
  createReferenceBackend,
  createWasmBackend,
  embedding,
  rope,
  ropeTable,
  scope,
  tensor,
} from '../../engine/index.ts';

const reference = createReferenceBackend();
let wasm: Awaited<ReturnType<typeof createWasmBackend>>;
beforeAll(async () => {
  wasm = await createWasmBackend({ threads: 1 });
});
afterAll(() => wasm.close());
const backends = (): Backend[] => [reference, wasm];

const positions = (values: number[], backend: Backend) =>
  tensor(Int32Array.from(values), [values.length], { dtype: 'i32', backend });

test('turns pairs half a head apart, by position times frequency', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const table = ropeTable({ headDim: 4, theta: 100, positions: 8, backend });
    const x = tensor(Float32Array.of(1, 0, 0, 0, 0, 2, 0, 1), [1, 2, 4], { backend });
    const y = await rope(x, positions([3], backend), table).data();
    // Frequencies 1 and 100^(-2/4) = 0.1.
    const [a, b] = [3, 0.3];
    const expected = [
      [Math.cos(a), 0, Math.sin(a), 0],
      [0, 2 * Math.cos(b) - Math.sin(b), 0, 2 * Math.sin(b) + Math.cos(b)],
    ].flat();
    for (const [i, v] of expected.entries()) expect(y[i]).toBeCloseTo(v, 6);
  }
});

test('the inverse turns back', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const table = ropeTable({ headDim: 12, theta: 1e4, positions: 300, backend });
    const values = Float32Array.from({ length: 36 }, (_, i) => Math.sin(i));
    const at = positions([299, 0, 17], backend);
    const y = await rope(rope(tensor(values, [3, 1, 12], { backend }), at, table), at, table, { inverse: true }).data();
    for (const [i, v] of values.entries()) expect(y[i]).toBeCloseTo(v, 6);
  }
});

test('angles are exact far out, and factors divide frequencies', async () => {
  using _ = scope();
  const at = 131_071;
  const table = ropeTable({ headDim: 4, theta: 500_000, factors: [1, 8], positions: at + 1, backend: wasm });
  const line = (await table.data()).slice(at * 4);
  const slow = (at * 500_000 ** -0.5) / 8;
  const expected = [Math.cos(at), Math.cos(slow), Math.sin(at), Math.sin(slow)];
  expect([...line]).toEqual(expected.map(Math.fround));
  expect(() => ropeTable({ headDim: 4, theta: 1e4, factors: [1], positions: 1, backend: wasm })).toThrow(
    'ropeTable: 1 factors for 2 frequencies',
  );
});

test('indices outside a table: NaN on the device, an error from the check on the host', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const table = ropeTable({ headDim: 2, theta: 1e4, positions: 4, backend });
    const x = tensor(new Float32Array(6).fill(1), [3, 1, 2], { backend });
    const y = [...(await rope(x, positions([4, 3, -1], backend), table).data())];
    expect(y.map((v) => Number.isNaN(v))).toEqual([true, true, false, false, true, true]);
    const rows = [...(await embedding(table, positions([-1, 0, 4], backend)).data())];
    expect(rows.map((v) => Number.isNaN(v))).toEqual([true, true, false, false, true, true]);
  }
  expect(() => checkIndices('ids', [0, 3, 4], 4)).toThrow('ids: index 2 is 4, expected an integer in [0, 4)');
  expect(() => checkIndices('ids', [0.5], 4)).toThrow('index 0 is 0.5');
  checkIndices('ids', [0, 3], 4);
});

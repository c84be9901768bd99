import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutOfMemoryError } from '../../../engine/backend.ts';
import { Allocator } from '../../../engine/backends/allocator.ts';

const PAGE = 65536;

/** Memory that grows page by page up to a limit; `skip` makes somebody else take pages in between. */
function memory(limit: number, start = 3 * PAGE) {
  const state = { end: start, grown: 0 };
  const grow = (bytes: number) => {
    const size = Math.ceil(bytes / PAGE) * PAGE;
    if (state.end + size > limit) throw new RangeError('memory cannot grow');
    const area = { address: state.end, bytes: size };
    state.end += size;
    state.grown += size;
    return area;
  };
  const skip = (pages: number) => {
    state.end += pages * PAGE;
  };
  return { state, grow, skip };
}

type Step = { alloc: number } | { free: number } | { skip: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ alloc: fc.oneof(fc.nat(4096), fc.nat(3_000_000), fc.nat(40_000_000)) }) },
  { weight: 5, arbitrary: fc.record({ free: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ skip: fc.nat(4) }) },
);

describe('Allocator', () => {
  test('live blocks are aligned, inside the memory, disjoint and as large as they must be', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const { grow, skip, state } = memory(2 ** 32);
        const allocator = new Allocator(grow);
        const live: { address: number; bytes: number }[] = [];
        let before = 0;
        for (const s of steps) {
          before = allocator.liveBytes;
          if ('alloc' in s) {
            const address = allocator.alloc(s.alloc);
            const taken = allocator.liveBytes - before;
            expect(taken).toBe(Math.max(256, Math.ceil(s.alloc / 256) * 256));
            expect(address % 256).toBe(0);
            expect(address).toBeGreaterThanOrEqual(3 * PAGE);
            expect(address + taken).toBeLessThanOrEqual(state.end);
            for (const other of live) {
              expect(address + taken <= other.address || other.address + other.bytes <= address).toBe(true);
            }
            live.push({ address, bytes: taken });
          } else if ('free' in s && live.length > 0) {
            const [block] = live.splice(s.free % live.length, 1);
            allocator.free(block.address);
            expect(before - allocator.liveBytes).toBe(block.bytes);
          } else if ('skip' in s) skip(s.skip);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('what was freed is joined: afterwards one block of the whole fits without growing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 2_000_000 }), { minLength: 1, maxLength: 60 }),
        fc.nat(),
        (sizes, seed) => {
          const { grow, state } = memory(2 ** 32);
          const allocator = new Allocator(grow);
          const addresses = sizes.map((bytes) => allocator.alloc(bytes));
          while (addresses.length > 0) allocator.free(addresses.splice(seed % addresses.length, 1)[0]);
          expect(allocator.liveBytes).toBe(0);
          const { grown } = state;
          allocator.alloc(grown);
          expect(state.grown).toBe(grown);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('a workload that repeats does not grow', () => {
    const { grow, state } = memory(2 ** 32);
    const allocator = new Allocator(grow);
    const sizes = [1000, 4_000_000, 300, 77_777, 4_000_000, 1_200_000];
    const round = () => {
      const addresses = sizes.map((bytes) => allocator.alloc(bytes));
      for (const i of [3, 0, 5, 1, 4, 2]) allocator.free(addresses[i]);
    };
    round();
    const { grown } = state;
    for (let i = 0; i < 100; i++) round();
    expect(state.grown).toBe(grown);
  });

  test('a step of training takes its tensors’ bytes, whatever lengths the steps before it had', () => {
    const { grow, state } = memory(2 ** 32);
    const allocator = new Allocator(grow);
    // What a layer of SmolLM2 keeps: x, its normalised copy, q, o, the middle; k, v; gate, up.
    const widths = [576, 576, 576, 192, 192, 576, 576, 1536, 1536];
    const longest = 2150;
    for (const rows of [1303, 2003, 1592, longest, 1205, 1844]) {
      const kept = Array.from({ length: 30 }, () => widths.map((width) => allocator.alloc(4 * rows * width))).flat();
      for (const address of kept.reverse()) allocator.free(address);
    }
    const bytes = 30 * widths.reduce((sum, width) => sum + Math.ceil((4 * longest * width) / 256) * 256, 0);
    expect(state.grown).toBeGreaterThanOrEqual(bytes);
    expect(state.grown).toBeLessThan(1.001 * bytes);
  });

  test('out of memory names the bytes requested and in use, and changes nothing', () => {
    const allocator = new Allocator(memory(8 * PAGE).grow);
    const kept = allocator.alloc(2 * PAGE);
    expect(() => allocator.alloc(4 * PAGE)).toThrow(OutOfMemoryError);
    expect(() => allocator.alloc(4 * PAGE)).toThrow(/262144 bytes requested, 131072 bytes in use/);
    // The rest of the memory is smaller than the usual growth, and is used all the same.
    allocator.alloc(3 * PAGE);
    allocator.free(kept);
    expect(allocator.alloc(2 * PAGE)).toBe(kept);
  });

  test('freeing twice is an error', () => {
    const allocator = new Allocator(memory(2 ** 32).grow);
    const address = allocator.alloc(10);
    allocator.free(address);
    expect(() => allocator.free(address)).toThrow(/freed twice/);
  });
});

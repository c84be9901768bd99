// The WebAssembly that looks at rows of shared memory at once does what RaceDetector and SharedMemory do word by word.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BlockMemory, blockMemory } from '../../../kernels/cuda/runtime/src/sim/blockMemory.ts';
import { LaneAddresses } from '../../../kernels/cuda/runtime/src/sim/laneAddresses.ts';
import { arenaBytes } from '../../../kernels/cuda/runtime/src/sim/places.ts';
import { Reporter } from '../../../kernels/cuda/runtime/src/sim/report.ts';
import { scratch } from '../../../kernels/cuda/runtime/src/sim/rows.ts';
import { SharedMemory } from '../../../kernels/cuda/runtime/src/sim/sharedMemory.ts';

const warps = 4;
const start = 1024;
const rows = 6;
const region = { name: 's', offset: start, bytes: 16 * rows };

// Behind the variable, between rows, at the scratch place, behind the arena, below 0.
const noRows = [rows, 2.5, (scratch - start) / 16, arenaBytes / 16, -1000];

/** Something that a warp does to the rows named (or to no row of the variable), or to a word of the first. */
interface Step {
  readonly kind: 'load' | 'copy' | 'readWord' | 'writeWord' | 'readByte' | 'barrier' | 'partBarrier' | 'warpBarrier';
  readonly w: number;
  readonly rows: readonly number[];
  readonly word: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    ...(['load', 'load', 'load', 'copy', 'copy', 'readWord', 'writeWord', 'barrier', 'barrier'] as const),
    ...(['partBarrier', 'warpBarrier', 'readByte'] as const),
  ),
  w: fc.nat(warps - 1),
  rows: fc.array(
    fc.oneof({ weight: 20, arbitrary: fc.nat(rows - 1) }, { weight: 1, arbitrary: fc.constantFrom(...noRows) }),
    {
      minLength: 1,
      maxLength: 8,
    },
  ),
  word: fc.nat(3),
});

const first = (count: number) => (count === 32 ? -1 : (1 << count) - 1);

/** Runs steps on a block's memory and returns all that is known after each. */
function run(memory: BlockMemory, steps: readonly Step[]) {
  const reporter = new Reporter();
  reporter.position.sites = [{ line: 1, source: undefined, instruction: 'x' }];
  reporter.begin();
  const shared = new SharedMemory(memory, reporter, true);
  const { races } = shared;
  const addresses = new LaneAddresses(memory.file.ints, memory.rows);
  shared.begin([region], warps, true);
  const t0 = memory.clocks.key[0] >>> 11;
  const words = (all: Int32Array) => [...all.subarray(start / 4, start / 4 + 4 * (rows + 1))];
  // The clock goes on from run to run.
  const times = (all: Int32Array, shift: number) => words(all).map((x) => (x >>> shift < t0 ? 0 : x - (t0 << shift)));
  const states = steps.map(({ kind, w, rows: touched, word }) => {
    const x = start / 4 + 4 * (Math.abs(Math.floor(touched[0])) % rows) + word;
    if (kind === 'load') {
      for (let l = 0; l < 32; l++) memory.file.ints[l] = start + 16 * touched[l % touched.length];
      addresses.read(0, 1, 0, 0);
      shared.readRows(0, w, 8 * (1 + word), addresses);
    } else if (kind === 'copy') {
      const targets = [...new Set(touched)];
      targets.forEach((row, i) => {
        memory.rows[i] = start + 16 * row;
        memory.lanes[i] = i;
      });
      const left = shared.takeRows(w, targets.length);
      const taken = targets.flatMap((row, i) => {
        const offset = start + 16 * row;
        if ((left >>> i) & 1 && shared.take(0, w, i, offset, 0, 16) === undefined) return [];
        return [[i, offset]];
      });
      for (const [i, [lane, offset]] of taken.entries()) {
        memory.rows[i] = offset;
        memory.lanes[i] = lane;
      }
      if (memory.functions.noteRows !== undefined) shared.fillRows(w, taken.length);
      else for (const [lane, offset] of taken) shared.fill(w, lane, offset, 16);
    } else if (kind === 'readWord') races.read(0, w, word, x);
    else if (kind === 'writeWord') shared.write(0, w, word, x, 1, false);
    else if (kind === 'readByte') races.readNarrow(0, w, word, 4 * x, 1);
    else if (kind === 'warpBarrier') memory.clocks.syncWarp(w);
    else memory.clocks.synchronize(kind === 'barrier' ? [0, 1, 2, 3] : [w, (w + 1) % warps], []);
    return {
      rows: kind === 'load' ? [...memory.rows] : [],
      shadow: [...memory.shadow.bytes.subarray(start, start + 16 * (rows + 1))],
      writes: times(memory.accesses.writes, 11),
      reads: times(memory.accesses.reads, 11),
      readTime: times(memory.accesses.readTime, 0),
      readers: words(memory.accesses.readers),
    };
  });
  shared.end();
  return { states, reports: reporter.reports.map(({ kind, message }) => `${kind}: ${message}`) };
}

test('rows at once and word by word: one state after each step, and the same reports', () => {
  const atOnce = blockMemory(1);
  const other = blockMemory(atOnce.file.bytes.length + 1);
  // Nothing is done at once: all is left to the words' checks.
  const wordByWord = { ...other, functions: { readRows: first, takeRows: first } };
  let reported = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
      const found = run(atOnce, steps);
      expect(found).toEqual(run(wordByWord, steps));
      reported += found.reports.length;
    }),
    { numRuns: 2000 },
  );
  expect(reported).toBeGreaterThan(100);
});

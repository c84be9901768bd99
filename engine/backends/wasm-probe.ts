import type * as Kernels from '../../kernels/wasm/pkg/relaxed/lorikeet_kernels.js';

/** The exports of the module that the probe drives (kernels/wasm/src/probe.rs). */
export type Probed = Pick<typeof Kernels, 'run_tile' | 'run_multiply_adds'>;

/** Whether the micro-kernels written for V8's revectorizer are to be used, and what the probe found. */
export interface Verdict {
  wide: boolean;
  /** The same of those for 16-bit integers; false if they were not probed. */
  wideInt16: boolean;
  found: string;
}

/** Milliseconds that V8 is given to optimise the kernels (it takes 15 to 20). */
const BUDGET = 150;
/** Milliseconds at the start that belong to the multiply-adds alone. */
const WARM_UP = 15;
/** Floating-point operations of a turn of `run_multiply_adds`, two for each. */
const TURN = 2 * 384;
/** Of one measurement: 10 to 30 µs, less than the system takes a processor away for. */
const OPERATIONS = 1600 * TURN;

const ROWS = 6;
const INT16_ROWS = 5;
const [NARROW, WIDE] = [8, 16];
/** Depths whose results are compared; rates are measured at the last. */
const DEPTHS = [2, 4, 38, 192];
const DEPTH = 192;
/** Elements from a row of C to the next: those behind the tile must stay as they are. */
const STRIDE = WIDE + 4;

/** Where the operands lie in the probe's memory, in elements. */
const A = 0;
const B = A + ROWS * DEPTH;
const C = B + WIDE * DEPTH;
const END = C + ROWS * STRIDE;

/** Memory that `probeRevectorizer` works in. */
export const PROBE_BYTES = 4 * END;

/** Operands, and what C holds before. */
const noise = Float32Array.from({ length: END }, (_, i) => Math.sin(12.9898 * i));

/** What a tile does with its products, as `run_tile` numbers it: writes them, adds them to C, or multiplies in 16 bits. */
const kinds = ['set', 'add', 'int16'] as const;

interface Tile {
  rows: number;
  kind: (typeof kinds)[number];
}

const ofKind = (kind: Tile['kind'], highest: number): Tile[] =>
  Array.from({ length: highest }, (_, i) => ({ rows: highest - i, kind }));
const f32Tiles = [...ofKind('add', ROWS), ...ofKind('set', ROWS)];
const int16Tiles = ofKind('int16', INT16_ROWS);
const nameOf = ({ rows, kind }: Tile): string => `${rows}×${WIDE} ${kind}`;

/**
 * What a wide tile's rate must exceed, in peaks of 128-bit multiply-adds: the peak. One or two rows have too few chains of
 * multiply-adds to hide their latency (4 cycles, two a cycle), paired or not: of them half of what that allows, which is
 * twice what unoptimised code does. An element in 16 bits, two numbers, takes two instructions where one in f32 takes one:
 * unpaired, they reach the peak of f32 as little.
 */
const bar = ({ rows }: Tile): number => (rows < 3 ? 0.3 * rows : 1);

/**
 * Finds out whether V8's revectorizer, which is experimental, does what the wide micro-kernels are written for: drives
 * each until V8 has optimised it, which its rate tells, then compares its results with the 128-bit kernel's, bit for bit.
 * One that fails stands for all of its number type.
 *
 * @param buffer the module's memory, of which `PROBE_BYTES` from `address` on are free
 * @param int16 whether the kernels for 16-bit integers will run too
 */
export function probeRevectorizer(kernels: Probed, buffer: ArrayBufferLike, address: number, int16: boolean): Verdict {
  const memory = new Float32Array(buffer, address, END);
  const { peak, rates, slow } = drive(kernels, memory, int16 ? [...f32Tiles, ...int16Tiles] : f32Tiles);
  const judge = (tiles: Tile[], reached: (rate: number) => string): { wide: boolean; found: string } => {
    const slowest = tiles.find((tile) => slow.includes(tile));
    if (slowest) {
      const rate = reached(rates.get(slowest) as number);
      return { wide: false, found: `micro-kernel ${nameOf(slowest)} reached ${rate} within ${BUDGET} ms` };
    }
    const best = Math.max(...Array.from({ length: 10 }, () => tileRate(kernels, memory, tiles[0])));
    const wrong = firstWrong(kernels, memory, tiles);
    return { wide: !wrong, found: `${reached(best)}, ${wrong ?? 'equal bit for bit'}` };
  };
  const ofF32 = judge(f32Tiles, (rate) => `${rate.toFixed(0)} GFLOP/s beside ${peak.toFixed(0)} in 128-bit code`);
  if (!int16) return { ...ofF32, wideInt16: false };
  // An element in 16 bits is two numbers.
  const ofInt16 = judge(int16Tiles, (rate) => `${(2 * rate).toFixed(0)} G operations/s in 16 bits`);
  return { wide: ofF32.wide, wideInt16: ofInt16.wide, found: `${ofF32.found}; ${ofInt16.found}` };
}

/** 10⁹ operations a second. */
function measure(operations: number, run: () => void): number {
  const begin = performance.now();
  run();
  return operations / 1e6 / (performance.now() - begin);
}

/** Of a wide tile. An element in 16 bits counts as one in f32. */
function tileRate(kernels: Probed, memory: Float32Array, tile: Tile): number {
  const operations = 2 * tile.rows * WIDE * DEPTH;
  const turns = Math.ceil(OPERATIONS / operations);
  return measure(turns * operations, () => run(kernels, memory, tile, WIDE, DEPTH, 0, turns));
}

/**
 * Drives every wide tile until it is faster than 128-bit instructions can be: what those reach, what the tiles do, and which
 * of them never were.
 */
function drive(kernels: Probed, memory: Float32Array, tiles: Tile[]) {
  const started = performance.now();
  const elapsed = (): number => performance.now() - started;
  const multiplyAdds = (): number =>
    measure(OPERATIONS, () => kernels.run_multiply_adds(OPERATIONS / TURN, memory.byteOffset));
  // The first call compiles, those after it run unoptimised code, which is no bar.
  multiplyAdds();
  const unoptimised = multiplyAdds();
  let peak = unoptimised;
  while (peak < 1.3 * unoptimised && elapsed() < WARM_UP) peak = Math.max(peak, multiplyAdds());
  memory.set(noise);
  const rates = new Map(tiles.map((tile) => [tile, 0]));
  const rate = (tile: Tile): number => rates.get(tile) as number;
  let slow = tiles;
  while (slow.length > 0 && elapsed() < BUDGET) {
    peak = Math.max(peak, multiplyAdds());
    for (const tile of slow) rates.set(tile, Math.max(rate(tile), tileRate(kernels, memory, tile)));
    slow = tiles.filter((tile) => rate(tile) <= bar(tile) * peak);
  }
  return { peak, rates, slow };
}

/** The first of the wide tiles that does not give what narrow ones do, if there is one. */
function firstWrong(kernels: Probed, memory: Float32Array, tiles: Tile[]): string | undefined {
  for (const tile of tiles) {
    const depth = DEPTHS.find((depth) => !same(kernels, memory, tile, depth));
    if (depth === undefined) continue;
    return `micro-kernel ${nameOf(tile)} gives other bits than the 128-bit ones (depth ${depth})`;
  }
}

function run(
  kernels: Probed,
  { byteOffset }: Float32Array,
  { rows, kind }: Tile,
  columns: number,
  depth: number,
  column: number,
  turns: number,
): void {
  const at = (element: number): number => byteOffset + 4 * element;
  kernels.run_tile(rows, columns, kinds.indexOf(kind), depth, at(A), at(B), at(C + column), 4 * STRIDE, turns);
}

/** Whether a wide tile gives what narrow ones do, the elements behind it included. */
function same(kernels: Probed, memory: Float32Array, tile: Tile, depth: number): boolean {
  const b = noise.subarray(B, C);
  const [wide, narrow] = [WIDE, NARROW].map((columns) => {
    memory.set(noise);
    for (let column = 0; column < WIDE; column += columns) {
      for (let d = 0; d < depth; d++) {
        const row = d * WIDE + column;
        memory.set(b.subarray(row, row + columns), B + d * columns);
      }
      run(kernels, memory, tile, columns, depth, column, 1);
    }
    return new Uint32Array(memory.buffer, memory.byteOffset + 4 * C, END - C).slice();
  });
  return wide.every((bits, i) => bits === narrow[i]);
}

import { readFileSync } from 'node:fs';
import * as kernels from '../kernels/wasm/pkg/relaxed/lorikeet_kernels.js';
import { median } from './statistics.ts';

/** Of 16-bit integers (kernels/wasm/build.rs); an element of the depth is two. */
const TILE = { rows: 5, columns: 16, depth: 192, kind: 2 };

function runInt16Tile(turns: number, data: number): void {
  const { rows, columns, depth, kind } = TILE;
  const b = data + 4 * rows * depth;
  const c = b + 4 * columns * depth;
  kernels.run_tile(rows, columns, kind, depth, data, b, c, 4 * columns, turns);
}

/** Loops of arithmetic alone (kernels/wasm/src/probe.rs), and the multiply-adds of their turns. */
const loops = {
  /** f32 in 128-bit vectors. */
  f32: { run: kernels.run_multiply_adds, multiplyAdds: 384 },
  /** f32 where V8's revectorizer, if it is on in this process, pairs vectors. */
  wideF32: { run: kernels.run_wide_multiply_adds, multiplyAdds: 768 },
  /** 8-bit integers (i32x4.relaxed_dot_i8x16_i7x16_add), likewise. V8 has one instruction for it only where the CPU has AVX-VNNI. */
  wideInt8: { run: kernels.run_wide_dots, multiplyAdds: 3072 },
  /** 16-bit integers, likewise, as the highest tile multiplies them, with its loads. */
  wideInt16: { run: runInt16Tile, multiplyAdds: 2 * TILE.rows * TILE.columns * TILE.depth },
};

const PAGE_BYTES = 65536;
/** Of one call, which takes 30 µs or more: so short that most are not interrupted on a busy machine. */
const MULTIPLY_ADDS = 4e6;
/** Milliseconds after which V8's optimised code has taken over. */
const WARM_UP = 100;

let address: number | undefined;

/** Where a page of the module's memory begins, full of one half: c·a + b stays finite for ever. */
function operands(): number {
  if (address === undefined) {
    const url = new URL('../kernels/wasm/pkg/relaxed/lorikeet_kernels_bg.wasm', import.meta.url);
    const { memory } = kernels.initSync({ module: readFileSync(url) });
    address = memory.grow(1) * PAGE_BYTES;
    new Float32Array(memory.buffer, address, PAGE_BYTES / 4).fill(0.5);
  }
  return address;
}

/**
 * The most multiply-adds a second that WebAssembly can do on one thread here, in billions: median over `seconds`. Needs relaxed
 * SIMD.
 */
export function peak(loop: keyof typeof loops, seconds: number): number {
  const { run, multiplyAdds } = loops[loop];
  const data = operands();
  const turns = Math.ceil(MULTIPLY_ADDS / multiplyAdds);
  for (const warm = performance.now() + WARM_UP; performance.now() < warm; ) run(turns, data);
  const rates: number[] = [];
  const end = performance.now() + 1000 * seconds;
  do {
    const started = performance.now();
    run(turns, data);
    rates.push((turns * multiplyAdds) / (performance.now() - started) / 1e6);
  } while (performance.now() < end);
  return median(rates);
}

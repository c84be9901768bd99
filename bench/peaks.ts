import { readFile } from 'node:fs/promises';
import * as kernels from '../kernels/wasm/pkg/relaxed/lorikeet_kernels.js';

/** Billion multiply-adds a second on one thread. */
export interface Peaks {
  /** f32 in 128-bit vectors. */
  f32: number;
  /** f32 where V8's revectorizer may pair vectors. */
  wideF32: number;
  /** 8-bit integers (i32x4.relaxed_dot_i8x16_i7x16_add), likewise. */
  wideInt8: number;
}

const OUT_BYTES = 65536;
/** Milliseconds for each peak, of which V8 takes 20 to optimise. */
const BUDGET = 150;

/**
 * What arithmetic alone reaches (kernels/wasm/src/probe.rs). It says whether products in int8 could pay: V8 has one
 * instruction for their dot product only on CPUs with AVX-VNNI, elsewhere three.
 */
export async function peaks(): Promise<Peaks> {
  const url = new URL('../kernels/wasm/pkg/relaxed/lorikeet_kernels_bg.wasm', import.meta.url);
  const { memory } = kernels.initSync({ module: await readFile(url) });
  const out = memory.grow(1) * OUT_BYTES;
  const rate = (run: (turns: number, out: number) => void, multiplyAdds: number): number => {
    const turns = 20_000;
    let fastest = Number.POSITIVE_INFINITY;
    for (const end = performance.now() + BUDGET; performance.now() < end; ) {
      const begin = performance.now();
      run(turns, out);
      fastest = Math.min(fastest, performance.now() - begin);
    }
    return (turns * multiplyAdds) / fastest / 1e6;
  };
  return {
    f32: rate(kernels.run_multiply_adds, 48),
    wideF32: rate(kernels.run_wide_multiply_adds, 64),
    wideInt8: rate(kernels.run_wide_dots, 256),
  };
}

import { expect, test } from 'vitest';
import { Rng } from '../../../engine/random.ts';
import { matrixShapes, mmaFunctions } from '../../../kernels/cuda/runtime/src/sim/mma.ts';
import { places } from '../../../kernels/cuda/runtime/src/sim/places.ts';
import { wasmModule } from '../../../kernels/cuda/runtime/src/sim/wasm.ts';

test('multiply-adds of relaxed SIMD change no bit: products are exact', () => {
  const registers = 14;
  const [plain, relaxed] = [false, true].map((fused) => {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((places.file + 4 * 32 * registers) / 65536) });
    const module = new WebAssembly.Module(wasmModule(mmaFunctions(fused)));
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const file = new Int32Array(memory.buffer, places.file, 32 * registers);
    return { file, products: exports as Record<string, (...rows: number[]) => void> };
  });
  const random = new Rng(1);
  for (const { type, k, a, b } of matrixShapes) {
    for (let turn = 0; turn < 20; turn++) {
      // Any bits: NaN, infinities and denormals are among them.
      for (let i = 0; i < plain.file.length; i++) plain.file[i] = random.uint32();
      relaxed.file.set(plain.file);
      const rows = Array.from({ length: a + b + 8 }, (_, i) => 128 * i);
      for (const { products } of [plain, relaxed]) products[`mma_${type}_${k}`](...rows);
      expect(relaxed.file).toEqual(plain.file);
    }
  }
});

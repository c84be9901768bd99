import type { WasmBackend } from '../../../engine/backends/wasm.ts';

type Numbers = Float32Array | Int32Array;

/** Runs `kernel(out, inputs…)` on a backend and gives the output back; `out` tells type and length, its numbers go in. */
export async function launch<T extends Numbers>(
  backend: WasmBackend,
  kernel: string,
  out: T,
  inputs: Numbers[],
  { ints = [out.length], floats = [] }: { ints?: number[]; floats?: number[] } = {},
): Promise<T> {
  const handles = [out, ...inputs].map((numbers) => {
    const handle = backend.alloc(numbers.byteLength) as { address: number };
    backend.write(handle, bytesOf(numbers));
    return handle;
  });
  const buffers = handles.map((handle) => ({ handle, byteOffset: 0 }));
  backend.launch(kernel, buffers, ints, floats, [out.length, 1, 1]);
  const bytes = await backend.read(handles[0], out.byteLength);
  for (const handle of handles) backend.free(handle);
  return new (out.constructor as new (buffer: ArrayBufferLike) => T)(bytes.buffer);
}

export const bytesOf = (numbers: Numbers): Uint8Array =>
  new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);

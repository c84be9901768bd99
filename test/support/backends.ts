import { afterAll, beforeAll, describe } from 'vitest';
import { type Backend, createReferenceBackend, createWasmBackend } from '../../engine/index.ts';

/** Runs a suite on the float64 reference and on the wasm kernels. The backend exists when tests run, not when they are listed. */
export function describeBackends(
  name: string,
  suite: (backend: () => Backend, kind: 'reference' | 'wasm') => void,
): void {
  describe(`${name} on reference`, () => {
    const backend = createReferenceBackend();
    suite(() => backend, 'reference');
  });
  describe(`${name} on wasm`, () => {
    let backend: Awaited<ReturnType<typeof createWasmBackend>>;
    beforeAll(async () => {
      backend = await createWasmBackend({ threads: 2 });
    });
    afterAll(() => backend.close());
    suite(() => backend, 'wasm');
  });
}

// Compiles the CUDA kernels to PTX: ptx/sm_75/*.ptx and ptx/sm_80/*.ptx, one module for each .cu file.
//
//   npm run build:ptx            all, and the record of what they were built from and are
//   npm run build:ptx gemm loss  these alone, while they are being written
//
// The compiler is NVIDIA's: $NVCC where it is set, else the one of PyPI's wheels, in a virtual environment that is made
// in the cache folder (125 MB, once). Neither a CUDA install nor a GPU is needed. Without a compiler the exit status is 3.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { artefacts, fingerprint } from '../../.ci/sources.mjs';
import { compileModules } from './compile.mjs';
import { compiler, ToolchainMissing } from './toolchain.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
const chosen = process.argv.slice(2).map((name) => `${name}.cu`);

try {
  process.chdir(join(folder, '..', '..'));
  const { nvcc } = compiler();
  const fresh = mkdtempSync(join(folder, 'ptx.new-'));
  try {
    compileModules(nvcc, fresh, chosen.length === 0 ? undefined : chosen);
    // Replaced only when all are there: a build that fails leaves the committed modules alone.
    if (chosen.length === 0) rmSync(join(folder, 'ptx'), { recursive: true, force: true });
    cpSync(fresh, join(folder, 'ptx'), { recursive: true });
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  if (chosen.length === 0) writeFileSync(artefacts.ptx.record, fingerprint(artefacts.ptx));
} catch (error) {
  if (!(error instanceof ToolchainMissing) && error.status === undefined) throw error;
  console.error(`\nbuild:ptx: ${error.message}`);
  process.exit(error instanceof ToolchainMissing ? 3 : 1);
}

// Compiles the CUDA kernels to PTX: ptx/sm_75/*.ptx and ptx/sm_80/*.ptx, one module for each .cu file.
//
//   npm run build:ptx            all, and the record of what they were built from
//   npm run build:ptx gemm loss  these alone, while they are being written
//
// The compiler is NVIDIA's: $NVCC where it is set, else the one of PyPI's wheels, in a virtual environment that is made
// in the cache folder (125 MB, once). Neither a CUDA install nor a GPU is needed. Without a compiler the exit status is 3.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { artefacts, fingerprint } from '../../.ci/sources.mjs';
import { compiler, run, ToolchainMissing } from './toolchain.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
/** Targets, and the lowest PTX version that carries the instructions used: what a driver must know. */
const targets = { 75: '6.5', 80: '7.0' };
const chosen = process.argv.slice(2).map((name) => `${name}.cu`);

try {
  process.chdir(join(folder, '..', '..'));
  const { nvcc } = compiler();
  const fresh = mkdtempSync(join(folder, 'ptx.new-'));
  try {
    for (const sm of Object.keys(targets)) compile(nvcc, sm, join(fresh, `sm_${sm}`));
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

function compile(nvcc, sm, output) {
  mkdirSync(output, { recursive: true });
  for (const source of chosen.length > 0 ? chosen : readdirSync(folder).filter((name) => name.endsWith('.cu'))) {
    const ptx = join(output, source.replace(/\.cu$/, '.ptx'));
    console.log(`${source} → sm_${sm}`);
    run(nvcc, ['-ptx', `-arch=compute_${sm}`, `-DSM=${sm}`, '-std=c++17', join(folder, source), '-o', ptx]);
    const text = readFileSync(ptx, 'utf8')
      .replace(/^\.version .*$/m, `.version ${targets[sm]}`)
      // What differs from one build of the same compiler to the next, or says nothing.
      .replace(/^\/\/.*\n/gm, '')
      .replace(/[ \t]+$/gm, '')
      .replace(/^\n+/, '');
    writeFileSync(ptx, text);
  }
}

// `npm run test:ptxas`: every committed module through NVIDIA's assembler, for every generation of GPUs that runs it,
// and through older assemblers for those that they know; the simulator's test that takes registers from it; and whether the
// committed modules are what the pinned compiler makes of their sources.
// Its last line is `N passed, N failed, N skipped`. In CI (CI=true) a toolchain that cannot be installed is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { devNull, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runVitest } from '../../.ci/vitest.mjs';
import { compileModules } from './compile.mjs';
import { compiler, olderAssemblers, ToolchainMissing } from './toolchain.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'ptx');
const runsOn = { sm_75: [75], sm_80: [80, 86, 89, 90, 100, 120] };
const counts = { passed: 0, failed: 0, skipped: 0 };

try {
  const { nvcc, ptxas } = compiler();
  compareWithSources(nvcc);
  count(runVitest(['test/kernels/cuda/sim.ptxas.test.ts'], { ...process.env, PTXAS: ptxas }));
  assembleAll(ptxas, () => true, true);
  for (const { ptxas, knows } of olderAssemblers()) assembleAll(ptxas, (sm) => knows.includes(sm), false);
} catch (error) {
  if (!(error instanceof ToolchainMissing)) throw error;
  console.error(error.message);
  if (process.env.CI === 'true') counts.failed++;
  else {
    counts.skipped++;
    console.log('\nSKIPPED: assembling the PTX modules (no toolchain, see above)');
  }
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);

/** Another compiler than the pinned one makes other modules, and says nothing about those that ship. */
function compareWithSources(nvcc) {
  if (process.env.NVCC !== undefined) {
    counts.skipped++;
    console.log('\nSKIPPED: comparing the PTX modules with their sources (NVCC names another compiler)');
    return;
  }
  const fresh = mkdtempSync(join(tmpdir(), 'ptx-'));
  try {
    compileModules(nvcc, fresh);
    const differing = Object.keys(runsOn).flatMap((target) => different(join(folder, target), join(fresh, target)));
    for (const file of differing) console.error(`${file} is not what its source compiles to: run npm run build:ptx`);
    counts[differing.length === 0 ? 'passed' : 'failed']++;
  } finally {
    rmSync(fresh, { recursive: true });
  }
}

/** The modules of a folder that are other, or not there, in another. */
function different(committed, fresh) {
  const names = new Set([...readdirSync(committed), ...readdirSync(fresh)]);
  const text = (file) => existsSync(file) && readFileSync(file, 'utf8');
  return [...names]
    .map((name) => [join(committed, name), join(fresh, name)])
    .filter(([a, b]) => text(a) !== text(b))
    .map(([a]) => a);
}

function count(more) {
  for (const key of Object.keys(counts)) counts[key] += more[key];
}

function assembleAll(ptxas, knows, refuseSpills) {
  for (const [target, architectures] of Object.entries(runsOn)) {
    for (const name of readdirSync(join(folder, target))) {
      for (const sm of architectures.filter(knows)) assemble(ptxas, join(folder, target, name), sm, refuseSpills);
    }
  }
}

/** A kernel that spills is one to be written differently; an older assembler's spills are printed. */
function assemble(ptxas, file, sm, refuseSpills) {
  const args = [`-arch=sm_${sm}`, '--warn-on-spills', '--output-file', devNull, file];
  const { status, stdout, stderr } = spawnSync(ptxas, args, { encoding: 'utf8' });
  const good = status === 0 && !(refuseSpills && stderr !== '');
  counts[good ? 'passed' : 'failed']++;
  if (!good || stderr !== '') console.error(`${file} for sm_${sm}:\n${stdout}${stderr}`);
}

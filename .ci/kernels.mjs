// Rebuilds the wasm kernels from source and tests that build; the committed packages are put back afterwards.
// Its last line is `N passed, N failed, N skipped`. In CI (CI=true) a toolchain that cannot be installed is a failure.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runVitest } from './vitest.mjs';

const packages = 'kernels/wasm/pkg';
const toolchainMissing = 3; // build.mjs's exit status for it
const saved = mkdtempSync(join(tmpdir(), 'lorikeet-pkg-'));

// Ctrl-C reaches the commands below; what they leave behind is still tidied up.
process.on('SIGINT', () => {});
cpSync(packages, saved, { recursive: true });
let counts;
try {
  counts = buildAndTest();
} finally {
  rmSync(packages, { recursive: true });
  cpSync(saved, packages, { recursive: true });
  rmSync(saved, { recursive: true });
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);

function buildAndTest() {
  const { status } = spawnSync(process.execPath, ['kernels/wasm/build.mjs'], { stdio: 'inherit' });
  if (status === toolchainMissing && process.env.CI !== 'true') {
    console.log('\nSKIPPED: tests of a fresh build of the wasm kernels (no toolchain, see above)');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  if (status !== 0) return { passed: 0, failed: 1, skipped: 0 };
  const { passed, failed, skipped } = runVitest([
    'test/kernels/wasm',
    'test/engine/parity.test.ts',
    'test/engine/backends',
  ]);
  return { passed: passed + 1, failed, skipped };
}

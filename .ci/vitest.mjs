// Runs vitest and counts what it did.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Streams vitest's output and returns {passed, failed, skipped}; a file that cannot be loaded counts as one failure. */
export function runVitest(args, env = process.env) {
  const folder = mkdtempSync(join(tmpdir(), 'lorikeet-test-'));
  const report = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const { status } = spawnSync('vitest', ['run', ...reporters, ...args], { stdio: 'inherit', env });
    if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 };
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    );
    const unloaded = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
    const failed = numFailedTests + unloaded.length;
    // An error outside of any test fails the run and is in none of these numbers.
    return {
      passed: numPassedTests,
      failed: failed || (status === 0 ? 0 : 1),
      skipped: numPendingTests + numTodoTests,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// Runs vitest and counts what it did.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/**
 * Streams vitest's output and returns {passed, failed, skipped, cuda}; a file that cannot be loaded counts as one failure.
 * `cuda` says how long the files that are CUDA's by their path took.
 */
export function runVitest(args, env = process.env) {
  const folder = mkdtempSync(join(tmpdir(), 'lorikeet-test-'));
  const report = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const { status } = spawnSync('vitest', ['run', ...reporters, ...args], { stdio: 'inherit', env });
    if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0, cuda: 'no report of times' };
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
      cuda: duration(testResults.filter(({ name }) => /cuda/i.test(relative('.', name)))),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Of files one after another, whatever ran beside them. */
function duration(files) {
  const milliseconds = files.reduce((sum, { startTime, endTime }) => sum + endTime - startTime, 0);
  return `${(milliseconds / 1000).toFixed(0)} s in ${files.length} files`;
}

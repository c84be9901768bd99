// A suite of its own: vitest with these arguments; the last line is `N passed, N failed, N skipped`.
import { runVitest } from './vitest.mjs';

const { passed, failed, skipped } = runVitest(process.argv.slice(2));
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed === 0 ? 0 : 1);

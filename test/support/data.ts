// Reference data that is too large or not ours to keep in the repository: models, data sets. It lies in the folder that
// LORIKEET_DATA names, by default ../shared beside the repository. Without it, the tests that need it are skipped and say so.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, it } from 'vitest';
import { referenceData } from '../../bench/referenceData.ts';

const reason = 'skipped: no reference data (LORIKEET_DATA)';

/** `describe` for tests that read `path` of the reference data; they get its full path. */
export function describeWithData(name: string, path: string, tests: (path: string) => void): void {
  const found = find(path);
  if (found) describe(name, () => tests(found));
  else describe(name, () => void it.skip(`${path} ${reason}`));
}

/** `it` for a test that reads `path` of the reference data; it gets its full path. */
export function itWithData(name: string, path: string, test: (path: string) => void | Promise<void>, timeout?: number) {
  const found = find(path);
  if (found) it(name, () => test(found), timeout);
  else it.skip(`${name}: ${path} ${reason}`);
}

function find(path: string): string | undefined {
  const folder = referenceData();
  const full = folder && resolve(folder, path);
  return full && existsSync(full) ? full : undefined;
}

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const beside = fileURLToPath(new URL('../../shared', import.meta.url));

/**
 * The folder of data and models that are too large or not ours to keep in the repository: LORIKEET_DATA, or `shared` beside
 * the repository; undefined where neither is.
 * @throws when LORIKEET_DATA names a folder that does not exist
 */
export function referenceData(): string | undefined {
  const named = process.env.LORIKEET_DATA;
  if (named === undefined) return existsSync(beside) ? beside : undefined;
  if (!existsSync(named)) throw new Error(`LORIKEET_DATA: there is no folder ${resolve(named)}`);
  return resolve(named);
}

/**
 * The full path of a file there.
 * @throws where there is no such folder
 */
export function referencePath(path: string): string {
  const folder = referenceData();
  if (folder === undefined) throw new Error(`${path}: set LORIKEET_DATA to the folder of reference data that has it`);
  return resolve(folder, path);
}

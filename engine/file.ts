import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A file does not hold what its format, or our support of it, requires. The message names the file and the item. */
export class FormatError extends Error {
  override name = 'FormatError';
}

/**
 * Exactly `length` bytes at `offset`.
 * @throws FormatError naming `what` when the file ends before
 */
export async function readExactly(file: FileHandle, offset: number, length: number, what: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    // libuv cannot read 2 GiB or more in one call.
    const { bytesRead } = await file.read(bytes, done, Math.min(length - done, 2 ** 30), offset + done);
    if (bytesRead === 0) throw new FormatError(`${what}: expected ${length} bytes at ${offset}, the file has ${done}`);
    done += bytesRead;
  }
  return bytes;
}

/** @throws FormatError when the file is not JSON in UTF-8 */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readFile(path);
  if (!isUtf8(bytes)) throw new FormatError(`${path}: not UTF-8`);
  try {
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw new FormatError(`${path}: not JSON: ${(error as Error).message}`);
  }
}

/**
 * Writes a file whole or not at all: `write` fills a temporary file beside `path`, which is synced and renamed over it.
 * @throws what `write` throws, or an error naming `path`; the temporary file is removed and `path` is as it was
 */
export async function replaceFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const { code, message } = error as NodeJS.ErrnoException;
    // The system names the temporary file, or none at all.
    throw code === undefined ? error : new Error(`cannot write ${path}: ${message}`, { cause: error });
  }
  await syncFolder(dirname(path));
}

/**
 * Makes a folder, and those above it that are missing; one that is there is left as it is. Node's recursive mkdir never
 * returns where the system says ENOENT under a folder that exists, as in /proc.
 * @throws the system's error naming the first folder that could not be made
 */
export async function makeFolder(path: string): Promise<void> {
  const parent = dirname(path);
  if (parent !== path && !existsSync(parent)) await makeFolder(parent);
  await mkdir(path).catch(async (error) => {
    const there = await stat(path).catch(() => undefined);
    if (!there?.isDirectory()) throw error;
  });
}

/** Whether nothing would be mixed with what is written into a folder at `path`: it is missing or empty. */
export async function isVacant(path: string): Promise<boolean> {
  return !existsSync(path) || (await readdir(path)).length === 0;
}

/** Makes a rename in `folder` survive a crash. Windows cannot open folders and needs no such call. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether a process of this machine still runs; what one has left that does not is for others to take. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

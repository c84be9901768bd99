import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isAlive } from '../../engine/file.ts';

/** A model could not be fetched. The message says from where, why, and what to do. */
export class PullError extends Error {
  override name = 'PullError';
}

/** Bytes of a file so far; `total` is unknown while pip downloads. */
export interface Progress {
  file: string;
  received: number;
  total?: number;
}

export interface Digest {
  /** `git`: git's object id of the content, which the hub gives for small files. */
  algorithm: 'sha256' | 'git';
  value: string;
}

/** A file that can be fetched. */
export interface RemoteFile {
  file: string;
  size: number;
  digest?: Digest;
  /** Fills the file `partial`, going on from the bytes that are in it. */
  fill(partial: string): Promise<void>;
}

/**
 * Fetches `remote` to `target`, which appears only whole and verified. An interrupted fetch is gone on with by the next.
 * Any number of processes may do this at once: each fills a file of its own, and the last rename wins with equal bytes.
 * @returns the file's sha256
 * @throws PullError when the bytes are not those that the digest describes; they are removed
 */
export async function fetchVerified(target: string, remote: RemoteFile): Promise<string> {
  const partial = await claimPartial(target, remote.digest?.value ?? String(remote.size));
  await remote.fill(partial);
  const { size } = await stat(partial);
  const digests = await digestsOf(partial, size);
  const expected = remote.digest;
  if (size !== remote.size || (expected && digests[expected.algorithm] !== expected.value)) {
    await rm(partial);
    const found = size === remote.size && expected ? digests[expected.algorithm] : `${size} bytes`;
    const wanted = size === remote.size && expected ? expected.value : `${remote.size} bytes`;
    throw new PullError(`${remote.file}: expected ${wanted}, received ${found}: removed, try again`);
  }
  await rename(partial, target);
  return digests.sha256;
}

/** The sha256 and git object id of a file of `size` bytes. */
export async function digestsOf(path: string, size: number): Promise<Record<Digest['algorithm'], string>> {
  const hashes: Record<Digest['algorithm'], Hash> = {
    sha256: createHash('sha256'),
    git: createHash('sha1').update(`blob ${size}\0`),
  };
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    hashes.sha256.update(chunk);
    hashes.git.update(chunk);
  }
  return { sha256: hashes.sha256.digest('hex'), git: hashes.git.digest('hex') };
}

/** A partial file of this process: its own, or one that a process no longer alive has left, claimed by renaming it. */
async function claimPartial(target: string, content: string): Promise<string> {
  const prefix = `${basename(target)}.${content.slice(0, 12)}.`;
  const own = join(dirname(target), `${prefix}${process.pid}.partial`);
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(prefix) || !name.endsWith('.partial')) continue;
    const owner = Number(name.slice(prefix.length, -'.partial'.length));
    if (owner === process.pid) return own;
    if (isAlive(owner)) continue;
    try {
      await rename(join(dirname(target), name), own);
      return own;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // another process was faster
    }
  }
  return own;
}

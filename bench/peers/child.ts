// Long-lived processes that take turns: a request is a line of JSON on standard input, its answer a line of JSON on file
// descriptor 3, since libraries print on the others what they like. Between two requests a process waits for its input.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import type { Readable } from 'node:stream';

const ANSWERS = 3;

/** One side of a comparison, in a process of its own. */
export class Child implements Disposable {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  /** @param env beside this process's own environment */
  constructor(name: string, command: string, args: readonly string[], env: Record<string, string> = {}) {
    this.name = name;
    this.#process = spawn(command, args, {
      stdio: ['pipe', 2, 2, 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#reader = createInterface({ input: this.#process.stdio[ANSWERS] as Readable });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    // A process that ended is told by the end of its answers.
    this.#process.stdin?.on('error', () => {});
    this.#process.on('error', (error) => this.#reader.emit('error', error));
  }

  /** @throws with what went wrong on the other side */
  async ask<T>(request: object): Promise<T> {
    this.#process.stdin?.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name}: the process has ended`);
    const answer = JSON.parse(value) as { value: T } | { error: string };
    if ('error' in answer) throw new Error(`${this.name}: ${answer.error}`);
    return answer.value;
  }

  [Symbol.dispose](): void {
    this.#reader.close();
    this.#process.kill();
  }
}

/** The other end: answers requests until there are no more. What `answer` throws becomes the answer. */
export async function serve(answer: (request: never) => unknown): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    let reply: object;
    try {
      reply = { value: await answer(JSON.parse(line) as never) };
    } catch (error) {
      reply = { error: (error as Error).stack };
    }
    writeSync(ANSWERS, `${JSON.stringify(reply)}\n`);
  }
}

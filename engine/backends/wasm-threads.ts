import { once } from 'node:events';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';

interface Thread {
  worker: Worker;
  /** Where a worker that traps leaves the reason; read without waiting for the event loop. */
  failures: MessagePort;
}

/**
 * The worker threads of the WASM backend, numbered from 1 (the caller of a launch is thread 0). They sit in the module's
 * `worker_loop`, never return to their event loop, and do not keep the process alive.
 */
export class Threads {
  readonly #threads: Thread[];
  #closing = false;
  #failure?: string;

  private constructor(threads: Thread[]) {
    this.#threads = threads;
    threads.forEach(({ worker }, i) => {
      worker.on('error', (error: Error) => {
        this.#failure ??= `worker ${i + 1} failed: ${error.message}`;
      });
      worker.on('exit', (code) => {
        if (!this.#closing) this.#failure ??= `worker ${i + 1} ended (exit code ${code})`;
      });
      worker.unref();
    });
    // Node learns when a worker's event loop started at the first look, and reports 0 instead of -1 if that is too late.
    this.poll();
  }

  /** Starts `count` workers. @throws the first worker's reason if one cannot start; none is left running then */
  static async start(count: number, glue: string, module: WebAssembly.Module, memory: WebAssembly.Memory) {
    const threads: Thread[] = [];
    try {
      for (let thread = 1; thread <= count; thread++) threads.push(startThread({ glue, module, memory, thread }));
      await Promise.all(threads.map(({ worker }) => ready(worker)));
    } catch (error) {
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
      throw error;
    }
    return new Threads(threads);
  }

  /** Why the threads are of no use any more, as far as events have told. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** What befell worker `thread`, which has set the error word. */
  failed(thread: number): string {
    const reason = receiveMessageOnPort(this.#threads[thread - 1].failures)?.message;
    this.#failure ??= `worker ${thread} failed: ${reason}`;
    return this.#failure;
  }

  /**
   * Looks for workers that have died, at once: their 'exit' events cannot arrive while the main thread is inside a launch.
   * @returns the reason if one has
   */
  poll(): string | undefined {
    const dead = this.#threads.findIndex(({ worker }) => worker.performance.eventLoopUtilization().idle < 0);
    if (dead >= 0) this.#failure ??= `worker ${dead + 1} died during a launch`;
    return this.#failure;
  }

  /** Waits until all workers have ended, once the pool has been told to close. */
  async close(): Promise<void> {
    this.#closing = true;
    const ending = this.#threads.filter(({ worker }) => worker.threadId >= 0);
    await Promise.all(
      ending.map(({ worker }) => {
        worker.ref();
        return once(worker, 'exit');
      }),
    );
  }
}

function startThread(data: {
  glue: string;
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
}): Thread {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL('../../kernels/wasm/worker.mjs', import.meta.url), {
    workerData: { ...data, failures: port2 },
    transferList: [port2],
    execArgv: [],
  });
  return { worker, failures: port1 };
}

async function ready(worker: Worker): Promise<void> {
  const ended = once(worker, 'exit').then(([code]) => {
    throw new Error(`a worker ended before it was ready (exit code ${code})`);
  });
  ended.catch(() => {});
  await Promise.race([once(worker, 'message'), ended]);
}

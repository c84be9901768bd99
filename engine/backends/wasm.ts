import { readFile } from 'node:fs/promises';
import { availableParallelism, freemem } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import type * as Kernels from '../../kernels/wasm/pkg/relaxed/lorikeet_kernels.js';
import { type BufferRef, MissingKernelError, type Work } from '../backend.ts';
import { Allocator } from './allocator.ts';
import type { DeviceBackend, MemoryModel } from './rehearsal.ts';
import { PROBE_BYTES, probeRevectorizer } from './wasm-probe.ts';
import { Threads } from './wasm-threads.ts';

/** relaxed: with fused multiply-add; simd128: for engines without relaxed SIMD (Node 20). */
type Build = 'relaxed' | 'simd128';

export interface WasmOptions {
  /** Threads that run kernels, the caller's included. Default: what the system offers. */
  threads?: number;
  /**
   * Switches V8's experimental pairing of 128-bit operations into 256-bit ones on, for the whole process, and probes it; what
   * does not pass is switched off again.
   */
  revectorize?: boolean;
  /**
   * How products with weights multiply. int16: in 16-bit integers with a scale for each row and column of a block of the depth
   * (kernels/wasm/src/gemm/int16.rs), faster and accurate to about 1e-4 of a row's size. These are linear layers and their
   * gradients for the input, of 16 rows or more and of more than 128 columns both ways, so that results of few rows differ
   * from those of many by the rounding. Adapters, their gradients, the loss's head and attention stay in f32. Default: f32.
   */
  products?: 'f32' | 'int16';
  /** Default: relaxed where the engine accepts it. */
  build?: Build;
  /** What decides whether the revectorizer does its work. @internal for tests */
  probe?: typeof probeRevectorizer;
}

export interface WasmInfo {
  build: Build;
  threads: number;
  /** Why there are fewer threads than asked for. */
  threadsReason?: string;
  /** Whether the micro-kernels written for V8's revectorizer run: it was asked for and they have passed the probe. */
  revectorize: boolean;
  /** The same of those for 16-bit integers, which are probed if products are in them. */
  revectorizeInt16: boolean;
  /** What the probe found, or why there was none. */
  revectorizeReason: string;
  /** How products with weights multiply. */
  products: 'f32' | 'int16';
}

/** Closing it ends its threads. */
export interface WasmBackend extends DeviceBackend {
  readonly threads: number;
  readonly info: WasmInfo;
}

interface WasmHandle {
  readonly address: number;
  readonly bytes: number;
}

/** The Job of kernels/wasm/src/table.rs: first word and number of words of each field. */
const JOB = {
  buffers: { at: 0, count: 24 },
  ints: { at: 24, count: 32 },
  floats: { at: 56, count: 8 },
  work: { at: 64, count: 3 },
  kernel: 67,
  scratch: 68,
  wide: 69,
  wideInt16: 70,
  int16: 71,
  words: 72,
};
/** What `launch` and `resume` return beside the number of a failed worker. */
const DONE = 0;
const SILENT = -1;
const PAGE = 65536;
/** What 32-bit addresses reach. */
const MAX_BYTES = 2 ** 32;

/** Distinguishes the glue's instances: a glue module holds one instance, a process may make several backends. */
let instances = 0;

/**
 * Makes a WASM backend: a shared linear memory of at most 4 GiB, taken from the system as it is needed, and a pool of
 * threads. Where workers cannot start, the same module runs on the calling thread alone and `info.threadsReason` says why.
 */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  // Before anything is compiled. V8 has a working revectorizer from Node 24 on.
  const { products = 'f32', revectorize: asked = false, probe = probeRevectorizer } = options;
  const known = Number.parseInt(process.versions.node, 10) >= 24;
  if (asked && known) setFlagsFromString('--experimental-wasm-revectorize');
  const { build, bytes } = await readBuild(options.build);
  const glue = `${new URL(`../../kernels/wasm/pkg/${build}/lorikeet_kernels.js`, import.meta.url)}?instance=${instances++}`;
  const kernels: typeof Kernels = await import(glue);
  const module = await WebAssembly.compile(bytes);
  const { memory } = kernels.initSync({ module });
  let verdict = {
    wide: false,
    wideInt16: false,
    found: asked ? 'V8 has a working one from Node 24 on' : 'not asked for',
  };
  if (asked && known) {
    const address = memory.grow(Math.ceil(PROBE_BYTES / PAGE)) * PAGE;
    verdict = probe(kernels, memory.buffer, address, products === 'int16');
    // What V8 has yet to optimise shall be in 128 bits too; the micro-kernels that passed it has optimised.
    if (!verdict.wide) setFlagsFromString('--no-experimental-wasm-revectorize');
  }
  const wanted = options.threads ?? availableParallelism();
  let threads: Threads | undefined;
  let threadsReason: string | undefined;
  if (wanted > 1) {
    try {
      threads = await Threads.start(wanted - 1, glue, module, memory);
      kernels.set_threads(wanted);
    } catch (error) {
      threadsReason = `threads cannot start: ${(error as Error).message}`;
    }
  }
  const info = {
    build,
    threads: threads ? wanted : 1,
    threadsReason,
    revectorize: verdict.wide,
    revectorizeInt16: verdict.wideInt16,
    revectorizeReason: verdict.found,
    products,
  };
  return new Wasm(kernels, memory, info, threads);
}

async function readBuild(wanted?: Build): Promise<{ build: Build; bytes: Uint8Array<ArrayBuffer> }> {
  const read = async (build: Build) => {
    const url = new URL(`../../kernels/wasm/pkg/${build}/lorikeet_kernels_bg.wasm`, import.meta.url);
    return { build, bytes: await readFile(url) };
  };
  if (wanted) return read(wanted);
  const relaxed = await read('relaxed');
  return WebAssembly.validate(relaxed.bytes) ? relaxed : read('simd128');
}

class Wasm implements WasmBackend {
  readonly name = 'wasm';
  readonly computes = ['f32'] as const;
  readonly info: WasmInfo;
  readonly kernels: readonly string[];
  readonly #kernels: typeof Kernels;
  readonly #memory: WebAssembly.Memory;
  readonly #allocator: Allocator;
  readonly #threads?: Threads;
  readonly #index: Map<string, number>;
  readonly #job: number;
  #scratch: WasmHandle = { address: 0, bytes: 0 };
  /** Why every call is refused from now on. */
  #refusal?: string;

  constructor(kernels: typeof Kernels, memory: WebAssembly.Memory, info: WasmInfo, threads?: Threads) {
    this.#kernels = kernels;
    this.#memory = memory;
    this.info = info;
    this.#threads = threads;
    this.kernels = kernels.kernel_names().split('\n');
    this.#index = new Map(this.kernels.map((name, i) => [name, i]));
    this.#job = kernels.job();
    this.#allocator = new Allocator((bytes) => {
      const pages = Math.ceil(bytes / PAGE);
      return { address: memory.grow(pages) * PAGE, bytes: pages * PAGE };
    });
    const words = this.#jobWords();
    words[JOB.wide] = info.revectorize ? 1 : 0;
    words[JOB.wideInt16] = info.revectorizeInt16 ? 1 : 0;
    words[JOB.int16] = info.products === 'int16' ? 1 : 0;
  }

  get threads(): number {
    return this.info.threads;
  }

  alloc(bytes: number): WasmHandle {
    this.#check();
    return { address: this.#allocator.alloc(bytes), bytes };
  }

  free(handle: WasmHandle): void {
    this.#allocator.free(handle.address);
  }

  write(handle: WasmHandle, bytes: Uint8Array, byteOffset = 0): void {
    this.#check();
    this.#view(handle, bytes.length, byteOffset).set(bytes);
  }

  async read(handle: WasmHandle, bytes: number, byteOffset = 0): Promise<Uint8Array> {
    this.#check();
    const copy = this.#view(handle, bytes, byteOffset).slice();
    await setImmediate();
    return copy;
  }

  async sync(): Promise<void> {
    this.#check();
    await setImmediate();
  }

  launch(
    kernel: string,
    buffers: readonly BufferRef[],
    ints: readonly number[],
    floats: readonly number[],
    work: Work,
  ): void {
    this.#check();
    this.#describe(kernel, buffers, ints, floats, work);
    // Asking for scratch memory may grow the memory: `words` must not be used after it.
    this.#jobWords()[JOB.scratch] = this.#scratchFor(this.#kernels.scratch_bytes());
    this.#run(kernel);
  }

  get memoryModel(): MemoryModel {
    const addresses = MAX_BYTES - this.#memory.buffer.byteLength;
    // As far as the system says: what its caches would give up counts, and so does a container's limit.
    const machine = (process.availableMemory ?? freemem)(); // Node before 20.13 has no such function
    return {
      capacity: Math.min(addresses, machine),
      holder: machine < addresses ? 'this machine' : undefined,
      scratchBytes: (kernel, ints, work) => {
        this.#describe(kernel, [], ints, [], work);
        return this.#kernels.scratch_bytes();
      },
    };
  }

  async close(): Promise<void> {
    this.#refusal ??= 'it was closed';
    this.#kernels.close_pool();
    await this.#threads?.close();
  }

  /** Writes a launch into the job. */
  #describe(
    kernel: string,
    buffers: readonly BufferRef[],
    ints: readonly number[],
    floats: readonly number[],
    work: Work,
  ): void {
    const index = this.#index.get(kernel);
    if (index === undefined) throw new MissingKernelError(kernel, this.name);
    const words = this.#jobWords();
    const put = (
      { at, count }: { at: number; count: number },
      values: readonly number[],
      what: string,
      into: Uint32Array | Float32Array = words,
    ) => {
      if (values.length > count) {
        throw new RangeError(`kernel ${kernel}: ${values.length} ${what}, at most ${count} fit into a launch`);
      }
      for (let i = 0; i < values.length; i++) into[at + i] = values[i];
    };
    put(
      JOB.buffers,
      buffers.map(({ handle, byteOffset }) => (handle as WasmHandle).address + byteOffset),
      'buffers',
    );
    put(JOB.ints, ints, 'ints');
    put(JOB.floats, floats, 'floats', new Float32Array(words.buffer, words.byteOffset, words.length));
    put(JOB.work, work, 'dimensions of work');
    words[JOB.kernel] = index;
  }

  #run(kernel: string): void {
    try {
      let status = this.#kernels.launch();
      while (status === SILENT) {
        this.#refusal = this.#threads?.poll();
        if (this.#refusal) break;
        status = this.#kernels.resume();
      }
      if (status > DONE) this.#refusal = this.#threads?.failed(status);
    } catch (error) {
      // A trap: other threads may still be writing, so that nothing in the memory can be relied upon.
      this.#refusal = `kernel ${kernel} failed: ${(error as Error).message}`;
      throw new Error(`backend ${this.name}: ${this.#refusal}`, { cause: error });
    }
    if (this.#refusal) throw new Error(`backend ${this.name}: ${this.#refusal} (kernel ${kernel})`);
  }

  #check(): void {
    this.#refusal ??= this.#threads?.failure;
    if (this.#refusal) throw new Error(`backend ${this.name} refuses further calls: ${this.#refusal}`);
  }

  /** Address of the scratch arena, which never shrinks. */
  #scratchFor(bytes: number): number {
    if (bytes > this.#scratch.bytes) {
      if (this.#scratch.bytes > 0) this.free(this.#scratch);
      this.#scratch = { address: 0, bytes: 0 };
      this.#scratch = this.alloc(bytes);
    }
    return this.#scratch.address;
  }

  // Views are made on use: growing the memory replaces its buffer.

  #jobWords(): Uint32Array {
    return new Uint32Array(this.#memory.buffer, this.#job, JOB.words);
  }

  #view(handle: WasmHandle, bytes: number, byteOffset: number): Uint8Array {
    if (byteOffset + bytes > handle.bytes) {
      throw new RangeError(`bytes ${byteOffset} to ${byteOffset + bytes} of a storage of ${handle.bytes} bytes`);
    }
    return new Uint8Array(this.#memory.buffer, handle.address + byteOffset, bytes);
  }
}

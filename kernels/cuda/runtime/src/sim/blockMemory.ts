import { Clocks } from './clocks.ts';
import { views } from './deviceMemory.ts';
import { mmaFunctions } from './mma.ts';
import { arenaBytes, places } from './places.ts';
import { rowFunctions } from './rows.ts';
import { wasmModule } from './wasm.ts';

/** What a block has for itself while it runs, in memory that WebAssembly works on as well. */
export interface BlockMemory {
  /** Registers of its warps. */
  readonly file: ReturnType<typeof views>;
  /** Shared memory, and what is known of each byte. */
  readonly shared: ReturnType<typeof views>;
  readonly shadow: ReturnType<typeof views>;
  /** What is remembered of each word's (and byte's) accesses, by which clocks: see RaceDetector. */
  readonly accesses: Record<'writes' | 'reads' | 'readers' | 'readTime' | 'byteWrites' | 'byteReads', Int32Array>;
  readonly clocks: Clocks;
  /** See places.ts. */
  readonly rows: Int32Array<ArrayBuffer>;
  readonly lanes: Int32Array;
  /** What the products sum up, by register of C and lane. */
  readonly sums: Float64Array;
  /** See mma.ts and rows.ts. */
  readonly functions: Record<string, (...parameters: number[]) => number>;
}

const pageBytes = 65536;
const leastBytes = 2 ** 22;

function compile(): WebAssembly.Module {
  const module = (relaxed: boolean) => wasmModule([...mmaFunctions(relaxed), ...rowFunctions()]);
  const relaxed = module(true);
  return new WebAssembly.Module(WebAssembly.validate(relaxed) ? relaxed : module(false));
}

let module: WebAssembly.Module | undefined;
let current: BlockMemory | undefined;

/**
 * Memory with a register file of at least `fileBytes`, whose contents are anything. It is the same one for all kernels of all
 * devices: a launch runs to its end before anything else does, and engines set gigabytes of address space aside for each
 * WebAssembly memory.
 */
export function blockMemory(fileBytes: number): BlockMemory {
  if (current === undefined || current.file.bytes.length < fileBytes) {
    const bytes = places.file + Math.max(leastBytes, 2 * fileBytes);
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / pageBytes) });
    module ??= compile();
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const { buffer } = memory;
    const words = (place: number) => new Int32Array(buffer, place, arenaBytes / 4);
    current = {
      file: views(buffer, places.file),
      shared: views(buffer, places.shared, arenaBytes),
      shadow: views(buffer, places.shadow, arenaBytes),
      accesses: {
        writes: words(places.writes),
        reads: words(places.reads),
        readers: words(places.readers),
        readTime: words(places.readTime),
        byteWrites: new Int32Array(arenaBytes),
        byteReads: new Int32Array(arenaBytes),
      },
      clocks: new Clocks(),
      rows: new Int32Array(buffer, places.rows, 32),
      lanes: new Int32Array(buffer, places.lanes, 32),
      sums: new Float64Array(buffer, places.sums, 4 * 32),
      functions: exports as BlockMemory['functions'],
    };
  }
  return current;
}

import { CudaError, LaunchError, PtxVersionUnsupported } from '../errors.ts';
import { checkSize, nestedCapture, onRecordedStream } from '../refusals.ts';
import type {
  Device,
  DeviceAttributes,
  DevicePointer,
  Dim3,
  Event,
  Graph,
  HostBuffer,
  Kernel,
  MemoryInfo,
  Module,
  Stream,
} from '../runtime.ts';
import { attributesOf } from './attributes.ts';
import { addCounts, emptyCounts, type LaunchCounts } from './counters.ts';
import { DeviceMemory, globalBase, shadow } from './deviceMemory.ts';
import type { Instrumentation } from './instrumentation.ts';
import { type Machine, SimulatedKernel } from './kernel.ts';
import { parsePtx } from './parser.ts';
import { assemble } from './ptxas.ts';
import { formatReport, type Report, Reporter } from './report.ts';
import {
  type Owner,
  own,
  type Resource,
  SimulatedEvent,
  SimulatedGraph,
  SimulatedHostBuffer,
  SimulatedStream,
} from './resource.ts';
import { attempt, SimulatedModule } from './simulatedModule.ts';

export interface SimulatorOptions {
  /** Compute capability to pretend, default [8, 0]. PTX for a newer target is refused. */
  computeCapability?: readonly [major: number, minor: number];
  /** Bytes of device memory, default 1 GiB, at most 2 GiB − 4 KiB. Pages are taken only when touched. */
  memoryBytes?: number;
  /** What is checked and counted. Default: all checks, no counters. */
  checks?: Partial<Instrumentation>;
  /** What findings do: 'throw' (default) makes launch throw LaunchError after the grid ran; 'collect' only keeps them. */
  onReport?: 'throw' | 'collect';
  /** Steps (basic blocks of a warp) after which a launch is given up as endless. Default 2^32, some ten minutes. */
  stepLimit?: number;
  /** Path of NVIDIA's assembler: modules must then pass it, and `Kernel.registers` and `Module.infoLog` are its. */
  ptxas?: string;
}

/** Device over the CPU. Work happens when it is queued: streams, events and copies are done as soon as the call returns. */
export interface Simulator extends Device {
  /** Findings since the device was opened, in order. */
  readonly reports: readonly Report[];
  /** What the launches since the last `resetCounts` did, together; all zero unless `checks.counters` is on. */
  readonly counts: LaunchCounts;
  resetCounts(): void;
}

const defaultChecks: Instrumentation = { memory: true, uninitialised: true, races: true, sync: true, counters: false };

/** Opens a simulated device. */
export function openSimulator(options: SimulatorOptions = {}): Simulator {
  return new SimulatedDevice(options);
}

class SimulatedDevice implements Simulator, Owner {
  readonly name: string;
  readonly simulated = true;
  readonly attributes: DeviceAttributes;
  readonly defaultStream: Stream;
  readonly reports: Report[] = [];
  readonly resources = new Set<Resource>();
  counts = emptyCounts();
  readonly #machine: Machine;
  readonly #throws: boolean;
  readonly #ptxas: string | undefined;
  #recording: { stream: Stream; work: (() => void)[] } | undefined;
  #disposed = false;

  constructor({
    computeCapability = [8, 0],
    memoryBytes = 2 ** 30,
    checks,
    onReport = 'throw',
    stepLimit = 2 ** 32,
    ptxas,
  }: SimulatorOptions) {
    if (!(memoryBytes > 2 ** 16 && memoryBytes <= 2 ** 31 - 4096)) {
      throw new RangeError(`memoryBytes ${memoryBytes}: expected 64 KiB to 2 GiB − 4 KiB`);
    }
    const instrumentation = { ...defaultChecks, ...checks };
    const size = Math.ceil(memoryBytes / 4096) * 4096;
    this.name = `simulator sm_${computeCapability.join('')}`;
    this.attributes = attributesOf(computeCapability, size);
    const reporter = new Reporter();
    this.#machine = {
      attributes: this.attributes,
      checks: instrumentation,
      global: new DeviceMemory(size, instrumentation.uninitialised),
      reporter,
      stepLimit,
    };
    this.#throws = onReport === 'throw';
    this.#ptxas = ptxas;
    this.defaultStream = this.createStream();
  }

  loadModule(ptx: string, name = 'module'): Module {
    this.check();
    const parsed = attempt(name, () => parsePtx(ptx));
    const capability = this.attributes.computeCapability;
    const target = Number(/^sm_(\d+)/.exec(parsed.target)?.[1] ?? Number.NaN);
    if (!(target <= capability[0] * 10 + capability[1])) {
      const found = `.target ${parsed.target}, the simulated device is sm_${capability.join('')}`;
      throw new PtxVersionUnsupported('CUDA_ERROR_NO_BINARY_FOR_GPU', `${name}: ${found}`);
    }
    const assembly =
      this.#ptxas === undefined ? undefined : assemble(this.#ptxas, ptx, `sm_${capability.join('')}`, name);
    return new SimulatedModule(this, this.#machine, parsed, name, assembly);
  }

  alloc(bytes: number, stream?: Stream): DevicePointer {
    this.outsideRecording(stream, 'alloc');
    checkSize(bytes, 'alloc');
    return globalBase + this.#machine.global.alloc(bytes);
  }

  free(pointer: DevicePointer, stream?: Stream): void {
    this.outsideRecording(stream, 'free');
    if (!this.#machine.global.free(pointer - globalBase)) {
      throw new CudaError(
        'CUDA_ERROR_INVALID_VALUE',
        `free of 0x${pointer.toString(16)}, which alloc did not return or which is free already`,
      );
    }
  }

  allocHost(bytes: number): HostBuffer {
    this.check();
    checkSize(bytes, 'allocHost');
    return new SimulatedHostBuffer(this, bytes);
  }

  memoryInfo(): MemoryInfo {
    this.check();
    const { size, used } = this.#machine.global;
    return { freeBytes: size - used, totalBytes: size };
  }

  writeAsync(destination: DevicePointer, source: Uint8Array, stream?: Stream): void {
    this.queue(stream, () => {
      const offset = this.#range(destination, source.length, 'write');
      this.#machine.global.data.bytes.set(source, offset);
      this.#machine.global.shadow.bytes.fill(shadow.written, offset, offset + source.length);
    });
  }

  readAsync(destination: Uint8Array, source: DevicePointer, stream?: Stream): void {
    this.queue(stream, () => {
      const offset = this.#range(source, destination.length, 'read');
      destination.set(this.#machine.global.data.bytes.subarray(offset, offset + destination.length));
    });
  }

  copyAsync(destination: DevicePointer, source: DevicePointer, bytes: number, stream?: Stream): void {
    this.queue(stream, () => {
      const to = this.#range(destination, bytes, 'copy to');
      const from = this.#range(source, bytes, 'copy from');
      const { data, shadow: state } = this.#machine.global;
      data.bytes.copyWithin(to, from, from + bytes);
      // Unwritten bytes stay unwritten where they arrive.
      state.bytes.copyWithin(to, from, from + bytes);
    });
  }

  memsetAsync(destination: DevicePointer, value: number, bytes: number, stream?: Stream): void {
    this.queue(stream, () => {
      const offset = this.#range(destination, bytes, 'memset');
      this.#machine.global.data.bytes.fill(value, offset, offset + bytes);
      this.#machine.global.shadow.bytes.fill(shadow.written, offset, offset + bytes);
    });
  }

  launch(kernel: Kernel, grid: Dim3, block: Dim3, sharedBytes: number, args: Uint8Array, stream?: Stream): void {
    if (!(kernel instanceof SimulatedKernel && kernel.module.owner === this))
      throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `${kernel.name} is no kernel of ${this.name}`);
    kernel.module.check();
    const captured = this.#recording === undefined ? args : args.slice();
    this.queue(stream, () => this.#run(kernel, grid, block, sharedBytes, captured));
  }

  #run(kernel: SimulatedKernel, grid: Dim3, block: Dim3, sharedBytes: number, args: Uint8Array): void {
    kernel.module.check();
    const { reporter } = this.#machine;
    reporter.begin();
    const counts = kernel.run(grid, block, sharedBytes, args);
    if (counts !== undefined) addCounts(this.counts, counts);
    if (reporter.reports.length === 0) return;
    this.reports.push(...reporter.reports);
    if (!this.#throws) return;
    const shown = reporter.reports.slice(0, 8).map(formatReport).join('\n');
    throw new LaunchError(
      'CUDA_ERROR_LAUNCH_FAILED',
      `${kernel.name}: ${reporter.total} findings of the simulator's checks\n${shown}`,
    );
  }

  resetCounts(): void {
    this.counts = emptyCounts();
  }

  createStream(): Stream {
    return new SimulatedStream(this);
  }

  createEvent(): Event {
    return new SimulatedEvent(this);
  }

  async synchronize(): Promise<void> {
    this.check();
  }

  capture(stream: Stream, record: () => void): Graph {
    own(this, stream, SimulatedStream);
    if (this.#recording !== undefined) throw nestedCapture();
    const work: (() => void)[] = [];
    this.#recording = { stream, work };
    try {
      record();
    } finally {
      this.#recording = undefined;
    }
    return new SimulatedGraph(this, stream, work);
  }

  [Symbol.dispose](): void {
    for (const resource of [...this.resources].reverse()) resource[Symbol.dispose]();
    this.#disposed = true;
  }

  queue(stream: Stream | undefined, work: () => void): void {
    const on = own(this, stream ?? this.defaultStream, SimulatedStream);
    if (this.#recording?.stream === on) this.#recording.work.push(work);
    else work();
  }

  check(): void {
    if (this.#disposed) throw new CudaError('CUDA_ERROR_CONTEXT_IS_DESTROYED', `${this.name} is disposed`);
  }

  outsideRecording(stream: Stream | undefined, what: string): void {
    if (own(this, stream ?? this.defaultStream, SimulatedStream) === this.#recording?.stream)
      throw onRecordedStream(what);
  }

  #range(pointer: DevicePointer, bytes: number, what: string): number {
    const offset = pointer - globalBase;
    if (bytes > 0 && !this.#machine.global.owns(offset, bytes)) {
      throw new CudaError(
        'CUDA_ERROR_INVALID_VALUE',
        `${what} of ${bytes} bytes at 0x${pointer.toString(16)}: not within an allocation`,
      );
    }
    return offset;
  }
}

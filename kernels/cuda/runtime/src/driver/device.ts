import { CudaError } from '../errors.ts';
import { nestedCapture, onRecordedStream } from '../refusals.ts';
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
import { type Context, own } from './context.ts';
import { Launcher } from './launch.ts';
import { Memory } from './memory.ts';
import { DriverKernel, DriverModule } from './module.ts';
import { DriverEvent, DriverGraph, DriverStream } from './queue.ts';

/** A GPU behind the driver. Calls that queue work are made current on this thread's context first. */
export class DriverDevice implements Device {
  readonly name: string;
  readonly simulated = false;
  readonly attributes: DeviceAttributes;
  readonly defaultStream: DriverStream;
  readonly #context: Context;
  readonly #memory: Memory;
  readonly #launcher: Launcher;
  /** The stream being recorded, and the host memory its copies refer to. */
  #recording: { stream: DriverStream; pinned: object[] } | undefined;

  constructor(context: Context, name: string, attributes: DeviceAttributes) {
    this.name = name;
    this.attributes = attributes;
    this.#context = context;
    this.#memory = new Memory(context, attributes.memoryPools);
    this.#launcher = new Launcher(context, attributes);
    this.defaultStream = new DriverStream(context);
  }

  loadModule(ptx: string, name = 'module'): Module {
    return new DriverModule(this.#context, this.attributes, ptx, name);
  }

  alloc(bytes: number, stream?: Stream): DevicePointer {
    return this.#memory.alloc(bytes, this.#outsideRecording(stream, 'alloc'));
  }

  free(pointer: DevicePointer, stream?: Stream): void {
    this.#memory.free(pointer, this.#outsideRecording(stream, 'free'));
  }

  allocHost(bytes: number): HostBuffer {
    return this.#memory.allocHost(bytes);
  }

  memoryInfo(): MemoryInfo {
    return this.#memory.info();
  }

  writeAsync(destination: DevicePointer, source: Uint8Array, stream?: Stream): void {
    const queue = this.#queue(stream);
    const { handle } = queue;
    if (source.length === 0) return;
    this.#context.call('cuMemcpyHtoDAsync_v2', destination, source, source.length, handle);
    this.#keep(queue, source);
  }

  readAsync(destination: Uint8Array, source: DevicePointer, stream?: Stream): void {
    const queue = this.#queue(stream);
    const { handle } = queue;
    if (destination.length === 0) return;
    this.#context.call('cuMemcpyDtoHAsync_v2', destination, source, destination.length, handle);
    this.#keep(queue, destination);
  }

  copyAsync(destination: DevicePointer, source: DevicePointer, bytes: number, stream?: Stream): void {
    const { handle } = this.#queue(stream);
    if (bytes > 0) this.#context.call('cuMemcpyDtoDAsync_v2', destination, source, bytes, handle);
  }

  memsetAsync(destination: DevicePointer, value: number, bytes: number, stream?: Stream): void {
    const { handle } = this.#queue(stream);
    if (bytes > 0) this.#context.call('cuMemsetD8Async', destination, value, bytes, handle);
  }

  launch(kernel: Kernel, grid: Dim3, block: Dim3, sharedBytes: number, args: Uint8Array, stream?: Stream): void {
    if (!(kernel instanceof DriverKernel && kernel.module.context === this.#context)) {
      throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `${kernel.name} is no kernel of ${this.#context.label}`);
    }
    this.#launcher.launch(kernel, grid, block, sharedBytes, args, this.#queue(stream).handle);
  }

  createStream(): Stream {
    return new DriverStream(this.#context);
  }

  createEvent(): Event {
    return new DriverEvent(this.#context, this.defaultStream);
  }

  async synchronize(): Promise<void> {
    this.#context.enter();
    for (const resource of this.#context.resources) if (resource instanceof DriverStream) await resource.synchronize();
  }

  capture(stream: Stream, record: () => void): Graph {
    const recorded = own(this.#context, stream, DriverStream);
    if (this.#recording !== undefined) throw nestedCapture();
    const pinned: object[] = [];
    return new DriverGraph(this.#context, recorded, pinned, () => {
      this.#recording = { stream: recorded, pinned };
      try {
        record();
      } finally {
        this.#recording = undefined;
      }
    });
  }

  [Symbol.dispose](): void {
    this.#context.dispose(() => this.#memory.release());
  }

  #queue(stream: Stream | undefined): DriverStream {
    return stream === undefined ? this.defaultStream : own(this.#context, stream, DriverStream);
  }

  // Memory of a recorded allocation would belong to one launch of the graph, not to who called alloc.
  #outsideRecording(stream: Stream | undefined, what: string): number {
    const queue = this.#queue(stream);
    if (this.#recording?.stream !== queue) return queue.handle;
    throw onRecordedStream(what);
  }

  // A recorded copy goes to the same host memory at every launch, so the array must live as long as the graph.
  #keep(queue: DriverStream, array: object): void {
    if (this.#recording?.stream === queue) this.#recording.pinned.push(array);
  }
}

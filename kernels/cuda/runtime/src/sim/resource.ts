import { CudaError } from '../errors.ts';
import type { Event, Graph, HostBuffer, Stream } from '../runtime.ts';

/** What a simulated device is to the things that were made from it. */
export interface Owner {
  readonly name: string;
  /** What was made from it and not disposed. */
  readonly resources: Set<Resource>;
  /** Throws CudaError after dispose. */
  check(): void;
  /** Does work of a stream, or records it. */
  queue(stream: Stream | undefined, work: () => void): void;
  /** Throws CudaError while the stream is recorded into a graph. */
  outsideRecording(stream: Stream | undefined, what: string): void;
}

/** Something that a simulated device owns, as context.ts of the driver half has it. Disposing twice does nothing. */
export abstract class Resource implements Disposable {
  readonly owner: Owner;
  readonly #kind: string;

  constructor(owner: Owner, kind: string) {
    owner.check();
    this.owner = owner;
    this.#kind = kind;
    owner.resources.add(this);
  }

  /** Throws CudaError after dispose, its own or the device's. */
  check(): void {
    this.owner.check();
    if (!this.owner.resources.has(this))
      throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `this ${this.#kind} is disposed`);
  }

  [Symbol.dispose](): void {
    if (this.owner.resources.delete(this)) this.release();
  }

  protected release(): void {}
}

/** `thing` as what this device made and did not dispose; throws CudaError (CUDA_ERROR_INVALID_HANDLE). */
export function own<T extends Resource>(owner: Owner, thing: object, type: abstract new (...args: never[]) => T): T {
  owner.check();
  if (!(thing instanceof type && thing.owner === owner)) {
    const kind = type.name.replace('Simulated', '').toLowerCase();
    throw new CudaError('CUDA_ERROR_INVALID_HANDLE', `not a ${kind} of ${owner.name}`);
  }
  thing.check();
  return thing;
}

/** Its work is done when it is queued. */
export class SimulatedStream extends Resource implements Stream {
  constructor(owner: Owner) {
    super(owner, 'stream');
  }

  query(): boolean {
    this.check();
    this.owner.outsideRecording(this, 'a query');
    return true;
  }

  async synchronize(): Promise<void> {
    this.query();
  }

  wait(event: Event): void {
    this.check();
    own(this.owner, event, SimulatedEvent);
  }
}

/** A time stamp of the host. */
export class SimulatedEvent extends Resource implements Event {
  #time: number | undefined;

  constructor(owner: Owner) {
    super(owner, 'event');
  }

  record(stream?: Stream): void {
    this.check();
    this.owner.queue(stream, () => {
      this.#time = performance.now();
    });
  }

  query(): boolean {
    this.check();
    return true;
  }

  async synchronize(): Promise<void> {
    this.check();
  }

  elapsedSince(start: Event): number {
    this.check();
    const from = own(this.owner, start, SimulatedEvent).#time;
    if (this.#time === undefined || from === undefined) {
      const what = 'time between two events (both must have happened)';
      throw new CudaError('CUDA_ERROR_INVALID_HANDLE', what);
    }
    return this.#time - from;
  }
}

export class SimulatedGraph extends Resource implements Graph {
  readonly #stream: Stream;
  readonly #work: readonly (() => void)[];

  constructor(owner: Owner, stream: Stream, work: readonly (() => void)[]) {
    super(owner, 'graph');
    this.#stream = stream;
    this.#work = work;
  }

  launch(stream: Stream = this.#stream): void {
    this.check();
    own(this.owner, stream, SimulatedStream);
    for (const step of this.#work) this.owner.queue(stream, step);
  }
}

export class SimulatedHostBuffer extends Resource implements HostBuffer {
  readonly bytes: Uint8Array;

  constructor(owner: Owner, bytes: number) {
    super(owner, 'host buffer');
    this.bytes = new Uint8Array(bytes);
  }

  protected override release(): void {
    // As the driver half does; `transfer` came with Node 22.
    const buffer: ArrayBufferLike & { transfer?(): unknown } = this.bytes.buffer;
    buffer.transfer?.();
  }
}

import { CudaError } from '../errors.ts';
import type { Event, Graph, Stream } from '../runtime.ts';
import { type Context, own, Resource } from './context.ts';
import { CUresult, check } from './result.ts';

const nonBlocking = 1;
// Recording may be the first use of a kernel, which the driver then loads; the stricter modes would end the recording there.
const relaxed = 2;

/** A stream that does not wait for the legacy default stream. */
export class DriverStream extends Resource implements Stream {
  constructor(context: Context) {
    super(context, context.get('cuStreamCreate', nonBlocking), 'stream');
  }

  query(): boolean {
    return done(this.context, this.context.try('cuStreamQuery', this.handle), 'work of a stream');
  }

  synchronize(): Promise<void> {
    return poll(() => this.query());
  }

  wait(event: Event): void {
    this.context.call('cuStreamWaitEvent', this.handle, own(this.context, event, DriverEvent).handle, 0);
  }

  protected release(handle: number): void {
    this.context.try('cuStreamDestroy_v2', handle);
  }
}

export class DriverEvent extends Resource implements Event {
  readonly #defaultStream: DriverStream;

  constructor(context: Context, defaultStream: DriverStream) {
    super(context, context.get('cuEventCreate', 0), 'event');
    this.#defaultStream = defaultStream;
  }

  record(stream: Stream = this.#defaultStream): void {
    this.context.call('cuEventRecord', this.handle, own(this.context, stream, DriverStream).handle);
  }

  query(): boolean {
    return done(this.context, this.context.try('cuEventQuery', this.handle), 'work before an event');
  }

  synchronize(): Promise<void> {
    return poll(() => this.query());
  }

  elapsedSince(start: Event): number {
    const milliseconds = new Float32Array(1);
    const from = own(this.context, start, DriverEvent);
    const result = this.context.try('cuEventElapsedTime', milliseconds, from.handle, this.handle);
    check(this.context.library, result, 'time between two events (both must have happened)');
    return milliseconds[0];
  }

  protected release(handle: number): void {
    this.context.try('cuEventDestroy_v2', handle);
  }
}

/** A recorded graph, instantiated. */
export class DriverGraph extends Resource implements Graph {
  readonly #stream: DriverStream;
  /** Host memory that its copies read or write at every launch. */
  readonly #pinned: object[];

  /** Records what `record` queues on `stream`; `pinned` is filled by then. */
  constructor(context: Context, stream: DriverStream, pinned: object[], record: () => void) {
    super(context, capture(context, stream, record), 'graph');
    this.#stream = stream;
    this.#pinned = pinned;
  }

  launch(stream: Stream = this.#stream): void {
    this.context.call('cuGraphLaunch', this.handle, own(this.context, stream, DriverStream).handle);
  }

  protected release(handle: number): void {
    this.context.try('cuGraphExecDestroy', handle);
    this.#pinned.length = 0;
  }
}

/** Handle of the executable graph of what `record` queues. The stream is left recording nothing, whatever happens. */
function capture(context: Context, stream: DriverStream, record: () => void): number {
  context.call('cuStreamBeginCapture_v2', stream.handle, relaxed);
  const graph = new BigUint64Array(1);
  try {
    record();
  } catch (error) {
    if (context.try('cuStreamEndCapture', stream.handle, graph) === 0) context.try('cuGraphDestroy', graph[0]);
    throw error;
  }
  check(context.library, context.try('cuStreamEndCapture', stream.handle, graph), 'recording a graph');
  if (graph[0] === 0n) throw new CudaError('CUDA_ERROR_STREAM_CAPTURE_INVALIDATED', 'recording a graph gave none');
  const executable = new BigUint64Array(1);
  // The first came with CUDA 11.4.
  const result = context.library.has('cuGraphInstantiateWithFlags')
    ? context.try('cuGraphInstantiateWithFlags', executable, graph[0], 0)
    : context.try('cuGraphInstantiate_v2', executable, graph[0], null, null, 0);
  context.try('cuGraphDestroy', graph[0]);
  check(context.library, result, 'instantiating a graph');
  return Number(executable[0]);
}

function done(context: Context, result: number, what: string): boolean {
  if (result === CUresult.notReady) return false;
  check(context.library, result, what);
  return true;
}

/**
 * Resolves when `query` says so. Asks at every turn of the event loop for two milliseconds, then every millisecond: short
 * waits stay short, long ones leave the processor alone. (A wait inside the driver on another thread would have no context.)
 */
async function poll(query: () => boolean): Promise<void> {
  const start = performance.now();
  while (!query()) {
    const soon = performance.now() - start < 2;
    await new Promise<void>((resolve) => void (soon ? setImmediate(resolve) : setTimeout(resolve, 1)));
  }
}

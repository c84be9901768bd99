// What the interface refuses, the simulator and the driver half (over the stub driver) refuse alike.
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDriver } from '../../../kernels/cuda/runtime/src/driver/driver.ts';
import {
  CudaError,
  type Device,
  type Event,
  type Kernel,
  type Module,
  openSimulator,
  type Stream,
} from '../../../kernels/cuda/runtime/src/index.ts';
import { entry } from './support/launch.ts';
import { buildStub, type Stub, skipsStub } from './support/stub.ts';

const ptx = entry(0, 'ret;', '.global .align 4 .u32 table[2];');
const captureUnsupported = 'CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED';
const invalidHandle = 'CUDA_ERROR_INVALID_HANDLE';

let stub: Stub | undefined;
function openStubbed(ordinal: number): Device {
  stub ??= buildStub();
  return openDriver({ library: stub.path }).open(ordinal);
}
const halves: { half: string; open(ordinal: number): Device; skip: boolean }[] = [
  { half: 'simulator', open: () => openSimulator({ memoryBytes: 2 ** 20 }), skip: false },
  { half: 'driver', open: openStubbed, skip: skipsStub },
];
afterAll(() => stub?.remove());

for (const { half, open, skip } of halves) {
  describe.skipIf(skip)(half, () => {
    let device: Device;
    let other: Device;
    let module: Module;
    let kernel: Kernel;
    let stream: Stream;
    let event: Event;
    let pointer: number;
    beforeEach(() => {
      device = open(0);
      other = open(1);
      module = device.loadModule(ptx);
      kernel = module.getFunction('test');
      stream = device.createStream();
      event = device.createEvent();
      pointer = device.alloc(64);
      device.memsetAsync(pointer, 0, 64);
    });
    afterEach(() => {
      device[Symbol.dispose]();
      other[Symbol.dispose]();
    });

    function refused(use: () => unknown, code: string): void {
      let error: unknown;
      try {
        use();
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(CudaError);
      expect((error as CudaError).code).toBe(code);
    }
    const bytes = () => new Uint8Array(4);
    const launch = (on?: Stream) => device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0), on);
    /** Everything that takes a stream. */
    const uses: [string, (on: Stream) => unknown][] = [
      ['alloc', (on) => device.alloc(4, on)],
      ['free', (on) => device.free(pointer, on)],
      ['writeAsync', (on) => device.writeAsync(pointer, bytes(), on)],
      ['writeAsync of nothing', (on) => device.writeAsync(pointer, new Uint8Array(0), on)],
      ['readAsync', (on) => device.readAsync(bytes(), pointer, on)],
      ['readAsync of nothing', (on) => device.readAsync(new Uint8Array(0), pointer, on)],
      ['copyAsync', (on) => device.copyAsync(pointer, pointer + 8, 4, on)],
      ['memsetAsync', (on) => device.memsetAsync(pointer, 0, 4, on)],
      ['launch', launch],
      ['capture', (on) => device.capture(on, () => {})],
      ['Event.record', (on) => event.record(on)],
      ['Graph.launch', (on) => device.capture(stream, () => launch(stream)).launch(on)],
    ];

    it.each(uses)("%s on another device's stream", (_, use) => refused(() => use(other.createStream()), invalidHandle));
    it.each(uses)('%s on a disposed stream', (_, use) => {
      const on = device.createStream();
      on[Symbol.dispose]();
      refused(() => use(on), invalidHandle);
    });
    it('waiting for a disposed stream', async () => {
      stream[Symbol.dispose]();
      refused(() => stream.query(), invalidHandle);
      refused(() => stream.wait(event), invalidHandle);
      await expect(stream.synchronize()).rejects.toThrow(CudaError);
    });

    it('allocation while a graph is recorded, by the stream or as the default one', () => {
      refused(() => device.capture(stream, () => device.alloc(16, stream)), captureUnsupported);
      refused(() => device.capture(stream, () => device.free(pointer, stream)), captureUnsupported);
      refused(() => device.capture(device.defaultStream, () => device.alloc(16)), captureUnsupported);
      device.capture(stream, () => device.free(device.alloc(16)));
    });
    it('waiting for a stream that is recorded, and recording while another recording runs', () => {
      refused(() => device.capture(stream, () => stream.query()), captureUnsupported);
      refused(() => device.capture(stream, () => device.capture(stream, () => {})), captureUnsupported);
      refused(() => device.capture(stream, () => device.capture(device.defaultStream, () => {})), captureUnsupported);
      device.capture(stream, () => {})[Symbol.dispose]();
    });

    it("another device's kernel, a disposed module and its kernels", () => {
      const foreign = other.loadModule(ptx).getFunction('test');
      refused(() => device.launch(foreign, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0)), invalidHandle);
      launch();
      module[Symbol.dispose]();
      refused(launch, invalidHandle);
      refused(() => module.getFunction('test'), invalidHandle);
      refused(() => module.getGlobal('table'), invalidHandle);
    });
    it('a disposed graph', () => {
      const graph = device.capture(stream, () => launch(stream));
      graph.launch();
      graph[Symbol.dispose]();
      refused(() => graph.launch(), invalidHandle);
    });

    it('events: of another device, disposed, and times of what has not happened', async () => {
      const foreign = other.createEvent();
      const later = device.createEvent();
      refused(() => stream.wait(foreign), invalidHandle);
      refused(() => event.elapsedSince(later), invalidHandle);
      event.record();
      refused(() => event.elapsedSince(later), invalidHandle);
      refused(() => later.elapsedSince(event), invalidHandle);
      later.record();
      expect(later.elapsedSince(event)).toBeGreaterThanOrEqual(0);
      refused(() => later.elapsedSince(foreign), invalidHandle);
      event[Symbol.dispose]();
      refused(() => event.record(), invalidHandle);
      refused(() => event.query(), invalidHandle);
      refused(() => stream.wait(event), invalidHandle);
      refused(() => later.elapsedSince(event), invalidHandle);
      await expect(event.synchronize()).rejects.toThrow(CudaError);
    });

    it.each([-1, 1.5, Number.NaN, 2 ** 60])('allocation of %d bytes', (size) => {
      expect(() => device.alloc(size)).toThrow(RangeError);
      expect(() => device.allocHost(size)).toThrow(RangeError);
    });
    it('an allocation that is freed twice, or is not one', () => {
      device.free(pointer);
      refused(() => device.free(pointer), 'CUDA_ERROR_INVALID_VALUE');
      refused(() => device.free(pointer + 16), 'CUDA_ERROR_INVALID_VALUE');
      device.free(device.alloc(0));
    });
    it('the bytes of a disposed host buffer', () => {
      const [one, two] = [device.allocHost(16), device.allocHost(16)];
      one[Symbol.dispose]();
      device[Symbol.dispose]();
      // Node 20 cannot detach an array.
      if ('transfer' in ArrayBuffer.prototype) expect([one.bytes.length, two.bytes.length]).toEqual([0, 0]);
    });

    it('everything after dispose', async () => {
      const graph = device.capture(stream, () => launch(stream));
      device[Symbol.dispose]();
      device[Symbol.dispose]();
      const calls: [string, () => unknown][] = [
        ['loadModule', () => device.loadModule(ptx)],
        ['alloc', () => device.alloc(4)],
        ['free', () => device.free(pointer)],
        ['allocHost', () => device.allocHost(4)],
        ['memoryInfo', () => device.memoryInfo()],
        ['writeAsync', () => device.writeAsync(pointer, bytes())],
        ['readAsync', () => device.readAsync(bytes(), pointer)],
        ['copyAsync', () => device.copyAsync(pointer, pointer + 8, 4)],
        ['memsetAsync', () => device.memsetAsync(pointer, 0, 4)],
        ['launch', () => launch()],
        ['createStream', () => device.createStream()],
        ['createEvent', () => device.createEvent()],
        ['capture', () => device.capture(stream, () => {})],
        ['getFunction', () => module.getFunction('test')],
        ['getGlobal', () => module.getGlobal('table')],
        ['Stream.query', () => stream.query()],
        ['Stream.wait', () => stream.wait(event)],
        ['Event.record', () => event.record()],
        ['Event.query', () => event.query()],
        ['Graph.launch', () => graph.launch()],
      ];
      for (const [name, call] of calls) {
        expect(call, name).toThrow(CudaError);
        expect(call, name).toThrow(/disposed/);
      }
      await expect(device.synchronize()).rejects.toThrow(CudaError);
      for (const resource of [graph, event, stream, module]) resource[Symbol.dispose]();
    });
  });
}

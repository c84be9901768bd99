// The driver half against a stub libcuda: what is called, with which bytes, and what becomes of everything.
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { openDriver } from '../../../kernels/cuda/runtime/src/driver/driver.ts';
import { ArgumentBlock } from '../../../kernels/cuda/runtime/src/runtime.ts';
import { buildStub, type Stub, skipsStub } from './support/stub.ts';

const ptx = '.version 7.0\n.target sm_80\n.address_size 64\n// .entry comment\n.visible .entry axpy(\n.entry other(';
/** Names of the calls, without arguments. */
const names = (calls: string[]) => calls.map((call) => call.split(' ')[0]);
const sum = (keys: string[]) => Object.fromEntries(keys.map((key) => [key, keys.filter((k) => k === key).length]));

describe.skipIf(skipsStub)('driver', () => {
  let stub: Stub;
  const build = (options?: { old: boolean }) => {
    stub?.remove();
    stub = buildStub(options);
  };
  beforeEach(() => build());
  afterAll(() => stub.remove());

  it('lists devices with their attributes', () => {
    const driver = openDriver({ library: stub.path });
    expect(driver.version).toBe('13.0');
    expect(driver.devices.map(({ ordinal, name }) => [ordinal, name])).toEqual([
      [0, 'Stub 0'],
      [1, 'Stub 1'],
    ]);
    // The stub says 1000 + its CUdevice_attribute where it says nothing in particular.
    expect(driver.devices[1].attributes).toEqual({
      computeCapability: [8, 6],
      multiprocessors: 1016,
      warpSize: 1010,
      maxThreadsPerBlock: 1001,
      maxThreadsPerMultiprocessor: 1039,
      maxBlocksPerMultiprocessor: 1106,
      maxRegistersPerBlock: 1012,
      maxRegistersPerMultiprocessor: 1082,
      sharedMemoryPerBlock: 49152,
      sharedMemoryPerBlockOptin: 101376,
      sharedMemoryPerMultiprocessor: 1081,
      maxGrid: [2147483647, 65535, 65535],
      maxBlock: [1024, 1024, 64],
      l2Bytes: 1038,
      clockKHz: 1013,
      memoryClockKHz: 1036,
      memoryBusBits: 1037,
      totalMemory: 2 ** 30,
      memoryPools: true,
    });
  });

  it('packs arguments byte for byte and passes the launch shape', () => {
    using device = openDriver({ library: stub.path }).open();
    const kernel = device.loadModule(ptx).getFunction('axpy');
    stub.calls();
    const args = new ArgumentBlock();
    args.pointer(0x7f12_3456_789a).i32(-2).f64(1).f32(0.5).i64(-3);
    device.launch(kernel, [7, 6, 5], [4, 3, 2], 99, args.bytes);
    args
      .reset()
      .i32(258)
      .pointer(2 ** 52);
    device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, args.bytes);
    device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0));
    const stream = /stream (\w+)/;
    const calls = stub.calls().map((call) => call.replace(stream, 'stream'));
    expect(calls).toEqual([
      'args 9a 78 56 34 12 7f 00 00 fe ff ff ff 00 00 00 00 00 00 00 00 00 00 f0 3f 00 00 00 3f 00 00 00 00 fd ff ff ff ff ff ff ff',
      'cuLaunchKernel (7 6 5) (4 3 2) 99 stream',
      'args 02 01 00 00 00 00 00 00 00 00 00 00 00 00 10 00',
      'cuLaunchKernel (1 1 1) (1 1 1) 0 stream',
      'args',
      'cuLaunchKernel (1 1 1) (1 1 1) 0 stream',
    ]);
  });

  it('moves bytes there and back, also out of the middle of an array, a shared one and a page-locked one', async () => {
    using device = openDriver({ library: stub.path }).open();
    const a = device.alloc(64);
    const b = device.alloc(64);
    const shared = new Uint8Array(new SharedArrayBuffer(96), 32);
    using locked = device.allocHost(64);
    const source = Uint8Array.from({ length: 100 }, (_, i) => i).subarray(36);
    device.writeAsync(a, source);
    device.memsetAsync(a + 4, 0xab, 8);
    device.copyAsync(b, a, 64);
    device.readAsync(shared, b);
    device.readAsync(locked.bytes, b);
    await device.synchronize();
    const expected = Uint8Array.from(source).fill(0xab, 4, 12);
    expect(Uint8Array.from(shared)).toEqual(expected);
    expect(Uint8Array.from(locked.bytes)).toEqual(expected);
    stub.calls();
    device.writeAsync(a, new Uint8Array(0));
    device.memsetAsync(a, 0, 0);
    expect(stub.calls()).toEqual([]);
  });

  it('keeps memory in the pool, and counts what lies unused there as free', () => {
    const device = openDriver({ library: stub.path }).open();
    expect(stub.threshold()).toBe(2n ** 64n - 1n);
    const pointer = device.alloc(1000);
    expect(device.memoryInfo()).toEqual({ freeBytes: 2 ** 30 - 1000 + 4096, totalBytes: 2 ** 30 });
    device.free(pointer);
    expect(() => device.free(pointer)).toThrow(
      /free of 0x[0-9a-f]+, which alloc did not return or which is free already/,
    );
    expect(sum(names(stub.calls()))).toMatchObject({ cuMemAllocAsync: 1, cuMemFreeAsync: 1 });
    device[Symbol.dispose]();
    expect(stub.threshold()).toBe(0n);
  });

  it.each([
    ['a device without pools', () => stub.machine(12000, 1, false)],
    ['a driver without the functions', () => build({ old: true })],
  ])('allocates plainly on %s', (_, prepare) => {
    prepare();
    using device = openDriver({ library: stub.path }).open();
    expect(device.attributes.memoryPools).toBe(false);
    device.free(device.alloc(0));
    expect(device.memoryInfo()).toEqual({ freeBytes: 2 ** 30, totalBytes: 2 ** 30 });
    const calls = sum(names(stub.calls()));
    expect(calls).toMatchObject({ cuMemAlloc_v2: 1, cuMemFree_v2: 1 });
    expect(calls).not.toHaveProperty('cuMemAllocAsync');
  });

  it('reads the attributes of a kernel and opts in to shared memory', () => {
    using device = openDriver({ library: stub.path }).open();
    using module = device.loadModule(ptx);
    expect(stub.calls().at(-1)).toBe(
      `cuModuleLoadDataEx ${ptx.length} characters, logs of 65536 and 65536 bytes, verbose 1`,
    );
    expect(module.infoLog).toBe('ptxas info : Used 12 registers');
    const kernel = module.getFunction('axpy');
    expect(module.getFunction('axpy')).toBe(kernel);
    const { name, registers, sharedBytes, localBytes, maxThreads } = kernel;
    expect({ name, registers, sharedBytes, localBytes, maxThreads }).toEqual({
      name: 'axpy',
      registers: 40,
      sharedBytes: 1024,
      localBytes: 16,
      maxThreads: 256,
    });
    stub.calls();
    kernel.setMaxDynamicShared(65536);
    // The driver would take the smaller number for the new limit.
    kernel.setMaxDynamicShared(50000);
    kernel.setMaxDynamicShared(65536);
    expect(stub.calls()).toEqual(['cuFuncSetAttribute 8 65536']);
    expect(() => kernel.setMaxDynamicShared(101376)).toThrow(
      'axpy: 101376 bytes of dynamic shared memory, the device allows 100352 beside 1024 static',
    );
    expect(module.getGlobal('table')).toEqual({ pointer: 0x7f0123456700, bytes: 24 });
    expect(stub.calls()).toHaveLength(1);
    module[Symbol.dispose]();
    expect(() => device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0))).toThrow(
      'this module (module) is disposed',
    );
  });

  it('waits by asking, without blocking the event loop', async () => {
    using device = openDriver({ library: stub.path }).open();
    using stream = device.createStream();
    using start = device.createEvent();
    using end = device.createEvent();
    start.record(stream);
    end.record();
    stream.wait(end);
    stub.notReady(3);
    expect(end.query()).toBe(false);
    let turns = 0;
    const ticking = setImmediate(() => turns++);
    await end.synchronize();
    clearImmediate(ticking);
    expect(turns).toBe(1);
    expect(end.elapsedSince(start)).toBe(1.5);
    stub.notReady(1);
    expect(stream.query()).toBe(false);
    await stream.synchronize();
    expect(sum(names(stub.calls()))).toMatchObject({ cuEventQuery: 4, cuStreamQuery: 2, cuStreamWaitEvent: 1 });
  });

  it.each([
    ['', { old: false }],
    [' on a driver before 11.4', { old: true }],
  ])('records a graph and launches it again%s', (_, options) => {
    build(options);
    using device = openDriver({ library: stub.path }).open();
    using stream = device.createStream();
    const kernel = device.loadModule(ptx).getFunction('axpy');
    const pointer = device.alloc(16);
    stub.calls();
    using graph = device.capture(stream, () => {
      device.writeAsync(pointer, new Uint8Array(16), stream);
      device.launch(kernel, [1, 1, 1], [32, 1, 1], 0, new Uint8Array(8), stream);
      expect(() => device.alloc(16, stream)).toThrow('alloc on a stream that is being recorded into a graph');
    });
    const recorded = stub.calls();
    expect(names(recorded)).toEqual([
      'cuStreamBeginCapture_v2',
      'cuMemcpyHtoDAsync_v2',
      'args',
      'cuLaunchKernel',
      'cuStreamEndCapture',
      options.old ? 'cuGraphInstantiate_v2' : 'cuGraphInstantiateWithFlags',
      'cuGraphDestroy',
    ]);
    expect(recorded[1]).toMatch(/recorded$/);
    expect(recorded[3]).toMatch(/recorded$/);
    graph.launch();
    graph.launch(device.defaultStream);
    const launches = stub.calls();
    expect(names(launches)).toEqual(['cuGraphLaunch', 'cuGraphLaunch']);
    expect(launches[0]).not.toBe(launches[1]);
  });

  it('ends recording when the callback throws', () => {
    using device = openDriver({ library: stub.path }).open();
    using stream = device.createStream();
    stub.calls();
    const record = () => {
      throw new Error('mine');
    };
    expect(() => device.capture(stream, record)).toThrow('mine');
    expect(names(stub.calls())).toEqual(['cuStreamBeginCapture_v2', 'cuStreamEndCapture', 'cuGraphDestroy']);
    device.free(device.alloc(1, stream), stream);
  });

  it('makes the context of the device in use current, and no more often than needed', () => {
    const driver = openDriver({ library: stub.path });
    using first = driver.open(0);
    using second = driver.open(1);
    stub.calls();
    first.alloc(1);
    first.alloc(1);
    second.alloc(1);
    first.alloc(1);
    const contexts = stub.calls().filter((call) => call.startsWith('cuCtxSetCurrent'));
    expect(contexts).toEqual(['cuCtxSetCurrent 106', 'cuCtxSetCurrent 107', 'cuCtxSetCurrent 106']);
    const own = first.loadModule(ptx).getFunction('axpy');
    second.alloc(1);
    stub.calls();
    first.launch(own, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0));
    expect(names(stub.calls())).toEqual(['cuCtxSetCurrent', 'args', 'cuLaunchKernel']);
    const foreign = second.createStream();
    expect(() => first.alloc(1, foreign)).toThrow('not a stream of device 0 (Stub 0)');
    const kernel = second.loadModule(ptx).getFunction('axpy');
    expect(() => first.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0))).toThrow(/no kernel of device 0/);
  });

  it('makes the context current again when a device is opened a second time', () => {
    const driver = openDriver({ library: stub.path });
    driver.open()[Symbol.dispose]();
    stub.calls();
    using device = driver.open();
    expect(names(stub.calls()).slice(0, 2)).toEqual(['cuDevicePrimaryCtxRetain', 'cuCtxSetCurrent']);
    expect(device.allocHost(0).bytes).toHaveLength(0);
  });

  it('releases everything, newest first, once', () => {
    const device = openDriver({ library: stub.path }).open();
    const module = device.loadModule(ptx);
    const kernel = module.getFunction('axpy');
    const stream = device.createStream();
    const event = device.createEvent();
    const graph = device.capture(stream, () => {});
    const locked = device.allocHost(128);
    device.alloc(256);
    event[Symbol.dispose]();
    event[Symbol.dispose]();
    expect(() => event.record()).toThrow('this event is disposed');
    stub.calls();
    device[Symbol.dispose]();
    device[Symbol.dispose]();
    for (const resource of [module, stream, event, graph, locked]) resource[Symbol.dispose]();
    expect(names(stub.calls())).toEqual([
      'cuCtxSynchronize',
      'cuMemFreeHost',
      'cuGraphExecDestroy',
      'cuStreamDestroy_v2',
      'cuModuleUnload',
      'cuStreamDestroy_v2',
      'cuMemFree_v2',
      'cuMemPoolTrimTo',
      'cuCtxSetCurrent',
      'cuDevicePrimaryCtxRelease_v2',
    ]);
    expect(stub.used()).toBe(0);
    expect(locked.bytes).toHaveLength(0);
    for (const use of [
      () => device.alloc(1),
      () => device.createStream(),
      () => device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0)),
      () => device.loadModule(ptx),
      () => device.memoryInfo(),
    ]) {
      expect(use).toThrow(/disposed/);
    }
    expect(stub.calls()).toEqual([]);
  });
});

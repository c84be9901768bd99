// Every failure of the driver becomes an error of its own class that says what was found and what is needed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openDriver } from '../../../kernels/cuda/runtime/src/driver/driver.ts';
import { libraryNames } from '../../../kernels/cuda/runtime/src/driver/libraryNames.ts';
import {
  CudaError,
  InvalidPtx,
  LaunchError,
  NoDevice,
  NoDriver,
  OutOfMemory,
  PtxVersionUnsupported,
} from '../../../kernels/cuda/runtime/src/runtime.ts';
import { buildStub, type Stub, skipsStub } from './support/stub.ts';

const module = (version: string, target: string, body = '') =>
  `.version ${version}\n.target ${target}\n.address_size 64\n.visible .entry axpy()\n${body}`;

function thrown(work: () => unknown): CudaError {
  try {
    work();
  } catch (error) {
    if (error instanceof CudaError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('no driver', () => {
  it('names what was tried', () => {
    const error = thrown(() => openDriver({ library: 'libcuda-that-is-absent.so.1' }));
    expect(error).toBeInstanceOf(NoDriver);
    expect(error.code).toBe('CUDA_ERROR_SHARED_OBJECT_INIT_FAILED');
    expect(error.message).toBe(
      'no NVIDIA driver found: tried libcuda-that-is-absent.so.1. The NVIDIA driver is needed, the CUDA toolkit is not',
    );
    // A file that is there and no library.
    const { message } = thrown(() => openDriver({ library: fileURLToPath(import.meta.url) }));
    expect(message).toMatch(/driver\.errors\.test\.ts \(.+\)\. The NVIDIA driver/);
  });

  it('knows the library of each platform, under WSL where Windows mounts it', () => {
    expect(libraryNames('linux')).toEqual(['libcuda.so.1', '/usr/lib/wsl/lib/libcuda.so.1', 'libcuda.so']);
    expect(libraryNames('win32')).toEqual(['nvcuda.dll']);
    expect(libraryNames('darwin')).toEqual([]);
  });

  it('a platform that has none', () => {
    const platform = vi.spyOn(process, 'platform', 'get').mockReturnValue('darwin');
    try {
      const error = thrown(() => openDriver());
      expect(error).toBeInstanceOf(NoDriver);
      expect(error.message).toBe('CUDA has no driver for darwin; Linux, Windows and WSL have one');
    } finally {
      platform.mockRestore();
    }
  });

  it('a machine that koffi has no binary for: the simulator opens, the driver does not', () => {
    // A copy of the package with no packages above it.
    const folder = mkdtempSync(join(tmpdir(), 'no-koffi-'));
    try {
      const runtime = fileURLToPath(new URL('../../../kernels/cuda/runtime/', import.meta.url));
      for (const path of ['package.json', 'src']) cpSync(join(runtime, path), join(folder, path), { recursive: true });
      const program = `
        import { NoDriver, openDriver, openSimulator } from './src/index.ts';
        openSimulator();
        try { openDriver({ library: 'any' }); } catch (error) { console.log(error instanceof NoDriver, error.message); }`;
      const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
        cwd: folder,
        encoding: 'utf8',
      });
      expect(stderr).toBe('');
      const { platform, arch } = process;
      expect(stdout).toBe(
        `true the CUDA driver is called through the package koffi, which has no binary for ${platform}-${arch} here\n`,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.skipIf(skipsStub)('driver errors', () => {
  let stub: Stub;
  const open = () => openDriver({ library: stub.path });
  beforeEach(() => {
    stub = buildStub();
  });
  afterEach(() => stub.remove());

  it('a driver older than CUDA 11', () => {
    stub.machine(10020, 1, false);
    const error = thrown(open);
    expect(error).toBeInstanceOf(NoDriver);
    expect(error.message).toMatch(/is for CUDA 10\.2; CUDA 11\.0 or newer is needed$/);
  });

  it('a driver without a device, and a device that is not there', () => {
    stub.machine(12040, 0, true);
    const error = thrown(open);
    expect(error).toBeInstanceOf(NoDevice);
    expect(error).toMatchObject({ code: 'CUDA_ERROR_NO_DEVICE', result: 100 });
    expect(error.message).toMatch(/\(CUDA 12\.4\) shows no device to this process.*; an NVIDIA GPU is needed$/);
    stub.reset();
    const absent = thrown(() => open().open(2));
    expect(absent).toBeInstanceOf(NoDevice);
    expect(absent.message).toBe('no CUDA device 2; found 0: Stub 0, 1: Stub 1');
  });

  it("the toolkit's stub library, and a driver that does not start", () => {
    stub.fail('cuInit', 34);
    const error = thrown(open);
    expect(error).toBeInstanceOf(NoDriver);
    expect(error.message).toMatch(/toolkit's stub library, not the NVIDIA driver$/);
    stub.fail('cuInit', 803);
    expect(thrown(open)).toMatchObject({ code: 'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH', result: 803 });
    stub.fail('cuInit', 4711);
    expect(thrown(open).message).toMatch(/did not start: CUDA_ERROR_4711 \(4711, unknown to this driver\)$/);
    open();
  });

  // As CUDA 11.1 and later say it (222), and as 11.0 does (218).
  it.each([222, 218])('PTX newer than the driver (%i)', (result) => {
    stub.machine(12040, 1, true);
    using device = open().open();
    stub.fail('cuModuleLoadDataEx', result);
    const error = thrown(() => device.loadModule(module('9.0', 'sm_80'), 'gemm'));
    expect(error).toBeInstanceOf(PtxVersionUnsupported);
    expect(error.result).toBe(result);
    expect(error.message).toBe(
      'gemm is PTX 9.0, which needs a driver for CUDA 13.0; this driver is for CUDA 12.4 and takes PTX up to 8.4',
    );
  });

  it('PTX for a newer device', () => {
    using device = open().open();
    stub.fail('cuModuleLoadDataEx', 209);
    const error = thrown(() => device.loadModule(module('7.0', 'sm_90'), 'gemm'));
    expect(error).toBeInstanceOf(PtxVersionUnsupported);
    expect(error.message).toBe('gemm is for sm_90 and newer; device 0 (Stub 0) is sm_86');
  });

  it("PTX with an error carries the compiler's log", () => {
    using device = open().open();
    const error = thrown(() => device.loadModule(module('7.0', 'sm_80', 'nonsense'), 'norm')) as InvalidPtx;
    expect(error).toBeInstanceOf(InvalidPtx);
    expect(error.log).toBe("ptxas application ptx input, line 5; fatal : Parsing error near 'nonsense'");
    expect(error.message).toBe(`norm: CUDA_ERROR_INVALID_PTX (words of the driver)\n${error.log}`);
    stub.fail('cuModuleLoadDataEx', 221);
    expect(thrown(() => device.loadModule(module('7.0', 'sm_80'))).message).toMatch(/libnvidia-ptxjitcompiler/);
  });

  it('kernels and variables that are not there', () => {
    using device = open().open();
    const loaded = device.loadModule(module('7.0', 'sm_80'), 'norm');
    const error = thrown(() => loaded.getFunction('absent'));
    expect(error).toMatchObject({
      code: 'CUDA_ERROR_NOT_FOUND',
      message: 'norm has no kernel absent; its kernels: axpy',
    });
    expect(thrown(() => loaded.getGlobal('absent')).message).toMatch(/^norm has no variable absent/);
  });

  it('out of memory, with requested, free and total bytes', () => {
    using device = open().open();
    device.alloc(2 ** 29);
    const error = thrown(() => device.alloc(2 ** 30));
    expect(error).toBeInstanceOf(OutOfMemory);
    expect(error.message).toBe(
      "alloc of 1073741824 bytes on device 0 (Stub 0): out of memory; of the device's 1073741824 bytes 536875008 are free, 536870912 are allocated here",
    );
    expect(thrown(() => device.allocHost(2 ** 31))).toBeInstanceOf(OutOfMemory);
    expect(() => device.alloc(-1)).toThrow(RangeError);
    expect(() => device.alloc(1.5)).toThrow(RangeError);
  });

  it('launches that the device refuses say why', () => {
    using device = open().open();
    const kernel = device.loadModule(module('7.0', 'sm_80')).getFunction('axpy');
    const launch = (grid: number, block: number, shared: number) =>
      thrown(() => device.launch(kernel, [grid, 1, 1], [block, 1, 1], shared, new Uint8Array(8)));
    const error = launch(0, 512, 50000);
    expect(error).toBeInstanceOf(LaunchError);
    expect(error.message).toBe(
      'axpy: grid (0,1,1) is outside (2147483647,65535,65535); 512 threads a block, the kernel allows 256; ' +
        '50000 bytes of dynamic shared memory, allowed are 48128 (see setMaxDynamicShared): ' +
        'CUDA_ERROR_INVALID_VALUE (1, words of the driver)',
    );
    stub.fail('cuLaunchKernel', 701);
    expect(launch(1, 32, 0)).toMatchObject({ code: 'CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES' });
    const many = () => device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(32768));
    expect(thrown(many).message).toMatch(/32768 bytes of arguments, at most 32764$/);
  });

  it('a kernel that failed is reported by whoever waits for it, and disposing stays quiet', async () => {
    const device = open().open();
    const kernel = device.loadModule(module('7.0', 'sm_80')).getFunction('axpy');
    device.launch(kernel, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0));
    for (const name of ['cuStreamQuery', 'cuCtxSynchronize', 'cuModuleUnload', 'cuStreamDestroy_v2']) {
      stub.fail(name, 700, { times: 99 });
    }
    const error = await device.synchronize().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(LaunchError);
    expect((error as LaunchError).code).toBe('CUDA_ERROR_ILLEGAL_ADDRESS');
    expect((error as LaunchError).message).toMatch(/context is lost; the last one launched: axpy$/);
    device[Symbol.dispose]();
  });

  it('with the context lost, freeing stays quiet and a launch does not take the blame', () => {
    using device = open().open();
    const loaded = device.loadModule(module('7.0', 'sm_80'));
    const [failing, next] = [loaded.getFunction('axpy'), loaded.getFunction('other')];
    const pointer = device.alloc(16);
    device.launch(failing, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0));
    stub.fail('cuMemFreeAsync', 700);
    device.free(pointer);
    stub.fail('cuLaunchKernel', 700);
    const error = thrown(() => device.launch(next, [1, 1, 1], [1, 1, 1], 0, new Uint8Array(0)));
    expect(error).toBeInstanceOf(LaunchError);
    expect(error.message).toBe(
      'launch of other: CUDA_ERROR_ILLEGAL_ADDRESS (700, words of the driver). ' +
        "A kernel failed and the device's context is lost; the last one launched: axpy",
    );
    const another = device.alloc(16);
    stub.fail('cuMemFreeAsync', 1);
    expect(() => device.free(another)).toThrow(/^free of 0x\w+: CUDA_ERROR_INVALID_VALUE/);
  });

  it('a full pool gives back what it does not use before memory counts as missing', () => {
    using device = open().open();
    stub.fail('cuMemAllocAsync', 2);
    stub.calls();
    device.free(device.alloc(4096));
    expect(stub.calls().map((call) => call.replace(/ stream.*/, ''))).toEqual([
      'cuMemAllocAsync 4096',
      'cuCtxSynchronize',
      'cuMemPoolTrimTo 0',
      'cuMemAllocAsync 4096',
      'cuMemFreeAsync',
    ]);
  });

  it('a graph that the driver gives up', () => {
    using device = open().open();
    using stream = device.createStream();
    stub.fail('cuStreamEndCapture', 901);
    expect(thrown(() => device.capture(stream, () => {}))).toMatchObject({
      code: 'CUDA_ERROR_STREAM_CAPTURE_INVALIDATED',
    });
    stub.fail('cuGraphInstantiateWithFlags', 1);
    stub.calls();
    expect(thrown(() => device.capture(stream, () => {})).message).toMatch(
      /^instantiating a graph: CUDA_ERROR_INVALID_VALUE/,
    );
    expect(stub.calls().at(-1)).toMatch(/^cuGraphDestroy/);
  });

  it('a device that cannot be set up gives its context back', () => {
    const driver = open();
    stub.fail('cuStreamCreate', 2);
    stub.calls();
    expect(thrown(() => driver.open())).toBeInstanceOf(OutOfMemory);
    expect(stub.calls().at(-1)).toBe('cuDevicePrimaryCtxRelease_v2 70');
  });
});

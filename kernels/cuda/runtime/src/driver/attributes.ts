import type { DeviceAttributes } from '../runtime.ts';
import type { Library } from './library.ts';
import { check } from './result.ts';

// CUdevice_attribute
const number = {
  maxThreadsPerBlock: 1,
  maxBlockX: 2,
  maxBlockY: 3,
  maxBlockZ: 4,
  maxGridX: 5,
  maxGridY: 6,
  maxGridZ: 7,
  sharedMemoryPerBlock: 8,
  warpSize: 10,
  maxRegistersPerBlock: 12,
  clockKHz: 13,
  multiprocessors: 16,
  memoryClockKHz: 36,
  memoryBusBits: 37,
  l2Bytes: 38,
  maxThreadsPerMultiprocessor: 39,
  major: 75,
  minor: 76,
  sharedMemoryPerMultiprocessor: 81,
  maxRegistersPerMultiprocessor: 82,
  sharedMemoryPerBlockOptin: 97,
  maxBlocksPerMultiprocessor: 106,
  memoryPools: 115,
} as const;

/** Attributes of `device` (a CUdevice). */
export function readAttributes(library: Library, device: number): DeviceAttributes {
  const word = new Int32Array(1);
  const read = (key: keyof typeof number): number => {
    check(library, library.entry('cuDeviceGetAttribute')(word, number[key], device), `device attribute ${key}`);
    return word[0];
  };
  const bytes = new BigUint64Array(1);
  check(library, library.entry('cuDeviceTotalMem_v2')(bytes, device), 'cuDeviceTotalMem');
  return {
    computeCapability: [read('major'), read('minor')],
    multiprocessors: read('multiprocessors'),
    warpSize: read('warpSize'),
    maxThreadsPerBlock: read('maxThreadsPerBlock'),
    maxThreadsPerMultiprocessor: read('maxThreadsPerMultiprocessor'),
    maxBlocksPerMultiprocessor: read('maxBlocksPerMultiprocessor'),
    maxRegistersPerBlock: read('maxRegistersPerBlock'),
    maxRegistersPerMultiprocessor: read('maxRegistersPerMultiprocessor'),
    sharedMemoryPerBlock: read('sharedMemoryPerBlock'),
    sharedMemoryPerBlockOptin: read('sharedMemoryPerBlockOptin'),
    sharedMemoryPerMultiprocessor: read('sharedMemoryPerMultiprocessor'),
    maxGrid: [read('maxGridX'), read('maxGridY'), read('maxGridZ')],
    maxBlock: [read('maxBlockX'), read('maxBlockY'), read('maxBlockZ')],
    l2Bytes: read('l2Bytes'),
    clockKHz: read('clockKHz'),
    memoryClockKHz: read('memoryClockKHz'),
    memoryBusBits: read('memoryBusBits'),
    totalMemory: Number(bytes[0]),
    memoryPools: library.has('cuMemAllocAsync') && read('memoryPools') === 1,
  };
}

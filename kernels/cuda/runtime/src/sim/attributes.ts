import type { DeviceAttributes } from '../runtime.ts';

/** Limits of an architecture, from the CUDA programming guide's table of compute capabilities. */
export function attributesOf(capability: readonly [number, number], totalMemory: number): DeviceAttributes {
  const sm = capability[0] * 10 + capability[1];
  const optin = sm >= 90 ? 227 : sm === 80 || sm === 87 ? 163 : sm >= 80 ? 99 : 64;
  return {
    computeCapability: capability,
    multiprocessors: 1,
    warpSize: 32,
    maxThreadsPerBlock: 1024,
    maxThreadsPerMultiprocessor: sm === 75 ? 1024 : sm === 80 || sm >= 90 ? 2048 : 1536,
    maxBlocksPerMultiprocessor: sm >= 90 || sm === 80 ? 32 : 16,
    maxRegistersPerBlock: 65536,
    maxRegistersPerMultiprocessor: 65536,
    sharedMemoryPerBlock: 49152,
    sharedMemoryPerBlockOptin: optin * 1024,
    sharedMemoryPerMultiprocessor: (optin + 1) * 1024,
    maxGrid: [2147483647, 65535, 65535],
    maxBlock: [1024, 1024, 64],
    l2Bytes: 0,
    clockKHz: 0,
    memoryClockKHz: 0,
    memoryBusBits: 0,
    totalMemory,
    memoryPools: true,
  };
}

import { expect, test } from 'vitest';
import { gpus, residentBlocks, roofline } from '../../bench/ptxModel.ts';

const [a100, rtx4090] = gpus;

test('blocks on a multiprocessor are limited by registers, shared memory and warps', () => {
  // 126 registers are given as 128: 32,768 of 65,536 for 256 threads.
  expect(residentBlocks({ registers: 126, spilledBytes: 0, sharedBytes: 49152 }, 256, a100)).toBe(2);
  expect(residentBlocks({ registers: 129, spilledBytes: 0, sharedBytes: 49152 }, 256, a100)).toBe(1);
  expect(residentBlocks({ registers: 32, spilledBytes: 0, sharedBytes: 49152 }, 256, a100)).toBe(3);
  expect(residentBlocks({ registers: 32, spilledBytes: 0, sharedBytes: 0 }, 256, a100)).toBe(8);
  expect(residentBlocks({ registers: 32, spilledBytes: 0, sharedBytes: 0 }, 256, rtx4090)).toBe(6);
});

test('a product that fills the GPU takes its operations at the peak rate; one block more costs a round', () => {
  const counters = {
    mma: 312e9 / 4096,
    ldmatrix: 0,
    wavefronts: 0,
    ideal: 0,
    warpInstructions: 0,
    loads: 0,
    sectorsRead: 0,
    sectorsWritten: 0,
  };
  const of = (blocks: number) => roofline({ blocks, flops: 0, bytes: 0, counters }, a100).arithmetic;
  expect(of(108)).toBeCloseTo(0.108, 10);
  expect(of(109)).toBeCloseTo(0.216, 10);
  expect(roofline({ blocks: 108, flops: 0, bytes: 2.039e12, counters }, a100).DRAM).toBeCloseTo(1, 10);
});

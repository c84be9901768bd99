import { readFileSync } from 'node:fs';
import { ArgumentBlock, type Dim3 } from '../../../../kernels/cuda/runtime/src/runtime.ts';
import {
  openSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../../../kernels/cuda/runtime/src/sim/simulator.ts';

/** PTX that nvcc made of ptx/<name>.cu. */
export const nvccPtx = (name: string): string => readFileSync(new URL(`../ptx/${name}.ptx`, import.meta.url), 'utf8');

/** An argument of a test kernel: numbers are i32 or, wrapped, f32; arrays become device memory that is read back. */
export type Argument =
  | number
  | { f32: number }
  | Float32Array
  | Int32Array
  | Uint16Array
  | Uint32Array
  | BigInt64Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | { unwritten: number };

/** Wraps a body of PTX in a module with one entry `test` and its usual registers. */
export function entry(params: number, body: string, header = ''): string {
  const list = Array.from({ length: params }, (_, k) => `.param .u64 p${k}`).join(', ');
  return `.version 7.8
.target sm_80
.address_size 64
${header}
.visible .entry test(${list})
{
  .reg .pred %p<16>; .reg .b16 %h<16>; .reg .b32 %r<64>; .reg .b64 %d<64>; .reg .f32 %f<32>;
${body}
}`;
}

/** Launches a kernel of `ptx` and copies its arrays back; findings are collected in the returned device's `reports`. */
export function launch(
  ptx: string,
  kernel: string,
  grid: Dim3,
  block: Dim3,
  args: readonly Argument[],
  { shared = 0, ...options }: SimulatorOptions & { shared?: number } = {},
): Simulator {
  const device = openSimulator({ memoryBytes: 2 ** 24, onReport: 'collect', ...options });
  const packed = new ArgumentBlock();
  const arrays: { array: Exclude<Argument, number | { f32: number } | { unwritten: number }>; pointer: number }[] = [];
  for (const arg of args) {
    if (typeof arg === 'number') packed.i32(arg);
    else if ('f32' in arg) packed.f32(arg.f32);
    else if ('unwritten' in arg) packed.pointer(device.alloc(arg.unwritten));
    else {
      const pointer = device.alloc(arg.byteLength);
      device.writeAsync(pointer, new Uint8Array(arg.buffer, arg.byteOffset, arg.byteLength));
      arrays.push({ array: arg, pointer });
      packed.pointer(pointer);
    }
  }
  device.launch(device.loadModule(ptx).getFunction(kernel), grid, block, shared, packed.bytes);
  for (const { array, pointer } of arrays)
    device.readAsync(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), pointer);
  return device;
}

/** Text of a random-looking but fixed sequence in [-1, 1). */
export function noise(n: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  });
}

export const toBfloat = (values: Float32Array): Uint16Array => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
};
export const fromBfloat = (values: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(values, (b) => b << 16).buffer);

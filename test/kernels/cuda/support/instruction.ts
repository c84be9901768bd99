import { ArgumentBlock, type Device } from '../../../../kernels/cuda/runtime/src/runtime.ts';
import { needOf } from '../../../../kernels/cuda/runtime/src/sim/instructions/forms.ts';
import { openSimulator, type Simulator } from '../../../../kernels/cuda/runtime/src/sim/simulator.ts';

/** Kind of an operand: r b32, d b64, h b16, f f32, F f64, p predicate. Values are bits, for f and F numbers. */
export type OperandKind = 'r' | 'd' | 'h' | 'f' | 'F' | 'p';
export type Value = number | bigint | boolean;

const declarations: Record<OperandKind, string> = { r: '.b32', d: '.b64', h: '.b16', f: '.f32', F: '.f64', p: '.pred' };

const slots = new DataView(new ArrayBuffer(8));

function toSlot(kind: OperandKind, value: Value): bigint {
  if (kind === 'f') slots.setFloat32(0, Number(value), true);
  else if (kind === 'F') slots.setFloat64(0, Number(value), true);
  else slots.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return slots.getBigUint64(0, true) & (kind === 'f' ? 0xffffffffn : ~0n);
}

function fromSlot(kind: OperandKind, bits: bigint): Value {
  slots.setBigUint64(0, bits, true);
  if (kind === 'f') return slots.getFloat32(0, true);
  if (kind === 'F') return slots.getFloat64(0, true);
  if (kind === 'r') return Number(BigInt.asUintN(32, bits));
  if (kind === 'h') return Number(BigInt.asUintN(16, bits));
  if (kind === 'p') return bits !== 0n;
  return BigInt.asUintN(64, bits);
}

const load: Record<OperandKind, (register: string, offset: number) => string> = {
  r: (x, o) => `ld.global.b32 ${x}, [%in+${o}];`,
  d: (x, o) => `ld.global.b64 ${x}, [%in+${o}];`,
  h: (x, o) => `ld.global.b16 ${x}, [%in+${o}];`,
  f: (x, o) => `ld.global.f32 ${x}, [%in+${o}];`,
  F: (x, o) => `ld.global.f64 ${x}, [%in+${o}];`,
  p: (x, o) => `ld.global.b32 %flag, [%in+${o}]; setp.ne.u32 ${x}, %flag, 0;`,
};
const store: Record<OperandKind, (register: string, offset: number) => string> = {
  r: (x, o) => `st.global.b32 [%out+${o}], ${x};`,
  d: (x, o) => `st.global.b64 [%out+${o}], ${x};`,
  h: (x, o) => `st.global.b16 [%out+${o}], ${x};`,
  f: (x, o) => `st.global.f32 [%out+${o}], ${x};`,
  F: (x, o) => `st.global.f64 [%out+${o}], ${x};`,
  p: (x, o) => `selp.b32 %flag, 1, 0, ${x}; st.global.b32 [%out+${o}], %flag;`,
};

/** The instructions of a piece of PTX: opcodes with their numbers of operands. */
export function instructionsOf(body: string): { opcode: string; operands: number }[] {
  // An opcode is preceded by the end of a statement, a label, a brace or a guard.
  const statements = body.matchAll(/(?<=(?:^|[;{}]|\w:\s|@!?%\w+)\s*)([a-z]\w*(?:\.[\w:]+)*)(?=[\s;])([^;]*);/gm);
  return Array.from(statements, ([, opcode, list]) => {
    const flat = list.replace(/[{([][^\])}]*[\])}]/g, 'x').trim();
    return { opcode, operands: flat === '' ? 0 : flat.split(',').length };
  });
}

/** Kernel whose thread i loads row i of the inputs (8-byte slots), runs `body` on %a, %b, … and stores %x, %y, …. */
export function kernelOf(body: string, sources: OperandKind[], results: OperandKind[]): string {
  const names = (kinds: OperandKind[], letters: string) => kinds.map((kind, k) => ({ kind, name: `%${letters[k]}` }));
  const inputs = names(sources, 'abcdefg');
  const outputs = names(results, 'xyzuvw');
  const registers = [...inputs, ...outputs].map(({ kind, name }) => `.reg ${declarations[kind]} ${name};`).join(' ');
  const needs = instructionsOf(body).map(({ opcode, operands }) => needOf(opcode, operands));
  const sm = Math.max(80, ...needs.map((need) => need?.sm ?? 0));
  const version = Math.max(7.8, ...needs.map((need) => need?.ptx ?? 0));
  return `.version ${version.toFixed(1)}
.target sm_${sm}
.address_size 64
.const .align 8 .b32 constants[4] = {0x89abcdef, 0x01234567, 0x76543210, 0xfedcba98};
.func (.param .b64 r) echo(.param .b64 v) { .reg .b64 t; ld.param.b64 t, [v]; st.param.b64 [r], t; ret; }
.visible .entry test(.param .u64 pin, .param .u64 pout, .param .u32 pn)
{
  .reg .b64 %in, %out, %step; .reg .b32 %flag, %i, %n, %t, %k; .reg .pred %stop;
  ${registers}
  ld.param.u64 %in, [pin]; ld.param.u64 %out, [pout]; ld.param.u32 %n, [pn];
  mov.u32 %i, %ctaid.x; mov.u32 %k, %ntid.x; mov.u32 %t, %tid.x; mad.lo.s32 %i, %i, %k, %t;
  setp.ge.u32 %stop, %i, %n; @%stop ret;
  mul.wide.u32 %step, %i, ${8 * Math.max(sources.length, 1)}; add.s64 %in, %in, %step;
  mul.wide.u32 %step, %i, ${8 * results.length}; add.s64 %out, %out, %step;
  ${inputs.map(({ kind, name }, k) => load[kind](name, 8 * k)).join('\n  ')}
  ${body}
  ${outputs.map(({ kind, name }, k) => store[kind](name, 8 * k)).join('\n  ')}
  ret;
}`;
}

/** Queues PTX made by kernelOf over rows of values; the function returned reads the rows of results once that is done. */
export function queueRows(
  device: Device,
  ptx: string,
  sources: OperandKind[],
  results: OperandKind[],
  rows: readonly (readonly Value[])[],
): () => Value[][] {
  const width = Math.max(sources.length, 1);
  const input = new BigUint64Array(rows.length * width);
  for (const [i, row] of rows.entries())
    for (const [k, kind] of sources.entries()) input[i * width + k] = toSlot(kind, row[k]);
  const pin = device.alloc(input.byteLength);
  const pout = device.alloc(rows.length * results.length * 8);
  device.writeAsync(pin, new Uint8Array(input.buffer));
  device.memsetAsync(pout, 0, rows.length * results.length * 8);
  const module = device.loadModule(ptx);
  const args = new ArgumentBlock().pointer(pin).pointer(pout).i32(rows.length).bytes;
  device.launch(module.getFunction('test'), [Math.ceil(rows.length / 64), 1, 1], [64, 1, 1], 0, args);
  const output = new BigUint64Array(rows.length * results.length);
  device.readAsync(new Uint8Array(output.buffer), pout);
  device.free(pin);
  device.free(pout);
  return () => {
    module[Symbol.dispose]();
    return rows.map((_, i) => results.map((kind, k) => fromSlot(kind, output[i * results.length + k])));
  };
}

let simulator: Simulator | undefined;

/** Runs PTX made by kernelOf over rows of values on the simulator. Checker findings throw. */
export function runRows(
  ptx: string,
  sources: OperandKind[],
  results: OperandKind[],
  rows: readonly (readonly Value[])[],
): Value[][] {
  // The newest target of any instruction. Where there is NVIDIA's assembler, it must take what the simulator takes.
  simulator ??= openSimulator({ memoryBytes: 2 ** 24, computeCapability: [10, 0], ptxas: process.env.PTXAS });
  return queueRows(simulator, ptx, sources, results, rows)();
}

/** Value of bits as results are compared: NaNs are equal, zeros differ by sign. */
export const f32 = (bits: number): number => fromSlot('f', BigInt(bits >>> 0)) as number;
export const f64 = (bits: bigint): number => fromSlot('F', bits) as number;

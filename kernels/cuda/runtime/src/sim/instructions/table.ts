import { type Instruction, opcode, PtxError } from '../ptx.ts';
import { atomics } from './atomic.ts';
import { bits } from './bits.ts';
import { comparing } from './compare.ts';
import { converting } from './convert.ts';
import { float, isFloat } from './float.ts';
import { half, isHalf } from './half.ts';
import { integer, type LaneInstruction } from './integer.ts';
import { memory } from './memory.ts';
import { moving } from './move.ts';

const untyped = { ...bits, ...comparing, ...converting, ...memory, ...moving, ...atomics };

/** The lane-local instruction of that opcode. Throws PtxError naming one that is not known. */
export function laneInstructionOf(i: Instruction): LaneInstruction {
  const table = Object.hasOwn(untyped, i.name) ? untyped : isHalf(i) ? half : isFloat(i) ? float : integer;
  if (!Object.hasOwn(table, i.name)) throw new PtxError(i.line, `unknown instruction ${opcode(i)}`);
  return table[i.name];
}

// Operands by opcode, at least and at most.
const arity = new Map<string, readonly [number, number]>();
const takes = (least: number, most: number, names: string) => {
  for (const name of names.split(' ')) arity.set(name, [least, most]);
};
takes(0, 0, 'membar fence ret exit trap');
takes(0, 1, 'cp.wait');
takes(1, 1, 'nanosleep prefetch prefetchu activemask bra');
takes(1, 4, 'bar barrier');
takes(2, 2, 'abs neg not cnot popc clz brev bfind mov cvta isspacep rcp sqrt rsqrt ex2 lg2 sin cos tanh testp ld st');
takes(2, 2, 'ldmatrix brx');
takes(2, 3, 'red');
takes(2, 4, 'cvt');
takes(3, 3, 'add sub addc subc mul div rem and or xor shl shr mul24 copysign bmsk vote match redux');
takes(3, 4, 'min max setp set atom cp');
takes(4, 4, 'mad madc mad24 sad dp4a dp2a shf prmt bfe selp slct fma mma');
takes(5, 5, 'bfi lop3 shfl');

/** Throws PtxError when an instruction has more or fewer operands than any form of it takes. */
export function checkOperands(i: Instruction): void {
  const asyncGroup = i.name === 'cp' && !i.modifiers.includes('ca') && !i.modifiers.includes('cg');
  const range = arity.get(asyncGroup ? 'cp.wait' : i.name);
  const { length } = i.operands;
  if (range === undefined || (length >= range[0] && length <= range[1])) return;
  const [least, most] = range;
  const expected = least === most ? String(least) : `${least} to ${most}`;
  throw new PtxError(i.line, `${opcode(i)}: ${length} operands, expected ${expected}`);
}

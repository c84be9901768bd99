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

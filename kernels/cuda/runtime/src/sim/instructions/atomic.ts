import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Operand } from '../ptx.ts';
import type { LaneInstruction } from './integer.ts';
import { addressOf, countAccess, letterOf } from './memory.ts';

const operations = ['and', 'or', 'xor', 'cas', 'exch', 'add', 'inc', 'dec', 'min', 'max'] as const;
const types = [
  'b16',
  'b32',
  'u32',
  's32',
  'f32',
  'b64',
  'u64',
  's64',
  'f64',
  'f16',
  'f16x2',
  'bf16',
  'bf16x2',
] as const;

/** Value of an atomic's operand as an argument list of its helper. */
function argument(e: LaneEmitter, operand: Operand, type: string): string {
  if (type === 'f32') return e.float(operand);
  if (type === 'f64') return e.double(operand);
  if (type.endsWith('64')) return e.pair(operand).join(', ');
  return type.endsWith('16') ? e.int16(operand, false) : e.int(operand);
}

// atom returns the old value, red does not. Lanes of a warp go one after another in lane order.
const atomic =
  (returns: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    m.take('relaxed', 'acquire', 'release', 'acq_rel');
    m.take('cta', 'cluster', 'gpu', 'sys');
    const space = m.take('global', 'shared', 'shared::cta');
    const operation = m.need(...operations);
    m.flag('noftz');
    const type = m.need(...types);
    m.end();
    const [d, a, x, y] = returns ? i.operands : [undefined, ...i.operands];
    if ((operation === 'cas') !== (y !== undefined)) throw e.error('wrong number of operands');
    const letter = letterOf(space);
    const [lo, hi] = addressOf(e, a!);
    const bytes = type.endsWith('64') ? 8 : type === 'f16' || type === 'bf16' || type === 'b16' ? 2 : 4;
    countAccess(e, letter, lo, bytes, 'atomics');
    const where = `${e.site()}, w, l, ${lo}, ${hi}, ${space === undefined ? "''" : `'${letter}'`}`;
    const values = [x, y].filter((operand) => operand !== undefined).map((operand) => argument(e, operand, type));
    const call = `('${operation}', ${where}, ${values.join(', ')})`;
    let helper: string;
    if (type === 'f32' || type === 'f64') helper = `${type === 'f32' ? 'atomicFloat' : 'atomicDouble'}${call}`;
    else if (type.endsWith('64')) helper = `atomic64${call.replace(/\)$/, `, '${type}')`)}`;
    else helper = `atomic32${call.replace(/\)$/, `, '${type}')`)}`;
    if (!floatOperation(type, operation)) throw e.error(`.${operation} is not supported for .${type}`);
    if (d === undefined) return e.line(`${helper};`);
    if (type.endsWith('64')) e.setPairCall(d, helper);
    else if (bytes === 2) e.setInt16(d, helper);
    else e.setInt(d, helper);
  };

function floatOperation(type: string, operation: string): boolean {
  if (type.startsWith('f') || type.startsWith('bf')) return operation === 'add';
  if (operation === 'inc' || operation === 'dec') return type === 'u32';
  if (type === 'b16') return operation === 'cas' || operation === 'exch';
  return type[0] !== 'b' || !['add', 'min', 'max'].includes(operation);
}

export const atomics: Record<string, LaneInstruction> = { atom: atomic(true), red: atomic(false) };

import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Operand } from '../ptx.ts';
import { type HalfType, halfTypes, halves, isPacked } from './half.ts';
import { type LaneInstruction, less64, lessUnsigned } from './integer.ts';

const ordered = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
const comparisons = [
  ...ordered,
  'lo',
  'ls',
  'hi',
  'hs',
  'equ',
  'neu',
  'ltu',
  'leu',
  'gtu',
  'geu',
  'num',
  'nan',
] as const;
type Comparison = (typeof comparisons)[number];
const types = ['b16', 'b32', 'b64', 'u16', 'u32', 'u64', 's16', 's32', 's64', 'f32', 'f64', ...halfTypes] as const;
type ComparedType = (typeof types)[number];

const operators: Record<string, string> = { eq: '===', ne: '!==', lt: '<', le: '<=', gt: '>', ge: '>=' };

/** Comparison of two numbers: the ordered ones are false for a NaN, those ending in u true. */
function compareNumbers(e: LaneEmitter, comparison: Comparison, a: string, b: string): string {
  if (comparison === 'num') return `${a} === ${a} && ${b} === ${b}`;
  if (comparison === 'nan') return `${a} !== ${a} || ${b} !== ${b}`;
  if (comparison === 'ne') return `${a} < ${b} || ${a} > ${b}`;
  if ((ordered as readonly string[]).includes(comparison)) return `${a} ${operators[comparison]} ${b}`;
  const opposite: Record<string, string> = { equ: 'ne', neu: 'eq', ltu: 'ge', leu: 'gt', gtu: 'le', geu: 'lt' };
  const base = opposite[comparison];
  if (base === undefined) throw e.error(`.${comparison} does not compare floating point`);
  return base === 'ne' ? `!(${a} < ${b} || ${a} > ${b})` : `!(${a} ${operators[base]} ${b})`;
}

function compareIntegers(e: LaneEmitter, comparison: Comparison, type: ComparedType, x: Operand, y: Operand): string {
  const unsignedNames: Partial<Record<Comparison, Comparison>> = { lo: 'lt', ls: 'le', hi: 'gt', hs: 'ge' };
  const base = unsignedNames[comparison] ?? comparison;
  if (!(base in operators)) throw e.error(`.${comparison} does not compare integers`);
  const isSigned = type[0] === 's' && base === comparison;
  if (type[0] === 'b' && base !== 'eq' && base !== 'ne') throw e.error(`.${type} compares only for equality`);
  if (type.endsWith('64')) {
    const [a, b] = [e.pair(x), e.pair(y)];
    if (base === 'eq') return `${a[0]} === ${b[0]} && ${a[1]} === ${b[1]}`;
    if (base === 'ne') return `${a[0]} !== ${b[0]} || ${a[1]} !== ${b[1]}`;
    if (base === 'lt') return less64(a, b, isSigned);
    if (base === 'gt') return less64(b, a, isSigned);
    return base === 'le' ? `!${less64(b, a, isSigned)}` : `!${less64(a, b, isSigned)}`;
  }
  const read = (operand: Operand) => (type.endsWith('16') ? e.int16(operand, isSigned) : e.int(operand));
  const [a, b] = [read(x), read(y)];
  if (isSigned || base === 'eq' || base === 'ne') return `${a} ${operators[base]} ${b}`;
  if (base === 'lt') return lessUnsigned(a, b);
  if (base === 'gt') return lessUnsigned(b, a);
  return base === 'le' ? `!(${lessUnsigned(b, a)})` : `!(${lessUnsigned(a, b)})`;
}

/** Results of a comparison: one, or two for a packed type. */
function compare(
  e: LaneEmitter,
  comparison: Comparison,
  type: ComparedType,
  x: Operand,
  y: Operand,
  ftz: boolean,
): string[] {
  if ((halfTypes as readonly string[]).includes(type)) {
    const wrap = (value: string) => (ftz ? e.temp(`flushHalf(${value})`) : value);
    const [a, b] = [halves(e, x, type as HalfType), halves(e, y, type as HalfType)];
    return a.map((value, k) => compareNumbers(e, comparison, wrap(value), wrap(b[k])));
  }
  if (type === 'f64') return [compareNumbers(e, comparison, e.double(x), e.double(y))];
  if (type === 'f32') {
    const wrap = (value: string) => (ftz ? e.temp(`flush(${value})`) : value);
    return [compareNumbers(e, comparison, wrap(e.float(x)), wrap(e.float(y)))];
  }
  return [compareIntegers(e, comparison, type, x, y)];
}

const combine = (e: LaneEmitter, operator: string | undefined, test: string, other: Operand | undefined): string => {
  if (operator === undefined) return test;
  const c = e.bool(other!);
  if (operator === 'xor') return `(${test}) !== ${c}`;
  return `(${test}) ${operator === 'and' ? '&&' : '||'} ${c}`;
};

// setp p|q, a, b{, c}: p = (a ? b) op c, q = !(a ? b) op c. For packed types p and q are the two halves' results.
const setPredicate: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const comparison = m.need(...comparisons);
  const operator = m.take('and', 'or', 'xor');
  const ftz = m.flag('ftz');
  const type = m.need(...types);
  m.end();
  const [d, x, y, c] = i.operands;
  const results = compare(e, comparison, type, x, y, ftz).map((result) => e.temp(result));
  const [p, q] = d.kind === 'pair' ? [d.first, d.second] : [d, undefined];
  const second = results.length === 2 ? results[1] : `!${results[0]}`;
  const first = e.temp(combine(e, operator, results[0], c));
  const other = q === undefined ? '' : e.temp(combine(e, operator, second, c));
  e.setBool(p, first);
  if (q !== undefined) e.setBool(q, other);
};

// set: the comparison as all ones (integers) or 1.0.
const set: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const comparison = m.need(...comparisons);
  const operator = m.take('and', 'or', 'xor');
  const ftz = m.flag('ftz');
  const result = m.next('u32', 's32', 'f32', 'f16', 'f16x2', 'bf16', 'bf16x2', 'u16', 's16');
  const type = m.next(...types);
  m.end();
  const [d, x, y, c] = i.operands;
  const tests = compare(e, comparison, type, x, y, ftz).map((test) => combine(e, operator, test, c));
  const one: Record<string, string> = {
    f16: '15360',
    f16x2: '15360',
    bf16: '16256',
    bf16x2: '16256',
    u16: '65535',
    s16: '65535',
  };
  if (isPacked(type as HalfType)) {
    const ones = one[result] ?? '65535';
    return e.setInt(d, `(${tests[0]} ? ${ones} : 0) | (${tests[1]} ? ${ones} : 0) << 16`);
  }
  if (result === 'f32') e.setFloat(d, `${tests[0]} ? 1 : 0`);
  else e.setInt(d, `${tests[0]} ? ${one[result] ?? '-1'} : 0`);
};

const selected = ['b16', 'b32', 'b64', 'u16', 'u32', 'u64', 's16', 's32', 's64', 'f32', 'f64'] as const;

/** d = condition ? a : b for any type, without converting. */
function select(e: LaneEmitter, type: string, d: Operand, x: Operand, y: Operand, condition: () => string) {
  // Bits that nothing has computed with are chosen as bits.
  const number = (operand: Operand) => e.isComputed(operand) || operand.kind === 'float';
  if (type.endsWith('64')) {
    if (number(x) && number(y)) {
      const [a, b] = [e.double(x), e.double(y)];
      return e.setDouble(d, `${condition()} ? ${a} : ${b}`);
    }
    const [a, b] = [e.pair(x), e.pair(y)];
    const test = e.temp(condition());
    return e.setPair(d, `${test} ? ${a[0]} : ${b[0]}`, `${test} ? ${a[1]} : ${b[1]}`);
  }
  if (type.endsWith('32') && number(x) && number(y)) {
    const [a, b] = [e.float(x), e.float(y)];
    return e.setFloat(d, `${condition()} ? ${a} : ${b}`);
  }
  const read = (operand: Operand) => (type.endsWith('16') ? e.int16(operand, false) : e.int(operand));
  const [a, b] = [read(x), read(y)];
  e.setInt(d, `${condition()} ? ${a} : ${b}`);
}

const selectByPredicate: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need(...selected);
  m.end();
  const [d, x, y, p] = i.operands;
  select(e, type, d, x, y, () => e.bool(p));
};

// slct: a if c ≥ 0 (NaN is not), else b.
const selectBySign: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const ftz = m.flag('ftz');
  const type = m.next(...selected);
  const sign = m.next('s32', 'f32');
  m.end();
  const [d, x, y, c] = i.operands;
  select(e, type, d, x, y, () =>
    sign === 's32' ? `${e.int(c)} >= 0` : `${ftz ? `flush(${e.float(c)})` : e.float(c)} >= 0`,
  );
};

export const comparing: Record<string, LaneInstruction> = {
  setp: setPredicate,
  set,
  selp: selectByPredicate,
  slct: selectBySign,
};

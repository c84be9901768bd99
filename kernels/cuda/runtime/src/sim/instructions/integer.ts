import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Instruction, Operand } from '../ptx.ts';
import type { Pair } from '../registerCache.ts';

export type LaneInstruction = (e: LaneEmitter, i: Instruction) => void;

const integers = ['s16', 'u16', 's32', 'u32', 's64', 'u64'] as const;

const signed = (type: string) => type[0] === 's';
const bits = (type: string) => Number(type.slice(1));

const read16or32 = (e: LaneEmitter, operand: Operand, type: string): string =>
  bits(type) === 16 ? e.int16(operand, signed(type)) : e.int(operand);
const write16or32 = (e: LaneEmitter, operand: Operand, type: string, expression: string): void =>
  bits(type) === 16 ? e.setInt16(operand, expression) : e.setInt(operand, expression);

export const lessUnsigned = (a: string, b: string) => `(${a} >>> 0) < (${b} >>> 0)`;

/** a < b of 64-bit integers. */
export function less64(a: Pair, b: Pair, isSigned: boolean): string {
  const high = isSigned ? `${a[1]} < ${b[1]}` : lessUnsigned(a[1], b[1]);
  return `(${high} || ${a[1]} === ${b[1]} && ${lessUnsigned(a[0], b[0])})`;
}

export function add64(e: LaneEmitter, a: Pair, b: Pair): Pair {
  if (b[0] === '0' && b[1] === '0') return a;
  const lo = e.temp(`(${a[0]} + ${b[0]}) | 0`);
  return [lo, e.temp(`(${a[1]} + ${b[1]} + (${lessUnsigned(lo, b[0])} ? 1 : 0)) | 0`)];
}

function subtract64(e: LaneEmitter, a: Pair, b: Pair): Pair {
  const lo = e.temp(`(${a[0]} - ${b[0]}) | 0`);
  return [lo, e.temp(`(${a[1]} - ${b[1]} - (${lessUnsigned(a[0], b[0])} ? 1 : 0)) | 0`)];
}

/** Full product of two 32-bit integers. */
function multiplyWide(e: LaneEmitter, a: string, b: string, isSigned: boolean): Pair {
  const constant = Number(b);
  if (Number.isInteger(constant) && constant > 0 && (constant & (constant - 1)) === 0) {
    const shift = 31 - Math.clz32(constant);
    if (shift === 0) return [a, isSigned ? `(${a} >> 31)` : '0'];
    return [e.temp(`${a} << ${shift}`), e.temp(`${a} ${isSigned ? '>>' : '>>>'} ${32 - shift}`)];
  }
  return [e.temp(`Math.imul(${a}, ${b})`), e.temp(`${isSigned ? 'mulhs' : 'mulhu'}(${a}, ${b})`)];
}

function carryIn(e: LaneEmitter): string {
  return `(${e.carry()} ? 1 : 0)`;
}

// add, addc, sub, subc: with `.cc` the carry (borrow) flag is written, with a trailing c in the name it is read.
const addOrSubtract =
  (subtract: boolean, carries: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const saturate = m.flag('sat');
    const writesCarry = m.flag('cc');
    const type = m.need(...integers);
    m.end();
    const [d, x, y] = i.operands;
    if (saturate && type !== 's32') throw e.error('.sat needs .s32');
    if (bits(type) === 64) {
      if (carries || writesCarry) throw e.error('64-bit carries are not supported');
      const pair = subtract ? subtract64(e, e.pair(x), e.pair(y)) : add64(e, e.pair(x), e.pair(y));
      return e.setPair(d, ...pair);
    }
    const [a, b] = [read16or32(e, x, type), read16or32(e, y, type)];
    if (saturate) return e.setInt(d, `Math.max(-2147483648, Math.min(2147483647, ${a} ${subtract ? '-' : '+'} ${b}))`);
    if (!carries && !writesCarry) return write16or32(e, d, type, `(${a} ${subtract ? '-' : '+'} ${b}) | 0`);
    const exact = subtract
      ? e.temp(`(${a} >>> 0) - (${b} >>> 0)${carries ? ` - ${carryIn(e)}` : ''}`)
      : e.temp(`(${a} >>> 0) + (${b} >>> 0)${carries ? ` + ${carryIn(e)}` : ''}`);
    e.setInt(d, `${exact} | 0`);
    if (writesCarry) e.setCarry(subtract ? `${exact} < 0` : `${exact} > 4294967295`);
  };

// mul and mad (and madc) in .lo, .hi, .wide.
const multiply =
  (accumulate: boolean, carries = false): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const part = m.need('lo', 'hi', 'wide');
    const writesCarry = m.flag('cc');
    const type = m.need(...integers);
    m.end();
    const [d, x, y, z] = i.operands;
    const isSigned = signed(type);
    if ((writesCarry || carries) && (bits(type) !== 32 || part === 'wide'))
      throw e.error('carries need 32-bit .lo or .hi');
    if (bits(type) === 16) {
      const product = `Math.imul(${e.int16(x, isSigned)}, ${e.int16(y, isSigned)})`;
      if (part === 'wide') return e.setInt(d, accumulate ? `(${product} + ${e.int(z)}) | 0` : product);
      const half = part === 'hi' ? `(${product} >> 16)` : product;
      return e.setInt16(d, accumulate ? `${half} + ${e.int16(z, isSigned)}` : half);
    }
    if (bits(type) === 32) {
      const [a, b] = [e.int(x), e.int(y)];
      if (part === 'wide') {
        const product = multiplyWide(e, a, b, isSigned);
        return e.setPair(d, ...(accumulate ? add64(e, product, e.pair(z)) : product));
      }
      const product = part === 'lo' ? `Math.imul(${a}, ${b})` : `${isSigned ? 'mulhs' : 'mulhu'}(${a}, ${b})`;
      if (!accumulate) return e.setInt(d, product);
      if (!carries && !writesCarry) return e.setInt(d, `(${product} + ${e.int(z)}) | 0`);
      const exact = e.temp(`(${product} >>> 0) + (${e.int(z)} >>> 0)${carries ? ` + ${carryIn(e)}` : ''}`);
      e.setInt(d, `${exact} | 0`);
      if (writesCarry) e.setCarry(`${exact} > 4294967295`);
      return;
    }
    if (part === 'wide') throw e.error('.wide needs 16- or 32-bit operands');
    const [a, b] = [e.pair(x), e.pair(y)];
    const lo = e.temp(part === 'lo' ? `mul64(${[...a, ...b]})` : `mulhi64(${[...a, ...b]}, ${isSigned})`);
    const product: Pair = [lo, e.temp('high[0]')];
    e.setPair(d, ...(accumulate ? add64(e, product, e.pair(z)) : product));
  };

// 24-bit products: operands' low 24 bits, .lo the low and .hi the high 32 of the 48-bit product.
const multiply24 =
  (accumulate: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const part = m.need('lo', 'hi');
    const type = m.need('s32', 'u32');
    m.end();
    const narrow = (operand: Operand) =>
      type === 's32' ? `(${e.int(operand)} << 8 >> 8)` : `(${e.int(operand)} & 16777215)`;
    const [a, b] = [narrow(i.operands[1]), narrow(i.operands[2])];
    const product = part === 'lo' ? `Math.imul(${a}, ${b})` : `Math.floor(${a} * ${b} / 65536) | 0`;
    e.setInt(i.operands[0], accumulate ? `((${product}) + ${e.int(i.operands[3])}) | 0` : product);
  };

// Division by zero is unspecified; all ones (and the dividend as remainder) is what the hardware's sequence gives.
const divide =
  (remainder: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const type = m.need(...integers);
    m.end();
    const [d, x, y] = i.operands;
    if (bits(type) === 64) {
      return e.setPairCall(d, `${remainder ? 'rem64' : 'div64'}(${[...e.pair(x), ...e.pair(y)]}, ${signed(type)})`);
    }
    const unsigned = signed(type) ? '' : ' >>> 0';
    const a = e.temp(`${read16or32(e, x, type)}${unsigned}`);
    const b = e.temp(`${read16or32(e, y, type)}${unsigned}`);
    const result = remainder ? `${a} % ${b}` : `${a} / ${b}`;
    write16or32(e, d, type, `(${b} === 0 ? ${remainder ? a : '-1'} : ${result}) | 0`);
  };

const minOrMax =
  (max: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const type = m.need(...integers);
    m.end();
    const [d, x, y] = i.operands;
    if (bits(type) === 64) {
      const [a, b] = [e.pair(x), e.pair(y)];
      const pick = e.temp(max ? less64(b, a, signed(type)) : less64(a, b, signed(type)));
      return e.setPair(d, `${pick} ? ${a[0]} : ${b[0]}`, `${pick} ? ${a[1]} : ${b[1]}`);
    }
    const [a, b] = [read16or32(e, x, type), read16or32(e, y, type)];
    const test = signed(type) ? `${a} < ${b}` : lessUnsigned(a, b);
    write16or32(e, d, type, `${test} ? ${max ? b : a} : ${max ? a : b}`);
  };

const negate: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('s16', 's32', 's64');
  m.end();
  const [d, x] = i.operands;
  if (type === 's64') return e.setPair(d, ...subtract64(e, ['0', '0'], e.pair(x)));
  write16or32(e, d, type, `-${read16or32(e, x, type)} | 0`);
};

const absolute: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('s16', 's32', 's64');
  m.end();
  const [d, x] = i.operands;
  if (type === 's64') {
    const a = e.pair(x);
    const [lo, hi] = subtract64(e, ['0', '0'], a);
    return e.setPair(d, `${a[1]} < 0 ? ${lo} : ${a[0]}`, `${a[1]} < 0 ? ${hi} : ${a[1]}`);
  }
  const a = read16or32(e, x, type);
  write16or32(e, d, type, `(${a} < 0 ? -${a} : ${a}) | 0`);
};

// d = c + |a − b|
const sumOfAbsoluteDifference: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need(...integers);
  m.end();
  const [d, x, y, z] = i.operands;
  if (bits(type) === 64) {
    const [a, b] = [e.pair(x), e.pair(y)];
    const swap = e.temp(less64(a, b, signed(type)));
    const large: Pair = [e.temp(`${swap} ? ${b[0]} : ${a[0]}`), e.temp(`${swap} ? ${b[1]} : ${a[1]}`)];
    const small: Pair = [e.temp(`${swap} ? ${a[0]} : ${b[0]}`), e.temp(`${swap} ? ${a[1]} : ${b[1]}`)];
    return e.setPair(d, ...add64(e, subtract64(e, large, small), e.pair(z)));
  }
  const [a, b] = [read16or32(e, x, type), read16or32(e, y, type)];
  const test = signed(type) ? `${a} < ${b}` : lessUnsigned(a, b);
  write16or32(e, d, type, `(${read16or32(e, z, type)} + (${test} ? ${b} - ${a} : ${a} - ${b})) | 0`);
};

// dp4a and dp2a: products of bytes (or of halfwords with bytes) summed onto c.
const dotProduct =
  (four: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const half = four ? undefined : m.need('lo', 'hi');
    const aType = m.next('s32', 'u32');
    const bType = m.next('s32', 'u32');
    m.end();
    const [d, x, y, z] = i.operands;
    const [a, b] = [e.int(x), e.int(y)];
    const part = (value: string, index: number, width: number, isSigned: boolean) =>
      isSigned
        ? `(${value} << ${32 - width * (index + 1)} >> ${32 - width})`
        : `(${value} >>> ${width * index} & ${2 ** width - 1})`;
    const terms = (four ? [0, 1, 2, 3] : [0, 1]).map((k) => {
      const bIndex = half === 'hi' ? k + 2 : k;
      return `Math.imul(${part(a, k, four ? 8 : 16, aType === 's32')}, ${part(b, bIndex, 8, bType === 's32')})`;
    });
    e.setInt(d, `(${e.int(z)} + ${terms.join(' + ')}) | 0`);
  };

export const integer: Record<string, LaneInstruction> = {
  add: addOrSubtract(false, false),
  sub: addOrSubtract(true, false),
  addc: addOrSubtract(false, true),
  subc: addOrSubtract(true, true),
  mul: multiply(false),
  mad: multiply(true),
  madc: multiply(true, true),
  mul24: multiply24(false),
  mad24: multiply24(true),
  div: divide(false),
  rem: divide(true),
  min: minOrMax(false),
  max: minOrMax(true),
  neg: negate,
  abs: absolute,
  sad: sumOfAbsoluteDifference,
  dp4a: dotProduct(true),
  dp2a: dotProduct(false),
};

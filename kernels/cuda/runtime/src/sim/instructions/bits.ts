import { Modifiers } from '../modifiers.ts';
import type { LaneInstruction } from './integer.ts';

// and, or, xor
const logical =
  (operator: '&' | '|' | '^'): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const type = m.need('pred', 'b16', 'b32', 'b64');
    m.end();
    const [d, x, y] = i.operands;
    if (type === 'pred') {
      return e.setBool(
        d,
        operator === '^' ? `${e.bool(x)} !== ${e.bool(y)}` : `${e.bool(x)} ${operator}${operator} ${e.bool(y)}`,
      );
    }
    if (type === 'b64') {
      const [a, b] = [e.pair(x), e.pair(y)];
      return e.setPair(d, `${a[0]} ${operator} ${b[0]}`, `${a[1]} ${operator} ${b[1]}`);
    }
    if (type === 'b16') return e.setInt16(d, `${e.int16(x, false)} ${operator} ${e.int16(y, false)}`);
    e.setInt(d, `${e.int(x)} ${operator} ${e.int(y)}`);
  };

const not: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('pred', 'b16', 'b32', 'b64');
  m.end();
  const [d, x] = i.operands;
  if (type === 'pred') return e.setBool(d, `!${e.bool(x)}`);
  if (type === 'b64') {
    const a = e.pair(x);
    return e.setPair(d, `~${a[0]}`, `~${a[1]}`);
  }
  if (type === 'b16') return e.setInt16(d, `~${e.int16(x, false)}`);
  e.setInt(d, `~${e.int(x)}`);
};

// cnot: C's logical negation, 1 for zero and 0 otherwise.
const logicalNot: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('b16', 'b32', 'b64');
  m.end();
  const [d, x] = i.operands;
  if (type === 'b64') {
    const a = e.pair(x);
    return e.setPair(d, `(${a[0]} | ${a[1]}) === 0 ? 1 : 0`, '0');
  }
  e.setInt(d, `${type === 'b16' ? e.int16(x, false) : e.int(x)} === 0 ? 1 : 0`);
};

// shl and shr clamp the (unsigned 32-bit) amount to the width.
const shift =
  (left: boolean): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const type = left
      ? m.need('b16', 'b32', 'b64')
      : m.need('b16', 'b32', 'b64', 'u16', 'u32', 'u64', 's16', 's32', 's64');
    m.end();
    const [d, x, y] = i.operands;
    const isSigned = type[0] === 's';
    const width = Number(type.slice(1));
    const by = e.int(y);
    const constant = y.kind === 'integer' ? Number(by) >>> 0 : undefined;
    if (width === 64) {
      const a = e.pair(x);
      if (constant !== undefined && constant > 0 && constant < 32) {
        if (left)
          return e.setPair(d, `${a[0]} << ${constant}`, `${a[1]} << ${constant} | ${a[0]} >>> ${32 - constant}`);
        const right = isSigned ? '>>' : '>>>';
        return e.setPair(
          d,
          `${a[0]} >>> ${constant} | ${a[1]} << ${32 - constant}`,
          `${a[1]} ${right} ${constant} | 0`,
        );
      }
      return e.setPairCall(d, left ? `shl64(${a}, ${by})` : `shr64(${a}, ${by}, ${isSigned})`);
    }
    const a = width === 16 ? e.int16(x, isSigned) : e.int(x);
    let result: string;
    if (constant !== undefined && constant < 32)
      result = `${a} ${left ? '<<' : isSigned ? '>>' : '>>>'} ${constant} | 0`;
    else if (left) result = `(${by} >>> 0) > 31 ? 0 : ${a} << ${by}`;
    else if (isSigned) result = `${a} >> ((${by} >>> 0) > 31 ? 31 : ${by})`;
    else result = `(${by} >>> 0) > 31 ? 0 : ${a} >>> ${by} | 0`;
    if (width === 16) e.setInt16(d, result);
    else e.setInt(d, result);
  };

// shf: the 64 bits [b:a] shifted; .l gives the high and .r the low word.
const funnelShift: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const direction = m.need('l', 'r');
  const mode = m.need('wrap', 'clamp');
  m.need('b32');
  m.end();
  const [d, x, y, z] = i.operands;
  const [a, b] = [e.int(x), e.int(y)];
  const n = e.temp(mode === 'wrap' ? `${e.int(z)} & 31` : `Math.min(${e.int(z)} >>> 0, 32)`);
  const full = direction === 'l' ? a : b;
  const none = direction === 'l' ? b : a;
  const shifted = direction === 'l' ? `${b} << ${n} | ${a} >>> (32 - ${n})` : `${b} << (32 - ${n}) | ${a} >>> ${n}`;
  e.setInt(d, `${n} === 0 ? ${none} : ${n} === 32 ? ${full} : ${shifted}`);
};

// lop3: bit k of the table is the result for (a, b, c) = the bits of k.
const logic3: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  m.need('b32');
  m.end();
  const [d, x, y, z, table] = i.operands;
  if (table?.kind !== 'integer') throw e.error('expected an immediate table');
  const [a, b, c] = [e.temp(e.int(x)), e.temp(e.int(y)), e.temp(e.int(z))];
  const lut = Number(table.value) & 255;
  const ones = [0, 1, 2, 3, 4, 5, 6, 7].filter((k) => (lut >> k) & 1);
  const invert = ones.length > 4;
  const chosen = invert ? [0, 1, 2, 3, 4, 5, 6, 7].filter((k) => !((lut >> k) & 1)) : ones;
  const terms = chosen.map((k) => `(${k & 4 ? a : `~${a}`} & ${k & 2 ? b : `~${b}`} & ${k & 1 ? c : `~${c}`})`);
  const sum = terms.length === 0 ? '0' : terms.join(' | ');
  e.setInt(d, invert ? `~(${sum})` : sum);
};

const permute: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  m.need('b32');
  const mode = m.take('f4e', 'b4e', 'rc8', 'ecl', 'ecr', 'rc16');
  m.end();
  const [d, x, y, z] = i.operands;
  e.setInt(d, `prmt(${e.int(x)}, ${e.int(y)}, ${e.int(z)}, ${JSON.stringify(mode ?? '')})`);
};

const extract: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('s32', 'u32', 's64', 'u64');
  m.end();
  const [d, x, y, z] = i.operands;
  const isSigned = type[0] === 's';
  const position = `${e.int(y)} & 255`;
  const length = `${e.int(z)} & 255`;
  if (type.endsWith('64')) e.setPairCall(d, `bfe64(${e.pair(x)}, ${position}, ${length}, ${isSigned})`);
  else e.setInt(d, `bfe32(${e.int(x)}, ${position}, ${length}, ${isSigned})`);
};

const insert: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('b32', 'b64');
  m.end();
  const [f, x, y, z, w] = i.operands;
  const position = `${e.int(z)} & 255`;
  const length = `${e.int(w)} & 255`;
  if (type === 'b64') e.setPairCall(f, `bfi64(${e.pair(x)}, ${e.pair(y)}, ${position}, ${length})`);
  else e.setInt(f, `bfi32(${e.int(x)}, ${e.int(y)}, ${position}, ${length})`);
};

// A unary function with 32- and 64-bit forms; the result is 32 bits wide in both.
const count =
  (name: 'popc' | 'clz'): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const type = m.need('b32', 'b64');
    m.end();
    const [d, x] = i.operands;
    if (type === 'b32') return e.setInt(d, name === 'clz' ? `Math.clz32(${e.int(x)})` : `popc(${e.int(x)})`);
    const [lo, hi] = e.pair(x);
    e.setInt(
      d,
      name === 'popc' ? `popc(${lo}) + popc(${hi})` : `${hi} === 0 ? 32 + Math.clz32(${lo}) : Math.clz32(${hi})`,
    );
  };

const reverse: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('b32', 'b64');
  m.end();
  const [d, x] = i.operands;
  if (type === 'b32') return e.setInt(d, `brev(${e.int(x)})`);
  const [lo, hi] = e.pair(x);
  e.setPair(d, `brev(${hi})`, `brev(${lo})`);
};

// bfind: position of the highest bit that differs from the sign (or of the highest one), −1 if none.
const findHighest: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const amount = m.flag('shiftamt');
  const type = m.need('s32', 'u32', 's64', 'u64');
  m.end();
  const [d, x] = i.operands;
  const isSigned = type[0] === 's';
  const width = Number(type.slice(1));
  let zeros: string;
  if (width === 32) {
    const a = e.int(x);
    zeros = e.temp(`Math.clz32(${isSigned ? `${a} ^ ${a} >> 31` : a})`);
  } else {
    const [lo, hi] = e.pair(x);
    const sign = isSigned ? e.temp(`${hi} >> 31`) : '0';
    zeros = e.temp(`(${hi} ^ ${sign}) === 0 ? 32 + Math.clz32(${lo} ^ ${sign}) : Math.clz32(${hi} ^ ${sign})`);
  }
  e.setInt(d, `${zeros} === ${width} ? -1 : ${amount ? zeros : `${width - 1} - ${zeros}`}`);
};

// bmsk: a mask of b ones from bit a up.
const bitMask: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const mode = m.need('clamp', 'wrap');
  m.need('b32');
  m.end();
  const [d, x, y] = i.operands;
  const wrap = mode === 'wrap';
  const [a, n] = wrap
    ? [`${e.int(x)} & 31`, `${e.int(y)} & 31`]
    : [`Math.min(${e.int(x)} >>> 0, 32)`, `Math.min(${e.int(y)} >>> 0, 32)`];
  e.setInt(d, `bfi32(-1, 0, ${a}, ${n})`);
};

export const bits: Record<string, LaneInstruction> = {
  and: logical('&'),
  or: logical('|'),
  xor: logical('^'),
  not,
  cnot: logicalNot,
  shl: shift(true),
  shr: shift(false),
  shf: funnelShift,
  lop3: logic3,
  prmt: permute,
  bfe: extract,
  bfi: insert,
  popc: count('popc'),
  clz: count('clz'),
  brev: reverse,
  bfind: findHighest,
  bmsk: bitMask,
};

import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Operand } from '../ptx.ts';
import type { LaneInstruction } from './integer.ts';

const integers = ['u8', 's8', 'u16', 's16', 'u32', 's32', 'u64', 's64'] as const;
const floats = ['f16', 'bf16', 'f32', 'f64', 'tf32'] as const;
const types = [...integers, ...floats, 'f16x2', 'bf16x2'] as const;
type ConvertedType = (typeof types)[number];
const isInteger = (type: string): boolean => (integers as readonly string[]).includes(type);
const width = (type: string) => Number(/\d+$/.exec(type)![0]);
const signed = (type: string) => type[0] === 's';
const registerBits = (operand: Operand): number => (operand.kind === 'register' ? operand.register.bits : 0);

/** Source as a pair (64-bit types) or an i32 that holds the type's value. */
function integerSource(e: LaneEmitter, x: Operand, type: string): string {
  // A narrow type reads the low bits of a wider register.
  const raw = registerBits(x) === 64 ? e.pair(x)[0] : e.int(x);
  if (width(type) === 8) return signed(type) ? `(${raw} << 24 >> 24)` : `(${raw} & 255)`;
  if (width(type) === 16) return signed(type) ? `(${raw} << 16 >> 16)` : `(${raw} & 65535)`;
  return raw;
}

/** Writes an i32 that holds the value of `type`, extended to the register's width. */
function setInteger(e: LaneEmitter, d: Operand, type: string, value: string) {
  const bits = registerBits(d);
  const v = e.temp(value);
  if (bits === 64) return e.setPair(d, v, signed(type) ? `${v} >> 31` : '0');
  if (bits === 16) return e.setInt16(d, v);
  e.setInt(d, v);
}

function integerToInteger(e: LaneEmitter, to: string, from: string, d: Operand, x: Operand, sat: boolean) {
  if (to.endsWith('64')) {
    if (from.endsWith('64')) {
      const [lo, hi] = e.pair(x);
      if (!sat || signed(to) === signed(from)) return e.setPair(d, lo, hi);
      const negative = e.temp(`${hi} < 0`);
      if (signed(to)) return e.setPair(d, `${negative} ? -1 : ${lo}`, `${negative} ? 2147483647 : ${hi}`);
      return e.setPair(d, `${negative} ? 0 : ${lo}`, `${negative} ? 0 : ${hi}`);
    }
    const v = e.temp(integerSource(e, x, from));
    if (sat && !signed(to) && signed(from)) return e.setPair(d, `Math.max(${v}, 0)`, '0');
    return e.setPair(d, v, signed(from) ? `${v} >> 31` : '0');
  }
  const n = width(to);
  const [low, top] = signed(to) ? [-(2 ** (n - 1)), 2 ** (n - 1) - 1] : [0, 2 ** n - 1];
  if (sat) {
    let value: string;
    if (from.endsWith('64')) {
      const [lo, hi] = e.pair(x);
      // Clamping needs only to tell what fits in 32 bits, which a double holds.
      value = `${signed(from) ? hi : `(${hi} >>> 0)`} * 4294967296 + (${lo} >>> 0)`;
    } else value = signed(from) ? integerSource(e, x, from) : `(${integerSource(e, x, from)} >>> 0)`;
    return setInteger(e, d, to, `Math.max(${low}, Math.min(${top}, ${value})) | 0`);
  }
  const raw = from.endsWith('64') ? e.pair(x)[0] : integerSource(e, x, from);
  const narrowed = n === 32 ? raw : signed(to) ? `${raw} << ${32 - n} >> ${32 - n}` : `${raw} & ${2 ** n - 1}`;
  setInteger(e, d, to, narrowed);
}

/** Source of a floating type as a number. */
function floatSource(e: LaneEmitter, x: Operand, from: string, ftz: boolean): string {
  if (from === 'f64') return e.double(x);
  if (from === 'f16') return e.temp(`fromHalf(${e.int16(x, false)})`);
  if (from === 'bf16') return e.temp(`fromBfloat(${e.int16(x, false)})`);
  return ftz ? e.temp(`flush(${e.float(x)})`) : e.float(x);
}

function floatToInteger(e: LaneEmitter, to: string, d: Operand, value: string, mode: string, fromDouble: boolean) {
  const integral = mode === 'rzi' ? `Math.trunc(${value})` : `toIntegral(${value}, '${mode}')`;
  if (to.endsWith('64')) return e.setPairCall(d, `fromDouble(${integral}, ${signed(to)})`);
  const n = width(to);
  const [low, top] = signed(to) ? [-(2 ** (n - 1)), 2 ** (n - 1) - 1] : [0, 2 ** n - 1];
  const t = e.temp(integral);
  // The manual's value for NaN: zero, but the sign bit when the source is .f64.
  const nan = fromDouble ? (n === 32 ? '-2147483648' : String(2 ** (n - 1))) : '0';
  setInteger(e, d, to, `${t} !== ${t} ? ${nan} : Math.max(${low}, Math.min(${top}, ${t})) | 0`);
}

function integerToFloat(e: LaneEmitter, to: string, from: string, d: Operand, x: Operand, mode: string, sat: boolean) {
  const clamp = (value: string) => (sat ? `saturate(${value})` : value);
  if (from.endsWith('64')) {
    const [lo, hi] = e.pair(x);
    const high = `${signed(from) ? hi : `(${hi} >>> 0)`} * 4294967296`;
    if (to === 'f64') {
      const exact = mode === 'rn' ? `${high} + (${lo} >>> 0)` : `fma64(${high}, 1, ${lo} >>> 0, '${mode}')`;
      return e.setDouble(d, clamp(exact));
    }
    return setFloating(e, to, d, clamp(`addToOdd(${high}, ${lo} >>> 0)`), mode, false, false, true);
  }
  const value = clamp(signed(from) ? integerSource(e, x, from) : `(${integerSource(e, x, from)} >>> 0)`);
  if (to === 'f64') return e.setDouble(d, value);
  setFloating(e, to, d, value, mode, false, false, true);
}

/** Rounds a number to a floating type and writes it. `exact` says that the value may need rounding. */
function setFloating(
  e: LaneEmitter,
  to: string,
  d: Operand,
  value: string,
  mode: string,
  ftz: boolean,
  relu: boolean,
  rounds: boolean,
) {
  const v = relu ? `relu(${value})` : value;
  if (to === 'f64') return e.setDouble(d, v);
  if (to === 'f32') {
    const rounded = !rounds ? v : mode === 'rn' ? `Math.fround(${v})` : `roundTo32(${v}, '${mode}')`;
    return e.setFloat(d, ftz ? `flush(${rounded})` : rounded);
  }
  if (to === 'tf32') return e.setInt(d, `toTf32(${v}, '${mode}')`);
  e.setInt16(d, `${to === 'f16' ? 'toHalf' : 'toBfloat'}(${v}, '${mode}')`);
}

// cvt{.rounding}{.ftz}{.sat}{.relu}.dtype.atype d, a; and cvt.f16x2.f32 d, a, b with a in the high half. Which of the modifiers a
// pair of types has is in forms.ts; on the way to an integer .sat changes nothing.
const convert: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const integral = m.take('rni', 'rzi', 'rmi', 'rpi');
  const mode = m.take('rn', 'rz', 'rm', 'rp', 'rna');
  const relu = m.flag('relu');
  const ftz = m.flag('ftz');
  const sat = m.flag('sat');
  const to: ConvertedType = m.next(...types);
  const from: ConvertedType = m.next(...types);
  m.end();
  const [d, x, y] = i.operands;
  if (to === 'f16x2' || to === 'bf16x2') {
    if (from !== 'f32' || (mode !== 'rn' && mode !== 'rz') || y === undefined)
      throw e.error('needs .rn or .rz and two .f32 sources');
    const wrap = (operand: Operand) => (relu ? `relu(${e.float(operand)})` : e.float(operand));
    const name = to === 'f16x2' ? 'toHalf' : 'toBfloat';
    return e.setInt(d, `${name}(${wrap(y)}, '${mode}') | ${name}(${wrap(x)}, '${mode}') << 16`);
  }
  if (from === 'f16x2' || from === 'bf16x2' || from === 'tf32') throw e.error(`.${from} is not a source type`);
  if (isInteger(to) && isInteger(from)) return integerToInteger(e, to, from, d, x, sat);
  if (isInteger(to)) {
    if (integral === undefined) throw e.error('needs .rni, .rzi, .rmi or .rpi');
    return floatToInteger(e, to, d, floatSource(e, x, from, ftz), integral, from === 'f64');
  }
  if (isInteger(from)) {
    if (mode === undefined) throw e.error('needs a rounding modifier');
    return integerToFloat(e, to, from, d, x, mode, sat);
  }
  let value = floatSource(e, x, from, ftz);
  if (integral !== undefined) {
    if (width(to) !== width(from)) throw e.error(`.${integral} needs types of one width`);
    value = `toIntegral(${value}, '${integral}')`;
  }
  if (sat) value = `saturate(${value})`;
  const narrows = to === 'tf32' || width(to) < width(from) || (to !== from && width(to) === width(from));
  if (narrows && mode === undefined && integral === undefined) throw e.error('needs a rounding modifier');
  setFloating(e, to, d, value, mode ?? 'rn', ftz, relu, narrows);
};

// cvt.pack.sat: two s32 saturated to 16 bits, or to 8 bits in the low half with c shifted up above them.
const pack: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  m.need('pack');
  m.need('sat');
  const to = m.next('u16', 's16', 'u8', 's8');
  m.next('s32');
  const chained = m.take('b32');
  m.end();
  const n = width(to);
  const [low, top] = signed(to) ? [-(2 ** (n - 1)), 2 ** (n - 1) - 1] : [0, 2 ** n - 1];
  const [d, x, y, c] = i.operands;
  const clamp = (operand: Operand) => `(Math.max(${low}, Math.min(${top}, ${e.int(operand)})) & ${2 ** n - 1})`;
  const packed = `${clamp(y)} | ${clamp(x)} << ${n}`;
  if (n === 16) return e.setInt(d, packed);
  if (chained === undefined) throw e.error('8-bit packing needs .b32');
  e.setInt(d, `${packed} | ${e.int(c)} << 16`);
};

export const converting: Record<string, LaneInstruction> = {
  cvt: (e, i) => (i.modifiers.includes('pack') ? pack(e, i) : convert(e, i)),
};

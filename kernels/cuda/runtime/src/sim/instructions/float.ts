import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Instruction, Operand } from '../ptx.ts';
import type { LaneInstruction } from './integer.ts';

/** Operand of an f32 instruction; `.ftz` flushes subnormals. */
const input = (e: LaneEmitter, operand: Operand, ftz: boolean): string =>
  ftz ? `flush(${e.float(operand)})` : e.float(operand);

/** Applies `.ftz` and `.sat` to a result. */
function output(e: LaneEmitter, operand: Operand, result: string, ftz: boolean, sat = false): void {
  const flushed = ftz ? `flush(${result})` : result;
  e.setFloat(operand, sat ? `saturate(${flushed})` : flushed);
}

const roundings = ['rn', 'rz', 'rm', 'rp'] as const;

// add, sub, mul of f32 and f64. A double holds the sum or product of two f32 closely enough that rounding it again to f32 is exact.
const arithmetic =
  (name: 'add' | 'sub' | 'mul'): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const mode = m.take(...roundings) ?? 'rn';
    const ftz = m.flag('ftz');
    const sat = m.flag('sat');
    const type = m.need('f32', 'f64');
    m.end();
    const [d, x, y] = i.operands;
    if (type === 'f64') {
      const [a, b] = [e.double(x), e.double(y)];
      if (mode === 'rn') return e.setDouble(d, `${a} ${name === 'mul' ? '*' : name === 'add' ? '+' : '-'} ${b}`);
      if (name === 'mul') return e.setDouble(d, `mulMode64(${a}, ${b}, '${mode}')`);
      return e.setDouble(d, `fma64(${a}, 1, ${name === 'sub' ? `-${b}` : b}, '${mode}')`);
    }
    const [a, b] = [input(e, x, ftz), input(e, y, ftz)];
    if (mode === 'rn') {
      return output(e, d, `Math.fround(${a} ${name === 'mul' ? '*' : name === 'add' ? '+' : '-'} ${b})`, ftz, sat);
    }
    const exact =
      name === 'mul' ? `mulMode(${a}, ${b}, '${mode}')` : `addMode(${a}, ${name === 'sub' ? '-' : ''}${b}, '${mode}')`;
    output(e, d, exact, ftz, sat);
  };

const fma: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const mode = m.need(...roundings);
  const ftz = m.flag('ftz');
  const sat = m.flag('sat');
  const type = m.need('f32', 'f64');
  m.end();
  const [d, x, y, z] = i.operands;
  if (type === 'f64') return e.setDouble(d, `fma64(${e.double(x)}, ${e.double(y)}, ${e.double(z)}, '${mode}')`);
  const operands = [x, y, z].map((operand) => input(e, operand, ftz)).join(', ');
  if (mode !== 'rn') return output(e, d, `fmaMode(${operands}, '${mode}')`, ftz, sat);
  if (ftz) return output(e, d, `fma32(${operands})`, ftz, sat);
  // fma32 of float.ts, written out: it is the instruction that fills a kernel, and calls of it are not always inlined.
  const [a, b, c] = [x, y, z].map((operand) => e.float(operand));
  const s = e.temp(`${a} * ${b} + ${c}`);
  const r = e.temp(`Math.fround(${s})`);
  const mirror = e.temp(`${s} + (${s} - ${r})`);
  const result = `${mirror} !== ${s} && Math.fround(${mirror}) === ${mirror} ? fma32(${a}, ${b}, ${c}) : ${r}`;
  e.setFloat(d, sat ? `saturate(${result})` : result);
};

const divide: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const mode = m.need('approx', 'full', ...roundings);
  const ftz = m.flag('ftz');
  const type = m.need('f32', 'f64');
  m.end();
  const [d, x, y] = i.operands;
  if (type === 'f64') {
    if (mode !== 'rn') throw e.error(`.${mode} is not supported for .f64`);
    return e.setDouble(d, `${e.double(x)} / ${e.double(y)}`);
  }
  const [a, b] = [input(e, x, ftz), input(e, y, ftz)];
  if (mode === 'approx') output(e, d, `divApprox(${a}, ${b})`, ftz);
  else if (mode === 'full' || mode === 'rn') output(e, d, `Math.fround(${a} / ${b})`, ftz);
  else output(e, d, `roundTo32(${a} / ${b}, '${mode}')`, ftz);
};

// rcp, sqrt: correctly rounded or approximate (the simulator's approximation is the correctly rounded value).
const root =
  (expression: (a: string) => string): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const mode = m.need('approx', ...roundings);
    const ftz = m.flag('ftz');
    const type = m.need('f32', 'f64');
    m.end();
    const [d, x] = i.operands;
    if (type === 'f64') {
      if (mode === 'approx' && ftz) return e.setDouble(d, `upperWord(${expression(`upperWord(${e.double(x)})`)})`);
      if (mode !== 'rn') throw e.error(`.${mode} is not supported for .f64`);
      return e.setDouble(d, expression(e.double(x)));
    }
    const exact = expression(input(e, x, ftz));
    output(e, d, mode === 'approx' || mode === 'rn' ? `Math.fround(${exact})` : `roundTo32(${exact}, '${mode}')`, ftz);
  };

// Functions that exist only as approximations.
const approximate =
  (expression: (a: string) => string, hasFtz = true): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    m.need('approx');
    const ftz = hasFtz && m.flag('ftz');
    const type = m.need('f32', 'f64');
    m.end();
    const [d, x] = i.operands;
    if (type === 'f64') {
      if (i.name !== 'rsqrt') throw e.error('.f64 is not supported');
      if (ftz) return e.setDouble(d, `upperWord(${expression(`upperWord(${e.double(x)})`)})`);
      return e.setDouble(d, expression(e.double(x)));
    }
    output(e, d, `Math.fround(${expression(input(e, x, ftz))})`, ftz);
  };

const minOrMax =
  (name: 'min' | 'max'): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const ftz = m.flag('ftz');
    const nan = m.flag('NaN');
    const type = m.need('f32', 'f64');
    m.end();
    const [d, ...sources] = i.operands;
    const [a, b, c] = sources.map((operand) => (type === 'f64' ? e.double(operand) : input(e, operand, ftz)));
    const call = (p: string, q: string) => (nan ? `Math.${name}(${p}, ${q})` : `${name}Number(${p}, ${q})`);
    const result = c === undefined ? call(a, b) : call(call(a, b), c);
    if (type === 'f64') e.setDouble(d, result);
    else e.setFloat(d, result);
  };

const sign =
  (expression: (a: string) => string): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const ftz = m.flag('ftz');
    const type = m.need('f32', 'f64');
    m.end();
    const [d, x] = i.operands;
    if (type === 'f64') e.setDouble(d, expression(e.double(x)));
    else e.setFloat(d, expression(input(e, x, ftz)));
  };

// copysign d, a, b: the sign of a with the magnitude of b.
const copySign: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need('f32', 'f64');
  m.end();
  const [d, x, y] = i.operands;
  if (type === 'f32') return e.setInt(d, `${e.int(x)} & -2147483648 | ${e.int(y)} & 2147483647`);
  const [a, b] = [e.pair(x), e.pair(y)];
  e.setPair(d, b[0], `${a[1]} & -2147483648 | ${b[1]} & 2147483647`);
};

const testProperty: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const property = m.need('finite', 'infinite', 'number', 'notanumber', 'normal', 'subnormal');
  const type = m.need('f32', 'f64');
  m.end();
  const [d, x] = i.operands;
  const a = type === 'f64' ? e.double(x) : e.float(x);
  const smallest = type === 'f64' ? '2.2250738585072014e-308' : '1.1754943508222875e-38';
  const tests = {
    finite: `Math.abs(${a}) < Infinity`,
    infinite: `Math.abs(${a}) === Infinity`,
    number: `${a} === ${a}`,
    notanumber: `${a} !== ${a}`,
    normal: `Math.abs(${a}) >= ${smallest} && Math.abs(${a}) < Infinity`,
    subnormal: `${a} !== 0 && Math.abs(${a}) < ${smallest}`,
  };
  e.setBool(d, tests[property]);
};

export const float: Record<string, LaneInstruction> = {
  add: arithmetic('add'),
  sub: arithmetic('sub'),
  mul: arithmetic('mul'),
  fma,
  mad: fma,
  div: divide,
  rcp: root((a) => `1 / ${a}`),
  sqrt: root((a) => `Math.sqrt(${a})`),
  rsqrt: approximate((a) => `1 / Math.sqrt(${a})`),
  ex2: approximate((a) => `Math.exp(${a} * ${Math.LN2})`),
  lg2: approximate((a) => `Math.log2(${a})`),
  sin: approximate((a) => `Math.sin(${a})`),
  cos: approximate((a) => `Math.cos(${a})`),
  tanh: approximate((a) => `Math.tanh(${a})`, false),
  min: minOrMax('min'),
  max: minOrMax('max'),
  neg: sign((a) => `-${a}`),
  abs: sign((a) => `Math.abs(${a})`),
  copysign: copySign,
  testp: testProperty,
};

/** Whether an instruction is of f32 or f64, which decides between the tables. */
export const isFloat = (i: Instruction): boolean =>
  i.modifiers.some((modifier) => modifier === 'f32' || modifier === 'f64');

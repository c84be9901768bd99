import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Instruction, Operand } from '../ptx.ts';
import type { LaneInstruction } from './integer.ts';

export const halfTypes = ['f16', 'f16x2', 'bf16', 'bf16x2'] as const;
export type HalfType = (typeof halfTypes)[number];

/** Whether an instruction computes in f16 or bf16. */
export const isHalf = (i: Instruction): boolean =>
  i.name !== 'cvt' && i.modifiers.some((modifier) => (halfTypes as readonly string[]).includes(modifier));

export const isPacked = (type: HalfType): boolean => type.endsWith('x2');
const from = (type: HalfType) => (type.startsWith('bf') ? 'fromBfloat' : 'fromHalf');
const to = (type: HalfType) => (type.startsWith('bf') ? 'toBfloat' : 'toHalf');

/** Values of an operand's one or two halves, low half first. */
export function halves(e: LaneEmitter, operand: Operand, type: HalfType): string[] {
  const bits = isPacked(type) ? e.int(operand) : e.int16(operand, false);
  const parts = isPacked(type) ? [`${bits} & 65535`, `${bits} >>> 16`] : [bits];
  return parts.map((part) => e.temp(`${from(type)}(${part})`));
}

/** Assigns bit patterns of one or two halves. */
function setHalves(e: LaneEmitter, operand: Operand, bits: readonly string[]): void {
  if (bits.length === 1) e.setInt16(operand, bits[0]);
  else e.setInt(operand, `${bits[0]} | ${bits[1]} << 16`);
}

// Elementwise operation in doubles followed by one rounding. `.ftz` flushes f16 subnormals of inputs and result.
const elementwise =
  (options: { rounds?: boolean }, expression: (...values: string[]) => string): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    if (options.rounds) m.take('rn');
    const ftz = m.flag('ftz');
    const sat = m.flag('sat');
    const relu = m.flag('relu');
    const type = m.need(...halfTypes);
    m.end();
    const [d, ...sources] = i.operands;
    const inputs = sources.map((operand) =>
      halves(e, operand, type).map((value) => (ftz ? `flushHalf(${value})` : value)),
    );
    const results = inputs[0].map((_, lane) => {
      let value = expression(...inputs.map((parts) => parts[lane]));
      if (sat) value = `saturate(${value})`;
      if (relu) value = `relu(${value})`;
      return `${to(type)}(${ftz ? `flushHalf(${value})` : value})`;
    });
    setHalves(e, d, results);
  };

const minOrMax =
  (name: 'min' | 'max'): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    const ftz = m.flag('ftz');
    const nan = m.flag('NaN');
    const type = m.need(...halfTypes);
    m.end();
    const [a, b] = [halves(e, i.operands[1], type), halves(e, i.operands[2], type)];
    const wrap = (value: string) => (ftz ? `flushHalf(${value})` : value);
    setHalves(
      e,
      i.operands[0],
      a.map((x, lane) => `${to(type)}(${nan ? `Math.${name}` : `${name}Number`}(${wrap(x)}, ${wrap(b[lane])}))`),
    );
  };

// neg and abs change the sign bit alone, so that NaN payloads stay.
const signBits =
  (expression: (bits: string, mask: string) => string): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    if (m.flag('ftz')) throw e.error('.ftz is not supported');
    const type = m.need(...halfTypes);
    m.end();
    const [d, x] = i.operands;
    if (isPacked(type)) e.setInt(d, expression(e.int(x), '-2147450880'));
    else e.setInt16(d, expression(e.int16(x, false), '32768'));
  };

// ex2.approx and tanh.approx
const approximate =
  (expression: (value: string) => string): LaneInstruction =>
  (e, i) => {
    const m = new Modifiers(i);
    m.need('approx');
    const ftz = m.flag('ftz');
    const type = m.need(...halfTypes);
    m.end();
    const wrap = (value: string) => (ftz ? `flushHalf(${value})` : value);
    const values = halves(e, i.operands[1], type);
    setHalves(
      e,
      i.operands[0],
      values.map((value) => `${to(type)}(${wrap(expression(wrap(value)))})`),
    );
  };

export const half: Record<string, LaneInstruction> = {
  add: elementwise({ rounds: true }, (a, b) => `${a} + ${b}`),
  sub: elementwise({ rounds: true }, (a, b) => `${a} - ${b}`),
  mul: elementwise({ rounds: true }, (a, b) => `${a} * ${b}`),
  fma: elementwise({ rounds: true }, (a, b, c) => `addToOdd(${a} * ${b}, ${c})`),
  neg: signBits((bits, mask) => `${bits} ^ ${mask}`),
  abs: signBits((bits, mask) => `${bits} & ~${mask}`),
  min: minOrMax('min'),
  max: minOrMax('max'),
  ex2: approximate((a) => `Math.exp(${a} * ${Math.LN2})`),
  tanh: approximate((a) => `Math.tanh(${a})`),
};

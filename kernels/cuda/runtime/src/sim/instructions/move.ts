import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Instruction, Operand } from '../ptx.ts';
import type { LaneInstruction } from './integer.ts';

const types = ['pred', 'b16', 'b32', 'b64', 'u16', 'u32', 'u64', 's16', 's32', 's64', 'f16', 'f32', 'f64'] as const;

// Vector of a wider scalar's parts, lowest first: the scalar's bits as 32-bit words.
function packed(e: LaneEmitter, elements: readonly Operand[], total: number): string[] {
  const width = total / elements.length;
  if (width === 32) return elements.map((element) => e.int(element));
  const word = (parts: readonly Operand[]) =>
    parts
      .map((part, k) => `${width === 16 ? e.int16(part, false) : `(${e.int(part)} & 255)`} << ${width * k}`)
      .join(' | ');
  const perWord = 32 / width;
  if (total === 16) return [word(elements)];
  return total === 32 ? [word(elements)] : [word(elements.slice(0, perWord)), word(elements.slice(perWord))];
}

function unpack(e: LaneEmitter, elements: readonly Operand[], total: number, words: readonly string[]): void {
  const width = total / elements.length;
  for (const [k, element] of elements.entries()) {
    if (width === 32) e.setInt(element, words[k]);
    else {
      const shift = (k * width) % 32;
      const part = `${words[Math.floor((k * width) / 32)]} >>> ${shift} & ${2 ** width - 1}`;
      e.setInt(element, part);
    }
  }
}

const move: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const type = m.need(...types);
  m.end();
  const [d, x] = i.operands;
  const bits = type === 'pred' ? 1 : Number(type.slice(1));
  if (type === 'pred') return e.setBool(d, e.bool(x));
  if ((x.kind === 'vector' || d.kind === 'vector') && type[0] !== 'b') throw e.error('a vector needs a .b type');
  if (x.kind === 'vector') {
    const words = packed(e, x.elements, bits);
    if (bits === 64) return e.setPair(d, words[0], words[1]);
    return e.setInt(d, words[0]);
  }
  if (d.kind === 'vector') {
    const words = bits === 64 ? e.pair(x) : [bits === 16 ? e.int16(x, false) : e.int(x)];
    return unpack(
      e,
      d.elements,
      bits,
      words.map((word) => e.temp(word)),
    );
  }
  if (bits === 64) {
    const double = x.kind === 'float' || e.isComputed(x);
    return double ? e.setDouble(d, e.double(x)) : e.setPair(d, ...e.pair(x));
  }
  if (bits === 16) return e.setInt16(d, e.int16(x, false));
  const float = x.kind === 'float' ? x.bits === undefined || e.prefersFloat(d) : e.isComputed(x);
  if (float && !(x.kind === 'float' && Number.isNaN(x.value))) return e.setFloat(d, e.float(x));
  e.setInt(d, e.int(x));
};

const spaces = ['global', 'const', 'shared', 'shared::cta', 'local', 'param', 'param::entry'] as const;
const windowOf = (space: string): string => {
  const base = space.split('::')[0];
  return base === 'shared' ? 'SHARED' : base === 'local' ? 'LOCAL' : base === 'param' ? 'PARAM' : 'GLOBAL';
};

// cvta.space: an address of the space as a generic one; cvta.to.space: back. Addresses of .global and .const are generic here.
const convertAddress: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const to = m.flag('to');
  const window = windowOf(m.need(...spaces));
  m.need('u64');
  m.end();
  const [d, x] = i.operands;
  const [lo, hi] = e.pair(x);
  if (window === 'GLOBAL') e.setPair(d, lo, hi);
  else if (to) e.setPair(d, lo, `${hi} - ${window} | 0`);
  else e.setPair(d, lo, `${hi} + ${window} | 0`);
};

const isSpace: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const window = windowOf(m.need(...spaces));
  m.end();
  const [p, x] = i.operands;
  e.setBool(p, `${e.pair(x)[1]} === ${window}`);
};

// Instructions that change nothing a sequential simulation could show; their modifiers are still checked.
const nothing =
  (...modifiers: readonly string[]): LaneInstruction =>
  (_e, i: Instruction) => {
    const m = new Modifiers(i);
    while (m.take(...modifiers) !== undefined);
    m.end();
  };

const scopes = ['cta', 'cluster', 'gpu', 'sys', 'gl'];

export const moving: Record<string, LaneInstruction> = {
  mov: move,
  cvta: convertAddress,
  isspacep: isSpace,
  membar: nothing(...scopes),
  fence: nothing('sc', 'acq_rel', 'acquire', 'release', ...scopes, 'proxy', 'alias', 'async'),
  nanosleep: nothing('u32'),
  prefetch: nothing('global', 'local', 'L1', 'L2'),
  prefetchu: nothing('L1'),
};

import type { Way } from '../counters.ts';
import type { LaneEmitter } from '../laneEmitter.ts';
import { Modifiers } from '../modifiers.ts';
import type { Operand } from '../ptx.ts';
import { type Pair, storeDouble, storeFloat } from '../registerCache.ts';
import { add64, type LaneInstruction } from './integer.ts';

const types = ['b8', 'u8', 's8', 'b16', 'u16', 's16', 'b32', 'u32', 's32', 'f32', 'b64', 'u64', 's64', 'f64'] as const;
const spaceNames = [
  'global',
  'const',
  'shared',
  'shared::cta',
  'local',
  'param',
  'param::entry',
  'param::func',
] as const;
const scopes = ['cta', 'cluster', 'gpu', 'sys'] as const;
// Cache operators and hints move data, not values.
const hints = ['ca', 'cg', 'cs', 'lu', 'cv', 'wb', 'wt', 'nc', 'L2::64B', 'L2::128B', 'L2::256B'] as const;
const evictions = ['normal', 'unchanged', 'first', 'last'].map((when) => `L1::evict_${when}`);

/** Letter of the typed arrays of a space: GI is global memory as i32, SF shared memory as f32, … */
type Letter = 'G' | 'S' | 'L' | 'P';

/** State space of an access: undefined is generic. */
export function letterOf(space: string | undefined): Letter {
  if (space === undefined || space === 'global' || space === 'const') return 'G';
  if (space.startsWith('shared')) return 'S';
  return space === 'local' ? 'L' : 'P';
}

/** Address operand as a pair of i32 expressions; the high half is '0' where a 32-bit register holds it. */
export function addressOf(e: LaneEmitter, operand: Operand): Pair {
  if (operand.kind !== 'address') throw e.error('expected an address');
  const { base, offset } = operand;
  if (base === undefined) return [String(offset | 0), String(Math.floor(offset / 2 ** 32))];
  if (base.kind === 'variable') return e.pair({ ...base, offset: base.offset + offset });
  if (base.kind !== 'register') throw e.error('expected a register or variable as address');
  if (base.register.bits === 32) return [offset === 0 ? e.int(base) : e.temp(`(${e.int(base)} + ${offset}) | 0`), '0'];
  const pair = e.pair(base);
  return offset === 0 ? pair : add64(e, pair, [String(offset | 0), String(offset < 0 ? -1 : 0)]);
}

// Shadow bytes of an access (1: written, 2: allocated) all say "written".
function written(letter: Letter, o: string, bytes: number): string {
  if (bytes === 1) return `${letter}S1[${o}] === 1`;
  if (bytes === 2) return `${letter}S2[${o} >>> 1] === 257`;
  const words = Array.from({ length: bytes / 4 }, (_, k) => `${letter}S4[(${o} >>> 2)${k === 0 ? '' : ` + ${k}`}]`);
  return words.length === 1 ? `${words[0]} === WRITTEN` : `(${words.join(' & ')}) === WRITTEN`;
}

/**
 * Checks an access of `bytes` and names the byte offset in the space's arrays at which to do it: where the access is
 * illegal, after a report, an unused place at the arena's end.
 */
function checkedOffset(
  e: LaneEmitter,
  letter: Letter,
  address: Pair,
  bytes: number,
  elementBytes: number,
  store: boolean,
  generic: boolean,
): string {
  const { memory } = e.checks;
  const [lo, hi] = address;
  const aligned = bytes === 1 ? '' : `(${lo} & ${bytes - 1}) === 0 && `;
  const o = e.name();
  const fault = (name: string) => `${name}${store ? 'Store' : 'Load'}(${e.site()}, w, l, ${lo}, ${hi}, ${bytes})`;
  if (letter === 'G') {
    if (!memory && !generic) return lo;
    const safe = memory ? ` && ${aligned}${written('G', lo, bytes)}` : '';
    e.line(`let ${o} = ${lo}; if (!(${hi} === GLOBAL${safe})) ${o} = ${fault(generic ? 'generic' : 'global')};`);
  } else if (letter === 'S') {
    if (!memory) return lo;
    const wide = hi === '0' ? '' : `${hi} === 0 && `;
    // Stores of words check and mark them one by one.
    const safe = store && elementBytes >= 4 ? `${wide}${aligned}true` : `${wide}${aligned}${written('S', lo, bytes)}`;
    e.line(`let ${o} = ${lo}; if (!(${safe})) ${o} = ${fault('shared')};`);
  } else {
    const thread = e.uniform(`w * 32 * ${e.layout.localBytes}`);
    const place = e.temp(`${thread} + l * ${e.layout.localBytes} + ${lo}`);
    if (!memory) return place;
    const inside = `(${lo} >>> 0) < ${e.layout.localBytes}`;
    e.line(
      `let ${o} = ${place}; if (!(${inside} && ${aligned}${written('L', place, bytes)})) ${o} = ${fault('local')};`,
    );
  }
  return o;
}

/** Records the lane's address for the counters of global requests or shared wavefronts, if it makes one: where `accesses` holds. */
export function countAccess(
  e: LaneEmitter,
  letter: string,
  lo: string,
  bytes: number,
  way: Way,
  accesses?: string,
): void {
  if (!e.checks.counters || (letter !== 'G' && letter !== 'S')) return;
  const site = e.site();
  const lanes = e.name();
  e.text.head.push(`let ${lanes} = 0;`);
  const record = `{ ${lanes} |= bit; ADDRESSES[${site * 32} + l] = ${lo}; }`;
  e.line(accesses === undefined ? record : `if (${accesses}) ${record}`);
  e.text.tail.push(`${letter === 'G' ? 'countGlobal' : 'countShared'}(${site}, ${lanes}, ${bytes}, '${way}');`);
}

/** Race bookkeeping of a shared-memory load. */
function checkSharedRead(e: LaneEmitter, o: string, bytes: number, strong: boolean) {
  if (!e.checks.races || !e.checks.memory) return;
  if (bytes < 4) return e.line(`sharedReadNarrow(${e.site()}, w, l, ${o}, ${bytes}, ${strong});`);
  const key = e.uniform('KEY[w]');
  for (let k = 0; k < bytes / 4; k++) {
    const x = e.temp(`(${o} >>> 2) + ${k}`);
    if (strong) e.line(`sharedAtomic(${e.site()}, w, l, ${x});`);
    else {
      // The common cases need no call: this lane or several of the warp read the word already; another lane of it did; all
      // accesses before lie behind a barrier, or are reads since it by warps of which one is remembered already.
      const r = e.temp(`SR[${x}]`);
      const settled = e.uniform('SETTLED[w]');
      e.line(`if (${r} !== ${key} + l && ${r} !== ${key} + 1024) {`);
      e.line(`if ((${r} & -1056) === ${key}) SR[${x}] = ${key} + 1024;`);
      e.line(`else if ((SW[${x}] >>> 11) < ${settled} && (${r} >>> 11) < ${settled}) SR[${x}] = ${key} + l;`);
      e.line(`else if ((SW[${x}] >>> 11) < ${settled} && READ_TIME[${x}] === (${r} >>> 11)) {`);
      e.line(`READERS[${x}] |= 1 << (${r} >>> 5); SR[${x}] = ${key} + l; }`);
      e.line(`else sharedRead(${e.site()}, w, l, ${x}); }`);
    }
  }
}

function elementExpression(letter: Letter, type: string, o: string, k: number): string {
  const bytes = Number(type.slice(1)) / 8;
  const at = (shift: number, step = 1) => `(${o} >>> ${shift})${k === 0 ? '' : ` + ${k * step}`}`;
  if (bytes === 1) return `${letter}B[${o} + ${k}]${type === 's8' ? ' << 24 >> 24' : ''}`;
  if (bytes === 2) return `${letter}H[${at(1)}]${type === 's16' ? ' << 16 >> 16' : ''}`;
  return `${letter}I[${at(2)}]`;
}

function loadElement(e: LaneEmitter, letter: Letter, type: string, d: Operand, o: string, k: number) {
  if (d.kind === 'sink') return;
  const bytes = Number(type.slice(1)) / 8;
  const register = d.kind === 'register' ? d.register.bits : 0;
  if (bytes === 8) {
    const x = `(${o} >>> 2) + ${2 * k}`;
    return e.setLoaded64(d, `${letter}I[${x}]`, `${letter}I[${x} + 1]`, `${letter}D[(${o} >>> 3) + ${k}]`);
  }
  if (bytes === 4 && register !== 64) {
    return e.setLoaded32(d, elementExpression(letter, type, o, k), `${letter}F[(${o} >>> 2) + ${k}]`);
  }
  const value = e.temp(elementExpression(letter, type, o, k));
  if (register === 64) e.setPair(d, value, type[0] === 's' ? `${value} >> 31` : '0');
  else if (register === 16) e.setInt16(d, value);
  else e.setInt(d, value);
}

const load: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const strong = m.take('volatile', 'relaxed', 'acquire', 'weak');
  m.take(...scopes);
  const space = m.take(...spaceNames);
  while (m.take(...hints, ...evictions, 'L1::no_allocate') !== undefined);
  const vector = m.take('v2', 'v4');
  const type = m.need(...types);
  m.end();
  const [d, a] = i.operands;
  const elements = d.kind === 'vector' ? d.elements : [d];
  if (elements.length !== Number(vector?.slice(1) ?? 1)) throw e.error(`expected ${vector ?? 'one register'}`);
  const bytes = (Number(type.slice(1)) / 8) * elements.length;
  if (bytes > 16) throw e.error(`a vector of ${bytes} bytes is not supported`);
  let letter = letterOf(space);
  let address = addressOf(e, a);
  if (letter === 'P') {
    const base = a.kind === 'address' && a.base?.kind === 'variable' ? a.base.variable : undefined;
    if (base !== undefined && !e.layout.params.has(base)) letter = 'L';
    else return loadParam(e, type, elements, address[0], bytes, base !== undefined);
  }
  if (letter === 'L' || letter === 'S') address = [e.temp(address[0]), address[1]];
  const o = checkedOffset(e, letter, address, bytes, bytes / elements.length, false, space === undefined);
  countAccess(e, letter, address[0], bytes, 'loads');
  if (letter === 'S') checkSharedRead(e, o, bytes, strong !== undefined && strong !== 'weak');
  for (const [k, element] of elements.entries()) loadElement(e, letter, type, element, o, k);
};

// Kernel parameters are the same for all lanes: they are read once, before the loop.
function loadParam(
  e: LaneEmitter,
  type: string,
  elements: readonly Operand[],
  o: string,
  bytes: number,
  constant: boolean,
): void {
  if (constant && Number(o) + bytes > e.layout.paramBytes)
    throw e.error(`reads beyond the ${e.layout.paramBytes} parameter bytes`);
  for (const [k, d] of elements.entries()) {
    if (!constant) {
      loadElement(e, 'P', type, d, `(${o} & 4095)`, k);
      continue;
    }
    const size = Number(type.slice(1)) / 8;
    const at = Number(o) + k * size;
    if (size === 8) {
      e.setLoaded64(d, e.uniform(`PI[${at / 4}]`), e.uniform(`PI[${at / 4 + 1}]`), e.uniform(`PD[${at / 8}]`));
    } else if (size === 4 && !(d.kind === 'register' && d.register.bits === 64))
      e.setLoaded32(d, e.uniform(`PI[${at / 4}]`), e.uniform(`PF[${at / 4}]`));
    else loadElement(e, 'P', type, d, String(at), 0);
  }
}

/** Value of a stored element as an i32, number or pair expression. */
function storeElement(
  e: LaneEmitter,
  letter: Letter,
  type: string,
  source: Operand,
  o: string,
  k: number,
  strong: boolean,
) {
  const bytes = Number(type.slice(1)) / 8;
  const races = letter === 'S' && e.checks.races && e.checks.memory;
  const marks = letter === 'S' && e.checks.memory;
  const word = (index: number, array: 'I' | 'F', value: string) => {
    if (!marks) return e.line(`${letter}${array}[(${o} >>> 2) + ${index}] = ${value};`);
    const x = e.name();
    const slow = `sharedWrite${array}(${e.site()}, w, l, ${x}, ${value}, ${strong})`;
    const same = races ? ` || SW[${x}] !== ${e.uniform('KEY[w]')} + l || SR[${x}] !== 0` : '';
    e.line(`let ${x} = (${o} >>> 2) + ${index}; if (SS4[${x}] !== WRITTEN${same}) ${x} = ${slow};`);
    e.line(`S${array}[${x}] = ${value};`);
  };
  if (bytes === 8) {
    if (letter !== 'S' && (source.kind === 'float' || e.isComputed(source))) {
      return e.line(storeDouble(letter, `(${o} >>> 3) + ${k}`, `(${o} >>> 2) + ${2 * k}`, e.double(source)));
    }
    const [lo, hi] = e.pair(source);
    word(2 * k, 'I', lo);
    return word(2 * k + 1, 'I', hi);
  }
  // A narrow type stores the low bits of a wider register.
  const raw = () => (source.kind === 'register' && source.register.bits === 64 ? e.pair(source)[0] : e.int(source));
  if (bytes === 4) {
    if (source.kind === 'float' ? source.bits === undefined : e.isComputed(source)) {
      const value = e.float(source);
      if (letter !== 'S') return e.line(storeFloat(letter, `(${o} >>> 2) + ${k}`, value));
      return word(k, 'F', value);
    }
    return word(k, 'I', raw());
  }
  if (races) e.line(`sharedWriteNarrow(${e.site()}, w, l, ${o} + ${k * bytes}, ${bytes}, ${raw()}, ${strong});`);
  e.line(bytes === 1 ? `${letter}B[${o} + ${k}] = ${raw()};` : `${letter}H[(${o} >>> 1) + ${k}] = ${raw()};`);
}

const store: LaneInstruction = (e, i) => {
  const m = new Modifiers(i);
  const strong = m.take('volatile', 'relaxed', 'release', 'weak');
  m.take(...scopes);
  const space = m.take(...spaceNames);
  while (m.take(...hints, ...evictions, 'L1::no_allocate') !== undefined);
  const vector = m.take('v2', 'v4');
  const type = m.need(...types);
  m.end();
  const [a, source] = i.operands;
  const elements = source.kind === 'vector' ? source.elements : [source];
  if (elements.length !== Number(vector?.slice(1) ?? 1)) throw e.error(`expected ${vector ?? 'one register'}`);
  if (space === 'const') throw e.error('cannot store to .const');
  const bytes = (Number(type.slice(1)) / 8) * elements.length;
  if (bytes > 16) throw e.error(`a vector of ${bytes} bytes is not supported`);
  let letter = letterOf(space);
  if (letter === 'P') {
    if (a.kind !== 'address' || a.base?.kind !== 'variable' || e.layout.params.has(a.base.variable)) {
      throw e.error("cannot store to the kernel's parameters");
    }
    letter = 'L';
  }
  let address = addressOf(e, a);
  if (letter === 'L' || letter === 'S') address = [e.temp(address[0]), address[1]];
  const o = checkedOffset(e, letter, address, bytes, bytes / elements.length, true, space === undefined);
  countAccess(e, letter, address[0], bytes, 'stores');
  for (const [k, element] of elements.entries()) {
    storeElement(e, letter, type, element, o, k, strong !== undefined && strong !== 'weak');
  }
  if (space === undefined)
    e.line(`if (${o} === GENERIC) genericStoreBack(${e.site()}, w, l, ${address[0]}, ${address[1]}, ${bytes});`);
};

export const memory: Record<string, LaneInstruction> = { ld: load, st: store };

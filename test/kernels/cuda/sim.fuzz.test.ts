// Random straight-line programs against the plain evaluator of support/evaluator.ts, bit for bit.
import { describe, expect, it } from 'vitest';
import * as plain from './support/evaluator.ts';
import { entry, launch } from './support/launch.ts';

/** Registers of a program: r 32-bit, d 64-bit, p predicates; as bits. */
interface State {
  r: bigint[];
  d: bigint[];
  p: boolean[];
}
interface Step {
  text: string;
  run(state: State): void;
}

const arithmetic = { add: plain.add, sub: plain.sub, mul: plain.mul };
const count = 6;
// A whole warp, whose blocks run as one function, and part of one, whose blocks do not.
const threads = 52;
const special32 = [
  0n,
  1n,
  2n,
  31n,
  32n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x3f800000n,
  0x7f800000n,
  0xff800000n,
  0x7fc00000n,
  0x00000001n,
  0x80000000n,
  0x007fffffn,
  0x00800000n,
  0x7f7fffffn,
  0x4b800000n,
  0x33800000n,
];

class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 1;
  }
  bits(): number {
    // xorshift32
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
  below(n: number): number {
    return this.bits() % n;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
  /** Edge values, small floats with neighbouring exponents (so that sums round), and anything. */
  value(): bigint {
    const kind = this.below(4);
    if (kind === 0) return this.pick(special32);
    if (kind === 1)
      return BigInt(((this.below(2) << 31) | ((110 + this.below(40)) << 23) | (this.bits() & 0x7fffff)) >>> 0);
    return BigInt(kind === 2 ? this.below(80) : this.bits());
  }
}

/** One random instruction, with its meaning. */
function step(random: Random): Step {
  const wide = random.below(3) === 0;
  const bits = wide ? 64 : 32;
  const file = wide ? 'd' : 'r';
  const isSigned = random.below(2) === 0;
  const type = `${isSigned ? 's' : 'u'}${bits}`;
  const guard = random.below(5) === 0 ? { p: random.below(count), negated: random.below(2) === 0 } : undefined;
  const to = random.below(count);
  // A source is a register or, sometimes, an immediate.
  const source = (f: 'r' | 'd' = file, immediate = true) => {
    if (immediate && random.below(6) === 0) {
      const value = f === 'd' ? (random.value() << 32n) | random.value() : random.value();
      return { text: `0x${value.toString(16)}`, get: () => value };
    }
    const k = random.below(count);
    return { text: `%${f}${k}`, get: (state: State) => state[f][k] };
  };
  const make = (text: string, run: (state: State) => void): Step => {
    if (guard === undefined) return { text: `${text};`, run };
    return {
      text: `@${guard.negated ? '!' : ''}%p${guard.p} ${text};`,
      run: (state) => {
        if (state.p[guard.p] !== guard.negated) run(state);
      },
    };
  };
  const assign = (f: 'r' | 'd', k: number, value: (state: State) => bigint) => (state: State) => {
    state[f][k] = value(state) & plain.mask(f === 'd' ? 64 : 32);
  };
  const choices: (() => Step)[] = [
    () => {
      const op = random.pick(Object.keys(plain.integerOps).filter((name) => name !== 'div' && name !== 'rem'));
      const operands = Array.from({ length: /^(mad|sad)/.test(op) ? 3 : 2 }, () => source());
      const text = `${op}.${type} %${file}${to}, ${operands.map((o) => o.text).join(', ')}`;
      return make(
        text,
        assign(file, to, (s) => plain.integerOps[op](bits, isSigned, ...operands.map((o) => o.get(s)))),
      );
    },
    () => {
      const op = random.pick(['div', 'rem']);
      const [a, b] = [source(), source(file, false)];
      const t = wide ? '%d9' : '%r9';
      // b | 1 keeps the divisor from zero.
      return make(
        `or.b${bits} ${t}, ${b.text}, 1; ${guard ? `@${guard.negated ? '!' : ''}%p${guard.p} ` : ''}${op}.${type} %${file}${to}, ${a.text}, ${t}`,
        assign(file, to, (s) => plain.integerOps[op](bits, isSigned, a.get(s), b.get(s))),
      );
    },
    () => {
      const op = random.pick(Object.keys(plain.bitOps));
      const operands = Array.from({ length: op === 'not' ? 1 : 2 }, () => source());
      return make(
        `${op}.b${bits} %${file}${to}, ${operands.map((o) => o.text).join(', ')}`,
        assign(file, to, (s) => plain.bitOps[op](bits, ...operands.map((o) => o.get(s)))),
      );
    },
    () => {
      const kind = random.pick(['shl', 'shr'] as const);
      const [a, by] = [source(file, false), source('r')];
      return make(
        `${kind}.${kind === 'shl' ? `b${bits}` : type} %${file}${to}, ${a.text}, ${by.text}`,
        assign(file, to, (s) => plain.shift(kind, bits, isSigned, a.get(s), by.get(s))),
      );
    },
    () => {
      const [a, b, c] = [source(file, false), source('r'), source('r')];
      return make(
        `bfe.${type} %${file}${to}, ${a.text}, ${b.text}, ${c.text}`,
        assign(file, to, (s) => plain.extract(bits, isSigned, a.get(s), b.get(s), c.get(s))),
      );
    },
    () => {
      const [a, b, c, d] = [source(file, false), source(file, false), source('r'), source('r')];
      return make(
        `bfi.b${bits} %${file}${to}, ${a.text}, ${b.text}, ${c.text}, ${d.text}`,
        assign(file, to, (s) => plain.insert(bits, a.get(s), b.get(s), c.get(s), d.get(s))),
      );
    },
    () => {
      const op = random.pick(['popc', 'clz']);
      const a = source(file, false);
      return make(
        `${op}.b${bits} %r${to}, ${a.text}`,
        assign('r', to, (s) => plain.countOps[op](bits, a.get(s))),
      );
    },
    () => {
      const a = source(file, false);
      return make(
        `brev.b${bits} %${file}${to}, ${a.text}`,
        assign(file, to, (s) => plain.reverse(bits, a.get(s))),
      );
    },
    () => {
      const [a, b, c] = [source('r'), source('r'), source('d', false)];
      const value = (x: bigint) => (isSigned ? BigInt.asIntN(32, x) : x);
      if (random.below(2))
        return make(
          `mul.wide.${type.slice(0, 1)}32 %d${to}, ${a.text}, ${b.text}`,
          assign('d', to, (s) => value(a.get(s)) * value(b.get(s))),
        );
      return make(
        `mad.wide.${type.slice(0, 1)}32 %d${to}, ${a.text}, ${b.text}, ${c.text}`,
        assign('d', to, (s) => value(a.get(s)) * value(b.get(s)) + c.get(s)),
      );
    },
    () => {
      const names = {
        eq: (x: bigint, y: bigint) => x === y,
        ne: (x: bigint, y: bigint) => x !== y,
        lt: (x: bigint, y: bigint) => x < y,
        le: (x: bigint, y: bigint) => x <= y,
        gt: (x: bigint, y: bigint) => x > y,
        ge: (x: bigint, y: bigint) => x >= y,
      };
      const op = random.pick(Object.keys(names) as (keyof typeof names)[]);
      const [a, b] = [source(), source()];
      const value = (x: bigint) => (isSigned ? BigInt.asIntN(bits, x) : x);
      const p = random.below(count);
      return make(`setp.${op}.${type} %p${p}, ${a.text}, ${b.text}`, (s) => {
        s.p[p] = names[op](value(a.get(s)), value(b.get(s)));
      });
    },
    () => {
      const [a, b, p] = [source(), source(), random.below(count)];
      return make(
        `selp.b${bits} %${file}${to}, ${a.text}, ${b.text}, %p${p}`,
        assign(file, to, (s) => (s.p[p] ? a.get(s) : b.get(s))),
      );
    },
    () => {
      const [a, b] = [source('r', false), source('r', false)];
      return make(
        `mov.b64 %d${to}, {${a.text}, ${b.text}}`,
        assign('d', to, (s) => a.get(s) | (b.get(s) << 32n)),
      );
    },
    () => {
      const a = source('r', false);
      return make(
        `cvt.${isSigned ? 's' : 'u'}64.${isSigned ? 's' : 'u'}32 %d${to}, ${a.text}`,
        assign('d', to, (s) => (isSigned ? BigInt.asIntN(32, a.get(s)) : a.get(s))),
      );
    },
    // f32 arithmetic on the same registers, so that values change between integer and floating use.
    () => {
      const op = random.pick(['add', 'sub', 'mul'] as const);
      const mode = random.pick(['rn', 'rn', 'rz', 'rm', 'rp'] as const);
      const [a, b] = [source('r', false), source('r', false)];
      return make(
        `${op}.${mode}.f32 %r${to}, ${a.text}, ${b.text}`,
        assign('r', to, (s) => arithmetic[op](a.get(s), b.get(s), plain.single, mode)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rn', 'rn', 'rz', 'rm', 'rp'] as const);
      const [a, b, c] = [source('r', false), source('r', false), source('r', false)];
      return make(
        `fma.${mode}.f32 %r${to}, ${a.text}, ${b.text}, ${c.text}`,
        assign('r', to, (s) => plain.fma(a.get(s), b.get(s), c.get(s), plain.single, mode)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const [a, b] = [source('r', false), source('r', false)];
      return make(
        `div.${mode}.f32 %r${to}, ${a.text}, ${b.text}`,
        assign('r', to, (s) => plain.divide(a.get(s), b.get(s), plain.single, mode)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const a = source('r', false);
      return make(
        `sqrt.${mode}.f32 %r${to}, ${a.text}`,
        assign('r', to, (s) => plain.squareRoot(a.get(s), plain.single, mode)),
      );
    },
    () => {
      const op = random.pick(['add', 'mul'] as const);
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const [a, b] = [source('d', false), source('d', false)];
      return make(
        `${op}.${mode}.f64 %d${to}, ${a.text}, ${b.text}`,
        assign('d', to, (s) => arithmetic[op](a.get(s), b.get(s), plain.double, mode)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const [a, b, c] = [source('d', false), source('d', false), source('d', false)];
      return make(
        `fma.${mode}.f64 %d${to}, ${a.text}, ${b.text}, ${c.text}`,
        assign('d', to, (s) => plain.fma(a.get(s), b.get(s), c.get(s), plain.double, mode)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const a = source(file, false);
      return make(
        `cvt.${mode}.f32.${type} %r${to}, ${a.text}`,
        assign('r', to, (s) =>
          plain.fromInteger(isSigned ? BigInt.asIntN(bits, a.get(s)) : a.get(s), plain.single, mode),
        ),
      );
    },
    () => {
      const a = source('r', false);
      return make(
        `cvt.rzi.${type}.f32 %${file}${to}, ${a.text}`,
        assign(file, to, (s) => plain.toInteger(a.get(s), plain.single, bits, isSigned)),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const a = source('r', false);
      return make(
        `cvt.${mode}.f16.f32 %h0, ${a.text}; mov.b32 %r10, {%h0, 0}; ${guard ? `@${guard.negated ? '!' : ''}%p${guard.p} ` : ''}mov.b32 %r${to}, %r10`,
        assign('r', to, (s) => plain.convert(a.get(s), plain.single, plain.halfFormat, mode)),
      );
    },
    () => {
      const a = source('r', false);
      return make(
        `cvt.f64.f32 %d${to}, ${a.text}`,
        assign('d', to, (s) => plain.convert(a.get(s), plain.single, plain.double, 'rn')),
      );
    },
    () => {
      const mode = random.pick(['rn', 'rz', 'rm', 'rp'] as const);
      const a = source('d', false);
      return make(
        `cvt.${mode}.f32.f64 %r${to}, ${a.text}`,
        assign('r', to, (s) => plain.convert(a.get(s), plain.double, plain.single, mode)),
      );
    },
    // Begins a new block.
    () => make('activemask.b32 %r22', () => {}),
  ];
  return random.pick(choices)();
}

function program(seed: number, length: number) {
  const random = new Random(seed * 7919 + 17);
  const steps = Array.from({ length }, () => step(random));
  const words = 3 * count;
  const registers = Array.from({ length: count }, (_, k) => k);
  const text = entry(
    1,
    `ld.param.u64 %d20, [p0]; mov.u32 %r20, %tid.x; mul.wide.u32 %d21, %r20, ${4 * words + 4 * (words % 2)}; add.s64 %d20, %d20, %d21; mov.u64 %d9, 0; mov.u32 %r9, 0; mov.u32 %r10, 0; cvt.u16.u32 %h0, %r9;
     ${registers.map((k) => `ld.global.b64 %d${k}, [%d20+${8 * k}];`).join(' ')}
     ${registers.map((k) => `ld.global.b32 %r${k}, [%d20+${8 * count + 4 * k}]; and.b32 %r21, %r${k}, 1; setp.eq.u32 %p${k}, %r21, 1;`).join('\n')}
     ${steps.map(({ text }) => text).join('\n')}
     ${registers.map((k) => `st.global.b64 [%d20+${8 * k}], %d${k};`).join(' ')}
     ${registers.map((k) => `st.global.b32 [%d20+${8 * count + 4 * k}], %r${k};`).join('\n')} ret;`,
  );
  const data = new Uint32Array(threads * words);
  for (let i = 0; i < data.length; i++) data[i] = Number(random.value());
  const expected = Array.from({ length: threads }, (_, t) => {
    const row = data.subarray(t * words, (t + 1) * words);
    const state: State = { d: [], r: [], p: [] };
    for (const k of registers) {
      state.d.push(BigInt(row[2 * k]) | (BigInt(row[2 * k + 1]) << 32n));
      state.r.push(BigInt(row[2 * count + k]));
      state.p.push((row[2 * count + k] & 1) === 1);
    }
    for (const { run } of steps) run(state);
    return [...state.d, ...state.r];
  });
  return { text, data, expected, words, listing: steps.map((s) => s.text) };
}

describe('random straight-line programs equal the plain evaluator', () => {
  it.each([
    [1, 150, 1],
    [1000, 60, 12],
    [2000, 12, 150],
  ])('seeds from %i, %i programs of %i instructions', (first, programs, length) => {
    for (let seed = first; seed < first + programs; seed++) {
      const { text, data, expected, words, listing } = program(seed, length);
      const device = launch(text, 'test', [1, 1, 1], [threads, 1, 1], [data], { checks: { races: false } });
      expect(device.reports).toEqual([]);
      for (let t = 0; t < threads; t++) {
        const row = data.subarray(t * words, (t + 1) * words);
        const d = Array.from({ length: count }, (_, k) => BigInt(row[2 * k]) | (BigInt(row[2 * k + 1]) << 32n));
        const r = Array.from(row.subarray(2 * count), BigInt);
        const hex = (values: bigint[]) => values.map((value) => value.toString(16)).join(' ');
        const message = `seed ${seed}, thread ${t}:\n${listing.join('\n')}`;
        expect(hex([...d, ...r]), message).toBe(hex(expected[t]));
      }
    }
  });
});

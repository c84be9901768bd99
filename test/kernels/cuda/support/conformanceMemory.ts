// Loads, stores, atomics and copies in every space, with every type: what the PTX manual says of them, over BigInts of bits. %in
// is the thread's row of 8-byte slots; `constants` and `echo` are declared by kernelOf.
import type { Conformance } from './conformance.ts';
import type { OperandKind, Value } from './instruction.ts';

const cases: Conformance[] = [];
const test = (name: string, signature: string, rows: readonly (readonly Value[])[], body: string): void => {
  cases.push({ name, signature, body, rows });
};

const types = ['b8', 'u8', 's8', 'b16', 'u16', 's16', 'b32', 'u32', 's32', 'f32', 'b64', 'u64', 's64', 'f64'];
const widthOf = (type: string) => (type.endsWith('x2') ? 32 : Number(/\d+$/.exec(type)![0]));
const kindOf = (type: string): OperandKind => (widthOf(type) === 64 ? 'd' : 'r');
const toValue = (kind: OperandKind, bits: bigint): Value =>
  kind === 'd' ? BigInt.asUintN(64, bits) : Number(BigInt.asUintN(kind === 'h' ? 16 : 32, bits));
/** What a load of a type leaves in a register wider than it: signed types are extended by their sign. */
const loaded = (type: string, bits: bigint) =>
  type[0] === 's' ? BigInt.asIntN(widthOf(type), bits) : BigInt.asUintN(widthOf(type), bits);

const low = 0xfedcba9889abcdefn;
const high = 0x0123456776543210n;
/** A place for 16 bytes in each space: %k or %step is its address. */
const places: Record<string, { prepare: string; at: string }> = {
  global: { prepare: '', at: '%in' },
  '': { prepare: '', at: '%in' },
  shared: {
    prepare:
      '.shared .align 16 .b8 s[1024]; mov.u32 %k, s; mad.lo.u32 %k, %t, 16, %k; st.shared.v2.b64 [%k], {%a, %b};',
    at: '%k',
  },
  local: { prepare: '.local .align 16 .b8 q[16]; mov.u32 %k, q; st.local.v2.b64 [%k], {%a, %b};', at: '%k' },
};
places['shared::cta'] = places.shared;

// ---- loads ----
function load(opcode: string, type: string, space: string): void {
  const { prepare, at } = places[space];
  const count = Number(/\.v(\d)/.exec(opcode)?.[1] ?? 1);
  const names = ['%x', '%y', '%z', '%u'].slice(0, count);
  const kinds = names.map(() => kindOf(type));
  const bits = (high << 64n) | low;
  const results = kinds.map((kind, k) => toValue(kind, loaded(type, bits >> BigInt(k * widthOf(type)))));
  const destination = count === 1 ? names[0] : `{${names.join(', ')}}`;
  const body = `{ ${prepare} ${opcode}.${type} ${destination}, [${at}]; }`;
  test(`${opcode}.${type}`, `d d -> ${kinds.join(' ')}`, [[low, high, ...results]], body);
}
const vectors = (type: string) => ['', '.v2', ...(widthOf(type) === 64 ? [] : ['.v4'])];
const rotate = <T>(list: readonly T[], i: number): T => list[i % list.length];
const caches = ['.ca', '.cg', '.cs', '.lu', '.cv'];
const evictions = ['evict_normal', 'evict_unchanged', 'evict_first', 'evict_last', 'no_allocate'].map(
  (e) => `.L1::${e}`,
);
const prefetches = ['', '.L2::64B', '.L2::128B', '.L2::256B'];
const scopes = ['.cta', '.cluster', '.gpu', '.sys'];
const written = (space: string) => (space === '' ? '' : `.${space}`);
for (const [i, type] of types.entries()) {
  for (const space of Object.keys(places)) {
    for (const vector of vectors(type)) load(`ld${written(space)}${vector}`, type, space);
  }
  load(`ld.weak.shared${rotate(caches, i)}`, type, 'shared');
  load(`ld.weak.global${rotate(caches, i)}${rotate(prefetches, i)}`, type, 'global');
  load(`ld${rotate(evictions, i)}${rotate(prefetches, i)}.v2`, type, '');
  load(
    `ld.global${rotate(['', '.ca', '.cg', '.cs'], i)}.nc${rotate(prefetches, i + 1)}${rotate(vectors(type), i)}`,
    type,
    'global',
  );
  load(
    `ld.global.nc${rotate(['', '.ca', '.cg', '.cs', ...evictions], i)}${rotate(prefetches, i + 1)}${rotate(vectors(type), i + 1)}`,
    type,
    'global',
  );
  load(
    `ld.volatile${rotate(['', '.global', '.shared', '.shared::cta'], i)}${rotate(vectors(type), i)}`,
    type,
    rotate(['', 'global', 'shared', 'shared::cta'], i),
  );
  load(`ld.volatile.local${rotate(vectors(type), i)}`, type, 'local');
  for (const [k, scope] of scopes.entries()) {
    for (const order of ['.relaxed', '.acquire']) {
      const space = rotate(['', 'global', 'shared', 'shared::cta'], i + k);
      load(`ld${order}${scope}${written(space)}${rotate(vectors(type), i + k)}`, type, space);
    }
  }
  // The parameter n is the number of rows; constants are those of kernelOf; an echo goes through a call's parameters.
  const bits = widthOf(type) === 64 ? 'constants+8' : 'constants';
  const constant = widthOf(type) === 64 ? 0xfedcba9876543210n : 0x89abcdefn;
  test(
    `ld.const.${type}`,
    `r -> ${kindOf(type)}`,
    [[0, toValue(kindOf(type), loaded(type, constant))]],
    `ld.const.${type} %x, [${bits}];`,
  );
  if (widthOf(type) < 64) {
    for (const space of ['param', 'param::entry'])
      test(`ld.${space}.${type}`, 'r -> r', [[0, 1]], `ld.${space}.${type} %x, [pn];`);
  }
  const kind = kindOf(type);
  const wide = type[0] === 'f' ? `b${widthOf(type)}` : type;
  for (const space of ['param', 'param::func']) {
    test(
      `st.${space}.${wide} and ld.${space}.${wide}`,
      `${kind} -> ${kind}`,
      [[toValue(kind, low), toValue(kind, loaded(wide, low))]],
      `{ .param .b64 v; .param .b64 r; st.${space}.b64 [v], 0; st.${space}.${wide} [v], %a; call.uni (r), echo, (v); ld.${space}.${wide} %x, [r]; }`,
    );
  }
}
// ---- stores: what lies beside stays ----
function store(opcode: string, type: string, space: string): void {
  const { prepare, at } = places[space];
  const count = Number(/\.v(\d)/.exec(opcode)?.[1] ?? 1);
  const n = BigInt(widthOf(type) * count);
  const kind = kindOf(type);
  const source = kind === 'd' ? 0x1122334455667788n : 0x55667788n;
  const one = BigInt.asUintN(widthOf(type), source);
  const all = Array.from({ length: count }, (_, k) => one << BigInt(k * widthOf(type))).reduce((a, b) => a | b);
  const before = (high << 64n) | low;
  const after = ((before >> n) << n) | all;
  const values = count === 1 ? '%c' : `{${Array(count).fill('%c').join(', ')}}`;
  const back = space === '' ? 'global' : space;
  const body = `{ ${prepare} ${opcode}.${type} [${at}], ${values}; ld.${back}.v2.b64 {%x, %y}, [${at}]; }`;
  const row = [low, high, toValue(kind, source), BigInt.asUintN(64, after), after >> 64n];
  // Rows of three slots: the second row is not aligned to 16 bytes, so there is one.
  test(`${opcode}.${type}`, `d d ${kind} -> d d`, [row], body);
}
const writes = ['.wb', '.cg', '.cs', '.wt'];
for (const [i, type] of types.entries()) {
  for (const space of Object.keys(places)) {
    for (const vector of vectors(type)) store(`st${written(space)}${vector}`, type, space);
  }
  store(`st.weak.shared${rotate(writes, i)}`, type, 'shared');
  store(
    `st${rotate(['.weak.global', '.global', ''], i)}${rotate(evictions, i)}${rotate(vectors(type), i)}`,
    type,
    'global',
  );
  store(
    `st.volatile${rotate(['', '.global', '.shared', '.shared::cta'], i)}${rotate(vectors(type), i)}`,
    type,
    rotate(['', 'global', 'shared', 'shared::cta'], i),
  );
  store(`st.volatile.local${rotate(vectors(type), i)}`, type, 'local');
  for (const [k, scope] of scopes.entries()) {
    for (const order of ['.relaxed', '.release']) {
      const space = rotate(['', 'global', 'shared', 'shared::cta'], i + k);
      store(`st${order}${scope}${written(space)}${rotate(vectors(type), i + k)}`, type, space);
    }
  }
}
for (const eviction of evictions) for (const type of types) store(`st.global${eviction}`, type, 'global');

// ---- atomics: the old value is returned, the new one lies in memory ----
type Operation = (old: bigint, b: bigint, type: string) => bigint;
const signed = (type: string, x: bigint) => (type[0] === 's' ? BigInt.asIntN(widthOf(type), x) : x);
const operations: Record<string, Operation> = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  exch: (_a, b) => b,
  add: (a, b) => a + b,
  min: (a, b, type) => (signed(type, a) < signed(type, b) ? a : b),
  max: (a, b, type) => (signed(type, a) > signed(type, b) ? a : b),
  inc: (a, b) => (a >= b ? 0n : a + 1n),
  dec: (a, b) => (a === 0n || a > b ? b : a - 1n),
};
const corners = [0n, 1n, 5n, -1n, 1n << 31n, -(1n << 63n), 0x123456789abcdefn];
const pairs = corners.flatMap((a) => corners.map((b) => [a, b]));
const floatRows: Record<string, [bigint, bigint, bigint][]> = {
  f32: [
    [0x4b800000n, 0x3f800000n, 0x4b800000n],
    [0x3f800000n, 0x40000000n, 0x40400000n],
    [0x7f800000n, 0xff800000n, 0x7fffffffn],
  ],
  f64: [
    [0x3ff0000000000000n, 0x4000000000000000n, 0x4008000000000000n],
    [0x7fefffffffffffffn, 0x7fefffffffffffffn, 0x7ff0000000000000n],
  ],
  f16: [
    [0x3c00n, 0x4000n, 0x4200n],
    [0x6800n, 0x3c00n, 0x6800n],
    [0x0001n, 0x0001n, 0x0002n],
    [0x7c00n, 0xfc00n, 0x7fffn],
  ],
  bf16: [
    [0x3f80n, 0x4000n, 0x4040n],
    [0x4380n, 0x3f80n, 0x4380n],
    [0x0001n, 0x0001n, 0x0002n],
  ],
};
// In global memory f32 subnormals count as zero; in shared memory they are added.
const subnormal = (space: string): [bigint, bigint, bigint][] => [
  [1n, 1n, space.startsWith('shared') ? 2n : 0n],
  [0x80000001n, 0x80000000n, space.startsWith('shared') ? 0x80000001n : 0x80000000n],
  [0x00800001n, 0x80800000n, space.startsWith('shared') ? 1n : 0n],
];
const both = (rows: [bigint, bigint, bigint][]) =>
  rows.map((row, i) => row.map((x, k) => x | (rows[(i + 1) % rows.length][k] << 16n)) as [bigint, bigint, bigint]);
floatRows.f16x2 = both(floatRows.f16);
floatRows.bf16x2 = both(floatRows.bf16);
const sums = (op: string, type: string): [bigint, bigint, bigint][] =>
  floatRows[type] ?? pairs.map(([a, b]) => [a, b, operations[op](...(pair(type, a, b) as [bigint, bigint]), type)]);
const pair = (type: string, a: bigint, b: bigint) => [
  BigInt.asUintN(widthOf(type), a),
  BigInt.asUintN(widthOf(type), b),
];
const atomicTypes = (op: string) => {
  if (op === 'add') return ['u32', 's32', 'u64', 'f32', 'f64', 'f16', 'f16x2', 'bf16', 'bf16x2'];
  if (op === 'min' || op === 'max') return ['u32', 's32', 'u64', 's64'];
  return op === 'inc' || op === 'dec' ? ['u32'] : ['b32', 'b64'];
};
const atomicKind = (type: string): OperandKind => (widthOf(type) === 16 ? 'h' : kindOf(type));
const orders = { atom: ['', '.relaxed', '.acquire', '.release', '.acq_rel'], red: ['', '.relaxed', '.release'] };
/** 8 bytes of a space that hold the first input. */
const slot = (space: string, bits: string) =>
  space.startsWith('shared')
    ? {
        prepare: `.shared .align 8 .b8 s[512]; mov.u32 %k, s; mad.lo.u32 %k, %t, 8, %k; st.shared.${bits} [%k], %a;`,
        at: '%k',
      }
    : { prepare: '', at: '%in' };
for (const op of Object.keys(operations)) {
  for (const type of atomicTypes(op)) {
    for (const name of ['atom', 'red'] as const) {
      if (name === 'red' && op === 'exch') continue;
      const kind = atomicKind(type);
      const bits = `b${widthOf(type)}`;
      const noftz = type.includes('f16') ? '.noftz' : '';
      // Every order, scope and space of every operation, not all of them with each other.
      for (const [i, scope] of ['', ...scopes].entries()) {
        const space = rotate(['', 'global', 'shared', 'shared::cta'], i);
        const { prepare, at } = slot(space, bits);
        const opcode = `${name}${rotate(orders[name], i)}${scope}${written(space)}.${op}${noftz}.${type}`;
        const rows = [...sums(op, type), ...(type === 'f32' ? subnormal(space) : [])];
        test(
          opcode,
          `${kind} ${kind} -> ${name === 'atom' ? `${kind} ${kind}` : kind}`,
          rows.map(([old, b, next]) => [old, b, next, ...(name === 'atom' ? [old] : [])].map((x) => toValue(kind, x))),
          `{ ${prepare} ${opcode} ${name === 'atom' ? '%y, ' : ''}[${at}], %b; ld${written(space)}.${bits} %x, [${at}]; }`,
        );
      }
    }
  }
}
for (const type of ['b16', 'b32', 'b64']) {
  const kind = atomicKind(type);
  for (const [i, order] of orders.atom.entries()) {
    const space = rotate(['', 'global', 'shared', 'shared::cta'], i);
    const { prepare, at } = slot(space, type);
    const opcode = `atom${order}${rotate(['', ...scopes], i)}${written(space)}.cas.${type}`;
    test(
      opcode,
      `${kind} ${kind} ${kind} -> ${kind} ${kind}`,
      pairs.map(([a, b]) =>
        [a, b, 9n, pair(type, a, b)[0] === pair(type, a, b)[1] ? 9n : a, a].map((x) => toValue(kind, x)),
      ),
      `{ ${prepare} ${opcode} %y, [${at}], %b, %c; ld${written(space)}.${type} %x, [${at}]; }`,
    );
  }
}

// ---- asynchronous copies ----
const copied = (bytes: bigint, valid: bigint) => {
  const bits = ((high << 64n) | low) & ((1n << (8n * valid)) - 1n) & ((1n << (8n * bytes)) - 1n);
  const kept = (((5n << 64n) | 7n) >> (8n * bytes)) << (8n * bytes);
  return [BigInt.asUintN(64, bits | kept), (bits | kept) >> 64n];
};
const box = '.shared .align 16 .b8 s[16]; st.shared.v2.b64 [s], {%c, %d};';
for (const [i, prefetch] of prefetches.entries()) {
  const space = rotate(['shared', 'shared::cta'], i);
  for (const [cache, bytes] of [
    ['ca', 4n],
    ['ca', 8n],
    ['ca', 16n],
    ['cg', 16n],
  ] as const) {
    for (const valid of [undefined, 0n, 3n, bytes]) {
      const opcode = `cp.async.${cache}.${space}.global${prefetch}`;
      const size = valid === undefined ? '' : ', %k';
      const wait = i % 2 === 0 ? 'cp.async.wait_all;' : 'cp.async.commit_group; cp.async.wait_group 0;';
      test(
        `${opcode} of ${bytes} bytes${valid === undefined ? '' : `, ${valid} valid`}`,
        'd d d d -> d d',
        [[low, high, 7n, 5n, ...copied(bytes, valid ?? bytes)]],
        `{ ${box} mov.u32 %k, ${valid ?? 0n}; ${opcode} [s], [%in], ${bytes}${size}; ${wait} ld.shared.v2.b64 {%x, %y}, [s]; }`,
      );
    }
  }
}

// ---- addresses ----
for (const space of ['global', 'const', 'shared', 'shared::cta', 'local', 'param']) {
  const variable: Record<string, string> = { global: '%in', const: 'constants', param: 'pn' };
  const declare =
    space in variable ? '' : `.${space.split('::')[0]} .align 8 .b8 v[8]; st.${space.split('::')[0]}.b32 [v], 1;`;
  const kinds = ['global', 'const', 'shared', 'shared::cta', 'local', 'param'];
  // Parameters are constants to some: which window their generic addresses lie in is not asked.
  const asked = space === 'param' ? ['shared', 'local'] : kinds.filter((kind) => kind !== 'param' && kind !== 'const');
  const base = space.split('::')[0];
  for (const kind of asked) {
    // A .const variable is reached by generic addresses of its own window, which isspacep.global may or may not include.
    if (space === 'const' && kind === 'global') continue;
    test(
      `cvta.${space} and isspacep.${kind}`,
      'd -> p d',
      [[0n, kind.split('::')[0] === base, 0n]],
      `{ .reg .u64 t, g, b; ${declare} mov.u64 t, ${variable[space] ?? 'v'}; cvta.${space}.u64 g, t; isspacep.${kind} %x, g; cvta.to.${space}.u64 b, g; sub.u64 %y, b, t; }`,
    );
  }
}
test(
  'isspacep.const',
  'd -> p',
  [[0n, true]],
  '{ .reg .u64 g; mov.u64 g, constants; cvta.const.u64 g, g; isspacep.const %x, g; }',
);
test(
  'isspacep.param',
  'd -> p',
  [[0n, true]],
  '{ .reg .u64 g; mov.u64 g, pn; cvta.param.u64 g, g; isspacep.param %x, g; }',
);

// ---- what orders or hints, and changes no value ----
const nothing = [
  ...['cta', 'gl', 'sys'].map((level) => `membar.${level};`),
  ...['', '.sc', '.acq_rel', '.acquire', '.release'].flatMap((order) =>
    scopes.map((scope) => `fence${order}${scope};`),
  ),
  'fence.proxy.alias;',
  'nanosleep.u32 20;',
  ...['L1', 'L2'].flatMap((level) => [`prefetch.global.${level} [%in];`, `prefetch.${level} [%in];`]),
  '.local .b32 v; mov.u32 %k, v; prefetch.local.L1 [%k]; prefetch.local.L2 [%k];',
  'prefetchu.L1 [%in];',
];
for (const body of nothing) test(body, 'r -> r', [[7, 7]], `{ ${body} mov.b32 %x, %a; }`);

export const conformanceMemory: readonly Conformance[] = cases;

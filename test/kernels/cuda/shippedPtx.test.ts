// What no module that ships may hold: kernels/cuda/README.md says why.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { narrowProducts } from './support/narrowProducts.ts';

interface Rule {
  name: string;
  /** Targets that the rule is for; default all. */
  targets?: string[];
  refused: RegExp;
  example: string;
}

const rules: Rule[] = [
  {
    name: 'float atomics, whose order nobody knows',
    refused: /\b(atom|red)\.[\w.:]*\.(b?f16|b?f16x2|f32|f64)\b/g,
    example: 'red.global.add.f32 [%rd1], %f1;',
  },
  { name: 'L2 hints', refused: /L2::\w+/g, example: 'cp.async.cg.shared.global.L2::128B [%r1], [%rd1], 16;' },
  {
    name: 'arithmetic on bf16, which needs sm_90 or a newer PTX version',
    refused: /(?<![\w.])(?!cvt\.|mma\.)[a-z]\w*\.[\w.]*bf16(x2)?\b/g,
    example: 'fma.rn.bf16x2 %r1, %r2, %r3, %r4;',
  },
  { name: 'bf16 on sm_75', targets: ['sm_75'], refused: /\.bf16(x2)?\b/g, example: 'cvt.rn.bf16.f32 %rs1, %f1;' },
  { name: 'cp.async on sm_75', targets: ['sm_75'], refused: /\bcp\.async\b/g, example: 'cp.async.wait_all;' },
];

/** Tiles along one axis of a product. */
const tiles = String.raw`shr\(add\(add\(\[[\d+]+\], (?:63|127)\), .*?\), [67]\)`;
/** Products of two numbers in 32 bits that cannot be larger than a size or a grid is: the launcher refuses those beyond them. */
const bounded: { product: RegExp; entries?: RegExp; because: string }[] = [
  { product: /^%ctaid\.x × %ntid\.x$/, because: 'threads of a grid of as many as there is work' },
  { product: /^shr\(%ntid\.x, 5\) × %ctaid\.x$/, because: 'warps of such a grid' },
  { product: new RegExp(`^${tiles} × ${tiles}$`), because: 'blocks of a matrix, which a grid has' },
  {
    product: new RegExp(String.raw`^shl\(div\((rem|sub)\(%ctaid\.x, .*\), 3\)\), 3\) × ${tiles}$`),
    because: 'tiles in the rows above, eight of which follow one another',
  },
  {
    product: /^%ctaid\.y × \[\d+\]$/,
    entries: /^(dropoutLinear|linear|loraLinear|matmul|sumTo)/,
    because: 'where a part begins of the sums that are cut into parts',
  },
  {
    product: /^shl\(div\(.*\), 5\) × %ctaid\.y$/,
    entries: /^linearLogProbsGrad_.*_sums/,
    because: 'where a part begins of the sums that are cut into parts',
  },
  {
    product: /^div\(\[[\d+]+\], \[[\d+]+\]\) × %ctaid\.y$/,
    entries: /^attentionGradKeyValue/,
    because: 'the first of the heads that share a key head',
  },
  {
    product: /^neg\(shl\((shr\(.*\)), 3\)\) × div\(.*, shl\(\1, 1\)\)$/,
    entries: /^attentionGrad/,
    because: 'at most four times what is divided, an element of a tile',
  },
];

const shipped = new URL('../../../kernels/cuda/ptx/', import.meta.url);
const modules = ['sm_75', 'sm_80'].map((target) => ({
  target,
  texts: readdirSync(new URL(target, shipped)).map(
    (file) => [file, readFileSync(new URL(`${target}/${file}`, shipped), 'utf8')] as const,
  ),
}));

describe.each(modules)('modules for $target', ({ target, texts }) => {
  it.each(rules.filter(({ targets = [target] }) => targets.includes(target)))('hold no $name', ({ refused }) => {
    expect(texts.length).toBeGreaterThan(0);
    const found = texts.flatMap(([file, text]) => [...new Set(text.match(refused))].map((what) => `${file}: ${what}`));
    expect(found).toEqual([]);
  });

  it('multiply two sizes in 64 bits where an address or a bound depends on it', () => {
    const unused = new Set(bounded);
    const found = texts.flatMap(([file, text]) =>
      [...narrowProducts(text)].flatMap(([entry, products]) =>
        [...products].flatMap((product) => {
          const rule = bounded.find((b) => b.product.test(product) && (b.entries ?? /^/).test(entry));
          if (rule) unused.delete(rule);
          return rule ? [] : [`${file} ${entry}: ${product}`];
        }),
      ),
    );
    expect(found).toEqual([]);
    expect([...unused]).toEqual([]);
  });
});

it.each(rules)('would find $name', ({ refused, example }) => {
  expect(example).toMatch(refused);
});

it.each([
  ['mul.lo.s32 %r3, %r1, %r2; mul.wide.s32 %rd2, %r3, 4; add.s64 %rd3, %rd1, %rd2;', ['[1] × %ctaid.x']],
  ['mad.lo.s32 %r3, %r1, %r2, %r4; cvt.s64.s32 %rd2, %r3; add.s64 %rd3, %rd1, %rd2;', ['[1] × %ctaid.x']],
  ['mul.wide.s32 %rd2, %r1, %r2; add.s64 %rd3, %rd1, %rd2;', []],
  ['mul.lo.s32 %r3, %r1, 4; mul.wide.s32 %rd2, %r3, 4; add.s64 %rd3, %rd1, %rd2;', []],
  ['div.s32 %r3, %r2, %r1; mul.lo.s32 %r4, %r3, %r1; cvt.s64.s32 %rd2, %r4; add.s64 %rd3, %rd1, %rd2;', []],
])('finds in %s the products %j', (code, expected) => {
  const head = ['ld.param.u64 %rd1, [e_param_0];', 'ld.param.u32 %r1, [e_param_1];', 'mov.u32 %r2, %ctaid.x;'];
  for (const access of [
    'ld.global.f32 %f1, [%rd3+4];',
    '@%p1 st.global.v2.f32 [%rd3], {%f1, %f2};',
    'st.v4.f32 [%rd3], {%f1, %f2, %f3, %f4};',
    'cp.async.cg.shared.global [%r9], [%rd3], 16;',
    'atom.global.add.u32 %r9, [%rd3], 1;',
    'setp.ge.s64 %p1, %rd1, %rd3;',
  ]) {
    const ptx = ['.visible .entry e(', ...head, ...code.split(/(?<=;) /), access].join('\n');
    expect([...(narrowProducts(ptx).get('e') ?? [])]).toEqual(expected);
  }
});

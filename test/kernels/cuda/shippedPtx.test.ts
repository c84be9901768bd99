// What no module that ships may hold: kernels/cuda/README.md says why.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

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
});

it.each(rules)('would find $name', ({ refused, example }) => {
  expect(example).toMatch(refused);
});

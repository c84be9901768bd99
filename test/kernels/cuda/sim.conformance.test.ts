import { readdirSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { atomics } from '../../../kernels/cuda/runtime/src/sim/instructions/atomic.ts';
import { bits } from '../../../kernels/cuda/runtime/src/sim/instructions/bits.ts';
import { collectives } from '../../../kernels/cuda/runtime/src/sim/instructions/collective.ts';
import { comparing } from '../../../kernels/cuda/runtime/src/sim/instructions/compare.ts';
import { converting } from '../../../kernels/cuda/runtime/src/sim/instructions/convert.ts';
import { float } from '../../../kernels/cuda/runtime/src/sim/instructions/float.ts';
import { type Form, forms } from '../../../kernels/cuda/runtime/src/sim/instructions/forms.ts';
import { half } from '../../../kernels/cuda/runtime/src/sim/instructions/half.ts';
import { integer } from '../../../kernels/cuda/runtime/src/sim/instructions/integer.ts';
import { memory } from '../../../kernels/cuda/runtime/src/sim/instructions/memory.ts';
import { moving } from '../../../kernels/cuda/runtime/src/sim/instructions/move.ts';
import { conformance } from './support/conformance.ts';
import { instructionsOf, kernelOf, type OperandKind, runRows } from './support/instruction.ts';
import { matrixOpcodes } from './support/matrix.ts';

const bodies = conformance.map((one) => {
  const instructions = instructionsOf(one.body);
  return { ...one, instructions, family: instructions[0].opcode.split('.')[0] };
});

describe('instructions give the values of the PTX manual', () => {
  it.each([...new Set(bodies.map(({ family }) => family))])('%s', (wanted) => {
    for (const { name, signature, body, rows, family } of bodies) {
      if (family !== wanted) continue;
      const [sources, results] = signature.split('->').map((side) => side.trim().split(' ') as OperandKind[]);
      const actual = runRows(kernelOf(body, sources, results), sources, results, rows);
      const expected = rows.map((row) =>
        row.slice(sources.length).map((value, k) => (results[k] === 'f' ? Math.fround(Number(value)) : value)),
      );
      const wrong = rows.findIndex((_row, i) => !isDeepStrictEqual(actual[i], expected[i]));
      if (wrong >= 0)
        expect(actual[wrong], `${name} of ${rows[wrong].slice(0, sources.length)}`).toEqual(expected[wrong]);
    }
  });
});

describe('has a case', () => {
  const used = new Map<string, number[]>();
  for (const { opcode, operands } of bodies.flatMap(({ instructions }) => instructions)) {
    used.set(opcode, [...(used.get(opcode) ?? []), operands]);
  }
  // These are tested on the fragments of a whole warp, and by the end of a launch.
  for (const opcode of [...matrixOpcodes, 'trap'])
    used.set(opcode, opcode.startsWith('mma') ? [4] : opcode === 'trap' ? [0] : [2]);

  /** What is chosen of a form: each option, and each pair of options that stand for operation and type, where both must be given. */
  function choicesOf({ choices }: Form, chosen: readonly (string | undefined)[]): string[] {
    const required = choices.flatMap(({ optional }, k) => (optional ? [] : [chosen[k]]));
    const single = choices.map((_, k) => `${k}: ${chosen[k] ?? 'none'}`);
    return [...single, ...required.flatMap((a, i) => required.slice(0, i).map((b) => `${b} ${a}`))];
  }
  /** All that there are to choose. */
  function allChoices({ choices }: Form): string[] {
    const single = choices.flatMap(({ options, optional }, k) =>
      [...options, ...(optional ? ['none'] : [])].map((option) => `${k}: ${option}`),
    );
    const required = choices.filter(({ optional }) => !optional);
    const pairs = required.flatMap((a, i) =>
      required.slice(0, i).flatMap((b) => b.options.flatMap((y) => a.options.map((x) => `${y} ${x}`))),
    );
    return [...single, ...pairs];
  }

  it.each(forms.map((form) => ({ syntax: form.syntax, operands: form.operands, form })))(
    'for everything in $syntax with $operands operands',
    ({ form }) => {
      const [least, most] = form.operands;
      const cases = [...used].filter(([, counts]) => counts.some((count) => count >= least && count <= most));
      const matches = cases
        .map(([opcode]) => form.pattern.exec(opcode)?.slice(1))
        .filter((match) => match !== undefined);
      expect(matches.length).toBeGreaterThan(0);
      const found = new Set(matches.flatMap((match) => choicesOf(form, match)));
      expect(allChoices(form).filter((choice) => !found.has(choice))).toEqual([]);
    },
  );

  it('for every instruction of the tables', () => {
    const tables = [integer, bits, float, half, comparing, converting, moving, memory, atomics, collectives];
    const names = new Set([...used.keys()].map((opcode) => opcode.split('.')[0]));
    expect(tables.flatMap((table) => Object.keys(table)).filter((name) => !names.has(name))).toEqual([]);
  });

  const shipped = new URL('../../../kernels/cuda/ptx/', import.meta.url);
  it.each(readdirSync(shipped).filter((name) => name.startsWith('sm_')))(
    'for every opcode in the PTX of %s',
    (target) => {
      const missing = new Set<string>();
      for (const file of readdirSync(new URL(`${target}/`, shipped))) {
        const text = readFileSync(new URL(`${target}/${file}`, shipped), 'utf8');
        for (const [, opcode] of text.matchAll(/^[ \t]*(?:@!?%\w+ +)?([a-z]\w*(?:\.[\w:]+)*)(?=[ \t;]).*;/gm)) {
          if (!used.has(opcode)) missing.add(opcode);
        }
      }
      expect([...missing]).toEqual([]);
    },
  );
});

import { describe, expect, it } from 'vitest';
import { bits } from '../../../kernels/cuda/runtime/src/sim/instructions/bits.ts';
import { comparing } from '../../../kernels/cuda/runtime/src/sim/instructions/compare.ts';
import { converting } from '../../../kernels/cuda/runtime/src/sim/instructions/convert.ts';
import { float } from '../../../kernels/cuda/runtime/src/sim/instructions/float.ts';
import { half } from '../../../kernels/cuda/runtime/src/sim/instructions/half.ts';
import { integer } from '../../../kernels/cuda/runtime/src/sim/instructions/integer.ts';
import { moving } from '../../../kernels/cuda/runtime/src/sim/instructions/move.ts';
import { conformance } from './support/conformance.ts';
import { kernelOf, type OperandKind, runRows } from './support/instruction.ts';

describe('instructions give the values of the PTX manual', () => {
  for (const { name, signature, body, rows } of conformance) {
    it(`${name}: ${signature}`, () => {
      const [sources, results] = signature.split('->').map((side) => side.trim().split(' ') as OperandKind[]);
      const actual = runRows(kernelOf(body, sources, results), sources, results, rows);
      const expected = rows.map((row) =>
        row.slice(sources.length).map((value, k) => (results[k] === 'f' ? Math.fround(Number(value)) : value)),
      );
      expect(actual).toEqual(expected);
    });
  }

  // A name is preceded by the end of a statement, a brace or a guard.
  it('has a case for every lane instruction that is accepted', () => {
    const used = new Set(
      conformance.flatMap(({ body }) =>
        [...body.matchAll(/(?:^|[;{}]|@!?%\w+)\s*([a-z]\w*)(?:\.\w+)*[\s;]/g)].map((m) => m[1]),
      ),
    );
    const names = [integer, bits, float, half, comparing, converting, moving].flatMap((table) => Object.keys(table));
    expect([...new Set(names)].filter((name) => !used.has(name))).toEqual([]);
  });
});

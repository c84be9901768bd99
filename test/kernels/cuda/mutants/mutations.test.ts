import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { keyOf, mutated, mutationsOf } from './mutations.ts';

const ptx = `.version 7.0
.visible .entry first(
)
{
	mov.u32 	%r2, 16;
	shfl.sync.bfly.b32 	%r3|%p1, %r1, %r2, 31, -1;
	setp.lt.s32 	%p2, %r1, 4;
	@%p2 bra 	$L1;
	bar.sync 	0;
$L1:
	cp.async.wait_group 1;
	mov.f32 	%f1, 0f00000000;
	ret;
}
.visible .entry second(
)
{
	fma.rn.f32 	%f3, %f1, %f2, %f3;
	mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f4,%f5,%f6,%f7}, {%r4,%r5}, {%r6}, {%f4,%f5,%f6,%f7};
	ret;
}
`;

test('every kind changes its instruction as its name says', () => {
  expect(
    mutationsOf(ptx).map(({ entry, line, kind, after }) => [entry, line, kind, after.replace(/\s+/g, ' ')]),
  ).toEqual([
    ['first', 6, 'shuffle distance', 'shfl.sync.bfly.b32 %r3|%p1, %r1, 8, 31, -1;'],
    ['first', 6, 'shuffle members', 'shfl.sync.bfly.b32 %r3|%p1, %r1, %r2, 31, 65535;'],
    ['first', 7, 'bound off by one', 'setp.le.s32 %p2, %r1, 4;'],
    ['first', 8, 'branch inverted', '@!%p2 bra $L1;'],
    ['first', 9, 'barrier dropped', ''],
    ['first', 11, 'copy wait dropped', ''],
    ['first', 11, 'copy wait loosened', 'cp.async.wait_group 2;'],
    ['first', 12, 'start of a sum', 'mov.f32 %f1, 0f3F800000;'],
    ['second', 18, 'sum dropped', 'mul.rn.f32 %f3, %f1, %f2;'],
    [
      ...['second', 19, 'matrices exchanged'],
      'mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f4,%f5,%f6,%f7}, {%r5,%r4}, {%r6}, {%f4,%f5,%f6,%f7};',
    ],
  ]);
});

test('a mutant keeps its lines, and of other entries the parameters', () => {
  const [, , bound] = mutationsOf(ptx);
  const lines = mutated(ptx, 'first', bound).split('\n');
  expect(lines).toHaveLength(ptx.split('\n').length);
  expect(lines[6].replace(/\s+/g, ' ')).toBe('setp.le.s32 %p2, %r1, 4;');
  expect(lines.slice(15)).toEqual([')', '{', 'ret;', '', '', '}', '']);
});

test('every survivor that is explained is a mutation of the PTX that ships', () => {
  const { equivalent, unnoticed } = JSON.parse(readFileSync(new URL('survivors.json', import.meta.url), 'utf8'));
  const explained = Object.keys({ ...equivalent, ...unnoticed });
  expect(explained.length).toBeGreaterThan(0);
  const files = [...new Set(explained.map((key) => key.split(' ', 2).join('/')))];
  const shipped = files.flatMap((path) => {
    const ptx = readFileSync(new URL(`../../../../kernels/cuda/ptx/${path}.ptx`, import.meta.url), 'utf8');
    const [, target, file] = /^sm_(\d+)\/(.*)$/.exec(path) ?? [];
    return mutationsOf(ptx).map((mutation) => keyOf({ ...mutation, target: Number(target), file }));
  });
  const keys = new Set(shipped);
  expect(explained.filter((key) => !keys.has(key))).toEqual([]);
});

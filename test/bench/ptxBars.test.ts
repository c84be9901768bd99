import { expect, test } from 'vitest';
import { judge } from '../../bench/ptxBars.ts';

const reference = {
  registers: 122,
  'spilled bytes': 0,
  'shared bytes': 49152,
  'mma : ldmatrix': 32 / 12,
  'wavefronts above ideal': 0,
  'bytes/FLOP': 0.0234375,
};
const missed = (entry: string, figures: Parameters<typeof judge>[1]): string[] =>
  judge(entry, figures).flatMap(({ figure, holds }) => (holds ? [] : [figure]));

test('a product as good as the reference passes, and each worse figure is named', () => {
  expect(missed('linear_bf16_async', reference)).toEqual([]);
  const worse = {
    registers: 123,
    'spilled bytes': 4,
    'shared bytes': 49153,
    'mma : ldmatrix': 2.6,
    'wavefronts above ideal': 1,
    'bytes/FLOP': 0.0235,
  };
  for (const [figure, value] of Object.entries(worse)) {
    expect(missed('linear_bf16_async', { ...reference, [figure]: value })).toEqual([figure]);
    expect(missed('linearGradInput_bf16_async', { ...reference, [figure]: value })).toEqual([figure]);
  }
  expect(missed('linear_bf16_async', { ...reference, 'mma : ldmatrix': undefined })).toEqual(['mma : ldmatrix']);
});

test('loraLinear may take 128 registers; other kernels may take any', () => {
  expect(missed('loraLinear_bf16_async', { ...reference, registers: 128 })).toEqual([]);
  expect(missed('loraLinear_bf16_async', { ...reference, registers: 129 })).toEqual(['registers']);
  expect(missed('attention_bf16_mma128', { ...reference, registers: 255 })).toEqual([]);
});

test('no kernel may spill, and none has bank conflicts', () => {
  const bad = { ...reference, 'spilled bytes': 4, 'wavefronts above ideal': 1 };
  expect(missed('attention_bf16_mma128', bad)).toEqual(['spilled bytes', 'wavefronts above ideal']);
  expect(missed('linear_f32', { ...bad, 'mma : ldmatrix': undefined })).toEqual([
    'spilled bytes',
    'wavefronts above ideal',
  ]);
});

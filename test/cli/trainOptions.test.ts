import { describe, expect, it } from 'vitest';
import type { Given } from '../../cli/config.ts';
import { Output } from '../../cli/output.ts';
import { RunFolder } from '../../cli/runFolder.ts';
import { runValues } from '../../cli/trainOptions.ts';
import { workFolder } from '../support/cli.ts';

const { path } = workFolder();
const valuesOf = async (given: Given) => {
  await using run = new RunFolder(path('none'));
  return runValues(run, given, new Output(true));
};

describe('defaults by method and preset', () => {
  it.each<[Given, object]>([
    [{}, { method: 'lora', lr: 5e-4, epochs: 2, schedule: 'constant', init: 'true', rank: 8, alpha: 16, dropout: 0.1 }],
    [{ preset: 'study' }, { method: 'lora', lr: 5e-4, epochs: 2, schedule: 'constant', init: 'normal', rank: 8 }],
    [
      { method: 'prompt' },
      { lr: 0.03, epochs: 8, schedule: 'cosine', promptInit: 'vocab', virtualTokens: 8, weightDecay: 0, keep: 'last' },
    ],
    [
      { method: 'prompt', preset: 'study' },
      { lr: 0.03, epochs: 2, schedule: 'constant', promptInit: 'random', virtualTokens: 8 },
    ],
    [
      { method: 'prompt', epochs: 3, lr: 0.01 },
      { lr: 0.01, epochs: 3, schedule: 'cosine' },
    ],
  ])('%j', async (given, expected) => {
    expect(await valuesOf(given)).toMatchObject({ batchSize: 8, ...expected });
  });
});

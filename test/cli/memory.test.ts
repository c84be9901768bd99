// A model or training that does not fit is refused before any weight is read, with the numbers.
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectedTensors, openCheckpoint } from '../../models/checkpoint/index.ts';
import { buildStub, skipsStub } from '../kernels/cuda/support/stub.ts';
import { lorikeet, workFolder } from '../support/cli.ts';

const { path } = workFolder();
const quick = ['--threads', '1', '--prompt', 'none'];

/** The tiny model with an MLP so wide that its weights are 6 GB. They are a hole in the file, which takes no disk. */
async function hugeModel(): Promise<void> {
  mkdirSync(path('huge'));
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) cpSync(path('model', file), path('huge', file));
  const config = { ...JSON.parse(readFileSync(path('model', 'config.json'), 'utf8')), intermediate_size: 8_000_000 };
  writeFileSync(path('huge', 'config.json'), JSON.stringify(config));
  const model = await openCheckpoint(path('model'));
  const shapes = expectedTensors({ ...model.config, intermediateSize: config.intermediate_size });
  await model.close();
  let end = 0;
  const entries = [...shapes].map(([name, shape]) => {
    const begin = end;
    end += 4 * shape.reduce((n, size) => n * size, 1);
    return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path('huge', 'model.safetensors'), Buffer.concat([length, header]));
  truncateSync(path('huge', 'model.safetensors'), 8 + header.length + end);
}
beforeAll(hugeModel);

/** The command ends with the status for devices, one sentence, and the parts. */
function refuses(args: string[], sentence: RegExp, options?: Parameters<typeof lorikeet>[1]): void {
  const { code, stderr } = lorikeet(args, options);
  expect(stderr).toMatch(sentence);
  expect(stderr).toMatch(/^ {2}weights +\d+ MiB$/m);
  expect(stderr).toMatch(/^ {2}total +\d+ MiB$/m);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(code).toBe(6);
}

const train = (model: string, ...more: string[]): string[] => [
  ...['train', '--model', path(model), '--data', path('data.jsonl'), '--out', path('run'), ...quick, ...more],
];

describe('too little memory', () => {
  it('refuses a model that 32-bit addresses do not reach', () => {
    const found = (what: string) =>
      new RegExp(`lorikeet: not enough memory: ${what} needs \\d{4,5} MiB, the device has (40|39)\\d\\d MiB`);
    refuses(train('huge'), found('training with micro-batch 1( and recomputation)?'));
    expect(existsSync(path('run'))).toBe(false);
    const data = ['--model', path('huge'), '--data', path('data.jsonl'), ...quick];
    refuses(['eval', ...data], found('evaluation'));
    refuses(['eval', '--mode', 'generate', ...data], found('generation'));
  });

  // The stub's GPUs have 1 GiB, of which a quarter is kept.
  it.skipIf(skipsStub || process.platform !== 'linux')('refuses a model that a GPU does not hold', () => {
    const stub = buildStub();
    try {
      copyFileSync(stub.path, join(dirname(stub.path), 'libcuda.so.1'));
      const gpu = { variables: { LD_LIBRARY_PATH: dirname(stub.path) } };
      const found = /not enough memory: training with micro-batch 1.* needs \d{4,5} MiB, the device has 76\d MiB$/m;
      refuses(train('huge', '--device', 'cuda', '--compute', 'bfloat16'), found, gpu);
      expect(existsSync(path('run'))).toBe(false);
    } finally {
      stub.remove();
    }
  });

  it('refuses training that the machine has no memory for, a validation set with it', () => {
    const has = (mebibytes: number) => ({
      shell: `export NODE_OPTIONS='--import=data:text/javascript,process.availableMemory=()=>${mebibytes * 2 ** 20}'`,
    });
    refuses(train('model'), /not enough memory: training with .* needs \d+ MiB, this machine has 1 MiB$/m, has(0.25));
    expect(existsSync(path('run'))).toBe(false);
    const { code, stdout } = lorikeet(train('model', '--epochs', '1', '--val', '0.25'), has(64));
    expect(stdout).toMatch(/memory: \d+ MiB at most with micro-batch 8/);
    expect(code).toBe(0);
  });
});

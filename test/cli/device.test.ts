// `--device` and `doctor` on a machine without a GPU, and on one whose driver is the stub of test/kernels/cuda.
import { copyFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildStub, compiler, type Stub } from '../kernels/cuda/support/stub.ts';
import { lorikeet, workFolder } from '../support/cli.ts';

const { path } = workFolder();
/** Hides the GPUs of a machine that has some. */
const none = { variables: { CUDA_VISIBLE_DEVICES: '' } };
const reason = /(no NVIDIA driver found: tried .*|the NVIDIA driver .* shows no device to this process.*)/.source;
const nothingThere = ['--model', 'no-model', '--data', 'no-data.jsonl', '--threads', '1'];

describe('no GPU', () => {
  it('--device cuda ends with a sentence before model and data are looked at', () => {
    const { code, stdout, stderr } = lorikeet(
      ['train', '--device', 'cuda', '--out', path('run'), ...nothingThere],
      none,
    );
    expect(stderr).toMatch(new RegExp(`^lorikeet: --device cuda: ${reason}; --device wasm computes on the CPU\\n$`));
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(existsSync(path('run'))).toBe(false);
  });

  it('--device auto takes wasm and says why', () => {
    const { stdout, stderr } = lorikeet(['eval', ...nothingThere], none);
    expect(stdout).toMatch(new RegExp(`^device: wasm, .*; no CUDA: ${reason}\\n`));
    expect(stderr).toMatch(/^lorikeet: .*no-data\.jsonl: no such file/);
  });

  it('doctor says so and goes on', () => {
    const { code, stdout } = lorikeet(['doctor', '--threads', '1'], none);
    expect(stdout).toMatch(new RegExp(`✗ CUDA +no: ${reason}\\n`));
    expect(code).toBe(0);
  });

  it('--compute bfloat16 is refused where the device does not compute in it', () => {
    const { code, stderr } = lorikeet(['eval', '--device', 'wasm', '--compute', 'bfloat16', ...nothingThere], none);
    expect(stderr).toBe(
      'lorikeet: --compute bfloat16: backend wasm computes in f32, not in bf16: that needs CUDA from sm_80 on\n',
    );
    expect(code).toBe(6);
  });

  it('cuda-sim runs the kernels on the CPU', () => {
    const { stdout } = lorikeet(['eval', '--device', 'cuda-sim', ...nothingThere], none);
    expect(stdout).toMatch(/^device: cuda-sim, PTX on the CPU, very slow \(sm_\d+, [\d.]+ GiB free\)\n/);
  });
});

describe.skipIf(compiler === undefined || process.platform !== 'linux')('a driver with two GPUs', () => {
  let stub: Stub;
  beforeAll(() => {
    stub = buildStub();
    copyFileSync(stub.path, join(dirname(stub.path), 'libcuda.so.1'));
  });
  afterAll(() => stub.remove());
  const run = (...args: string[]) => lorikeet(args, { variables: { LD_LIBRARY_PATH: dirname(stub.path) } });

  it.each([
    ['auto', 'cuda:0, Stub 0'],
    ['cuda', 'cuda:0, Stub 0'],
    ['cuda:1', 'cuda:1, Stub 1'],
  ])('--device %s opens %s before data is read', (device, name) => {
    const { code, stdout, stderr } = run('eval', '--device', device, ...nothingThere);
    expect(stdout).toMatch(new RegExp(`^device: ${name} \\(sm_\\d+, [\\d.]+ GiB free\\)\\n`));
    expect(stderr).toMatch(/no-data\.jsonl: no such file/);
    expect(code).toBe(4);
  });

  it('a GPU that is not there is named, with those that are', () => {
    const { code, stderr } = run('eval', '--device', 'cuda:2', ...nothingThere);
    expect(stderr).toMatch(/^lorikeet: --device cuda:2: no CUDA device 2; found 0: Stub 0, 1: Stub 1; --device wasm/);
    expect(code).toBe(6);
  });

  it('doctor finds it', () => {
    const { code, stdout } = run('doctor', '--threads', '1');
    expect(stdout).toMatch(/✓ CUDA +cuda:0, Stub 0 \(sm_\d+, [\d.]+ GiB free\)\n/);
    expect(code).toBe(0);
  });
});

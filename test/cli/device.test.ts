// `--device` and `doctor` on a machine without a GPU, and on one whose driver is the stub of test/kernels/cuda.
import { copyFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildStub, type Stub, skipsStub } from '../kernels/cuda/support/stub.ts';
import { lorikeet, workFolder } from '../support/cli.ts';

const { path } = workFolder();
/** Hides the GPUs of a machine that has some. */
const none = { variables: { CUDA_VISIBLE_DEVICES: '' } };
const reason = /(no NVIDIA driver found: tried .*|the NVIDIA driver .* shows no device to this process.*)/.source;
const cpuAlone = 'lorikeet: no GPU can be used (CUDA, above, says why); on the CPU (--device wasm) everything works\n';
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

  it('doctor says so, and that the CPU will do', () => {
    const { code, stdout, stderr } = lorikeet(['doctor', '--threads', '1'], none);
    expect(stdout).toMatch(new RegExp(`✗ CUDA +${reason}\\n`));
    expect(stdout).toMatch(/✓ kernels +\w+ build, \d+ kernels/);
    expect({ code, stderr }).toEqual({ code: 6, stderr: cpuAlone });
  });

  it('--compute bfloat16 is refused where the device does not compute in it', () => {
    const { code, stderr } = lorikeet(['eval', '--device', 'wasm', '--compute', 'bfloat16', ...nothingThere], none);
    expect(stderr).toBe(
      'lorikeet: --compute bfloat16: backend wasm computes in f32, not in bf16: that needs CUDA from sm_80 on\n',
    );
    expect(code).toBe(6);
  });

  it('--compute int16 is for the CPU', () => {
    for (const device of ['cuda', 'cuda-sim', 'reference']) {
      const { code, stderr } = lorikeet(['eval', '--device', device, '--compute', 'int16', ...nothingThere], none);
      expect(stderr).toBe(
        `lorikeet: --compute int16: --device ${device} has no products in 16-bit integers; --device wasm has them\n`,
      );
      expect(code).toBe(6);
    }
    const { stdout } = lorikeet(['eval', '--device', 'wasm', '--compute', 'int16', ...nothingThere], none);
    expect(stdout).toMatch(/^device: wasm, .*, products in int16\n/);
  });

  it('cuda-sim runs the kernels on the CPU', () => {
    const { stdout } = lorikeet(['eval', '--device', 'cuda-sim', ...nothingThere], none);
    expect(stdout).toMatch(/^device: cuda-sim, PTX on the CPU, very slow \(sm_\d+, [\d.]+ GiB free\)\n/);
  });
});

describe.skipIf(skipsStub || process.platform !== 'linux')('a driver with two GPUs', () => {
  let stub: Stub;
  beforeAll(() => {
    stub = buildStub();
    copyFileSync(stub.path, join(dirname(stub.path), 'libcuda.so.1'));
  });
  afterAll(() => stub.remove());
  /** `machine`: what the stub is to be, see libcuda.c. */
  const runOn = (machine: Record<string, string>, ...args: string[]) =>
    lorikeet(args, { variables: { LD_LIBRARY_PATH: dirname(stub.path), ...machine } });
  const run = (...args: string[]) => runOn({}, ...args);

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

  it('--device auto takes the CPU for --compute int16', () => {
    const { stdout } = run('eval', '--compute', 'int16', ...nothingThere);
    expect(stdout).toMatch(/^device: wasm, .*, products in int16; no CUDA: --compute int16 is for the CPU\n/);
  });

  it('a GPU that is not there is named, with those that are', () => {
    const { code, stderr } = run('eval', '--device', 'cuda:2', ...nothingThere);
    expect(stderr).toMatch(/^lorikeet: --device cuda:2: no CUDA device 2; found 0: Stub 0, 1: Stub 1; --device wasm/);
    expect(code).toBe(6);
  });

  it('doctor finds it', () => {
    const { code, stdout, stderr } = run('doctor', '--threads', '1');
    expect(stdout).toMatch(/✓ CUDA +cuda:0, Stub 0 \(sm_\d+, [\d.]+ GiB free\)\n/);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it.each([
    ['is too old', { STUB_VERSION: '10020' }, 'the NVIDIA driver .* is for CUDA 10.2; CUDA 11.0 or newer is needed'],
    [
      'has no GPU',
      { STUB_DEVICES: '0' },
      'the NVIDIA driver .* shows no device to this process.*; an NVIDIA GPU is needed',
    ],
    ['has an old GPU', { STUB_CAPABILITY: '61' }, 'Stub 0 is sm_61; the kernels need sm_75 or newer'],
  ])('one sentence where the driver %s', (_, machine, sentence) => {
    const { code, stdout, stderr } = runOn(machine, 'train', '--device', 'cuda', '--out', path('run'), ...nothingThere);
    expect(stderr).toMatch(new RegExp(`^lorikeet: --device cuda: ${sentence}; --device wasm computes on the CPU\\n$`));
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(existsSync(path('run'))).toBe(false);
  });

  it('doctor and --device auto say why an old driver does not serve', () => {
    const old = { STUB_VERSION: '10020' };
    const doctor = runOn(old, 'doctor', '--threads', '1');
    expect(doctor.stdout).toMatch(/✗ CUDA +the NVIDIA driver .* is for CUDA 10\.2; CUDA 11\.0 or newer is needed\n/);
    expect([doctor.code, doctor.stderr]).toEqual([6, cpuAlone]);
    const { stdout } = runOn(old, 'eval', ...nothingThere);
    expect(stdout).toMatch(/^device: wasm, .*; no CUDA: the NVIDIA driver .* CUDA 11\.0 or newer is needed\n/);
  });

  it('--compute bfloat16 is refused on a GPU before sm_80, and taken on a newer one', () => {
    const args = ['generate', '--device', 'cuda:1', '--compute', 'bfloat16', '--model', 'no-model', '--text', 'a'];
    const { code, stderr } = runOn({ STUB_CAPABILITY: '75' }, ...args);
    expect(stderr).toBe(
      'lorikeet: --compute bfloat16: backend cuda:1 computes in f32, not in bf16: that needs CUDA from sm_80 on\n',
    );
    expect(code).toBe(6);
    expect(run(...args).stderr).toMatch(/^lorikeet: .*no-model/);
  });

  it('a kernel that fails in the middle of training is one sentence', () => {
    const args = ['train', '--device', 'cuda', '--model', path('model'), '--data', path('data.jsonl')];
    const { code, stderr } = runOn({ STUB_LAUNCHES: '300' }, ...args, '--out', path('run'), '--prompt', 'none');
    expect(stderr).toMatch(
      /^reading weights .*\nlorikeet: launch of \w+: CUDA_ERROR_ILLEGAL_ADDRESS \(700, .*\)\. A kernel failed and the device's context is lost; the last one launched: \w+\n$/,
    );
    expect(code).toBe(6);
  });
});

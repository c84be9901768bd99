// The simulator beside NVIDIA's assembler, which `npm run test:ptxas` names in PTXAS.
import { expect, it } from 'vitest';
import { CudaError, InvalidPtx, openSimulator } from '../../../kernels/cuda/runtime/src/index.ts';
import { entry } from './support/launch.ts';

const ptx = entry(
  1,
  'ld.param.u64 %d0, [p0]; ld.global.b32 %r1, [%d0]; add.s32 %r1, %r1, 1; st.global.b32 [%d0], %r1; ret;',
);
const memoryBytes = 2 ** 20;

it('takes registers and the log from ptxas where there is one', (test) => {
  const ptxas = process.env.PTXAS;
  if (ptxas === undefined) test.skip('PTXAS is not set');
  using device = openSimulator({ memoryBytes, ptxas });
  const module = device.loadModule(ptx);
  expect(module.getFunction('test').registers).toBeGreaterThan(3);
  expect(module.infoLog).toMatch(/Used \d+ registers/);
  // What the simulator would take and ptxas does not: the latter's word counts.
  expect(() => device.loadModule(ptx.replace('add.s32 %r1, %r1, 1', 'add.s32 %f1, %r1, 1'))).toThrow(InvalidPtx);
});

it('names an assembler that does not exist', () => {
  using device = openSimulator({ memoryBytes, ptxas: '/absent/ptxas' });
  const load = () => device.loadModule(ptx, 'ones');
  expect(load).toThrow(CudaError);
  expect(load).toThrow('ones: the assembler /absent/ptxas does not run: spawnSync /absent/ptxas ENOENT');
});

// NVIDIA's compiler and assembler, from $NVCC or from PyPI's wheels.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

const wheels = [
  'nvidia-cuda-nvcc==13.5.37',
  'nvidia-nvvm==13.5.37',
  'nvidia-cuda-crt==13.5.37',
  'nvidia-cuda-runtime==13.5.37',
  'nvidia-cuda-cccl==13.3.5.0.6',
];
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lorikeet', 'nvcc-13.5.37');

export class ToolchainMissing extends Error {}

/** Paths of nvcc and of the ptxas beside it. @throws ToolchainMissing saying what to install */
export function compiler() {
  const nvcc = process.env.NVCC ?? installed() ?? install();
  if (spawnSync(nvcc, ['--version']).status !== 0) throw new ToolchainMissing(`${nvcc} does not run`);
  const beside = join(dirname(nvcc), 'ptxas');
  return { nvcc, ptxas: existsSync(beside) ? beside : 'ptxas' };
}

export const run = (command, args) => execFileSync(command, args, { stdio: 'inherit' });

function installed() {
  return globSync(join(cache, 'lib', 'python*', 'site-packages', 'nvidia', 'cu13', 'bin', 'nvcc'))[0];
}

function install() {
  console.log(`# nvcc from PyPI, into ${cache}`);
  const steps = [
    ['python3', ['-m', 'venv', cache]],
    [join(cache, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wheels]],
  ];
  for (const [command, args] of steps) {
    if (spawnSync(command, args, { stdio: 'inherit' }).status === 0) continue;
    // What is half installed must not be found by the next run.
    rmSync(cache, { recursive: true, force: true });
    throw new ToolchainMissing(`no CUDA compiler: ${command} ${args.join(' ')} failed.
  Install CUDA 13 and name its compiler in NVCC, or make Python 3 with venv and pip available.`);
  }
  return installed();
}

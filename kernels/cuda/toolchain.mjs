// NVIDIA's compiler and assemblers, from $NVCC or from PyPI's wheels.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** What the modules are compiled and assembled with. */
const current = {
  name: 'nvcc-13.5.37',
  wheels: [
    'nvidia-cuda-nvcc==13.5.37',
    'nvidia-nvvm==13.5.37',
    'nvidia-cuda-crt==13.5.37',
    'nvidia-cuda-runtime==13.5.37',
    'nvidia-cuda-cccl==13.3.5.0.6',
  ],
  tool: 'cu13/bin/nvcc',
};
/** Assemblers as old as drivers still are, with the GPUs that each knows. */
const older = [
  {
    name: 'ptxas-12.9.86',
    wheels: ['nvidia-cuda-nvcc-cu12==12.9.86'],
    tool: 'cuda_nvcc/bin/ptxas',
    knows: [75, 80, 86, 89, 90, 100, 120],
  },
  {
    name: 'ptxas-11.8.89',
    wheels: ['nvidia-cuda-nvcc-cu11==11.8.89'],
    tool: 'cuda_nvcc/bin/ptxas',
    knows: [75, 80, 86, 89, 90],
  },
];
const caches = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lorikeet');

export class ToolchainMissing extends Error {}

/** Paths of nvcc and of the ptxas beside it. @throws ToolchainMissing saying what to install */
export function compiler() {
  const nvcc = process.env.NVCC ?? fromWheels(current);
  if (spawnSync(nvcc, ['--version']).status !== 0) throw new ToolchainMissing(`${nvcc} does not run`);
  const beside = join(dirname(nvcc), 'ptxas');
  return { nvcc, ptxas: existsSync(beside) ? beside : 'ptxas' };
}

/** Older assemblers: [{ptxas, knows}]. @throws ToolchainMissing saying what to install */
export const olderAssemblers = () => older.map((tool) => ({ ptxas: fromWheels(tool), knows: tool.knows }));

export const run = (command, args) => execFileSync(command, args, { stdio: 'inherit' });

/** Path of a tool in a virtual environment of its own, which is made when it is not there. */
function fromWheels({ name, wheels, tool }) {
  const cache = join(caches, name);
  const installed = () => globSync(join(cache, 'lib', 'python*', 'site-packages', 'nvidia', tool))[0];
  return installed() ?? install(cache, wheels) ?? installed();
}

function install(cache, wheels) {
  console.log(`# ${wheels[0]} from PyPI, into ${cache}`);
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
}

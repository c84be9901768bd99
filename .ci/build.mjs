// `npm run build`: dist/ with types, for Node 20 and later, and that of the workspace package @cuda-js/runtime. The compiler
// keeps the tree as it is, so that what the sources find beside themselves (kernels, worker, bundled reviews) lies in the
// same place in dist/.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';

const besides = ['kernels/wasm/pkg', 'kernels/wasm/worker.mjs', 'kernels/cuda/ptx', 'cli/demo'];

rmSync('dist', { recursive: true, force: true });
run('tsc', '-p', '.ci/dist.tsconfig.json');
run('npm', 'run', '--silent', 'build', '--workspace', '@cuda-js/runtime');
for (const path of besides) cpSync(path, `dist/${path}`, { recursive: true });

function run(command, ...args) {
  if (spawnSync(command, args, { stdio: 'inherit' }).status !== 0) process.exit(1);
}
